"""Carousel serves autocomplete from a recurrent network and remembers every session's state."""

__version__ = "0.1.0"
