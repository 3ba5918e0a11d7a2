"""`carousel type`: a full-screen terminal in which suggestions appear in grey while one types."""
