"""The gRPC facade: carousel.v1.Autocomplete, health and reflection."""
