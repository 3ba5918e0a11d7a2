"""`carousel bench replay`: a typist who types a held-out file and takes suggestions when they are right."""
