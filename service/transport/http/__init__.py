"""The REST facade: FastAPI routes over the same sessions."""
