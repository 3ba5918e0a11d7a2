"""`GET /v1/sessions/{id}/type`: typing as a conversation over a WebSocket, for browsers and editors."""
