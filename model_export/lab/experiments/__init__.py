"""One experiment to a file; each ends in its `EXPERIMENT`."""
