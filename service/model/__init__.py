"""The artifact's contract: the manifest of a model folder, and tokens <-> text that is always valid UTF-8."""
