"""Metrics and logs: implements what the other rooms ask for through small protocols."""
