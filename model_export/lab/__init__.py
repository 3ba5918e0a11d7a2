"""The lab: the experiments that explain recurrent networks, as commands that train, check, draw and export."""
