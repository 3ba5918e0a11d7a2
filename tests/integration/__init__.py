"""Real servers on ports that the system chooses, over a tiny exact model."""
