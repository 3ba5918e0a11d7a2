"""What may go wrong when a store is opened."""

from __future__ import annotations


class CannotOpen(Exception):
    """The store cannot be used; the message is one sentence for the operator, with the way out."""
