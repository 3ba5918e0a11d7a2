"""Triton, the server that people run today, with a backend as an expert would write it for the same graph."""
