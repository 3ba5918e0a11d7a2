"""`carousel doctor`: whether a model folder keeps the promise on this machine, with what an operator needs to know."""
