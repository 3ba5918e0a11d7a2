"""What the engine tells whoever wants to measure it; telemetry implements this."""

from __future__ import annotations

from typing import Literal, Protocol

Lookup = Literal["held", "computed"]


class EngineObserver(Protocol):
    """Called on the thread that turns the engine; must be quick and must not raise."""

    def tick(self, *, rows: int, tokens: int, seconds: float, waiting: int) -> None:
        """One batch was run: its rows, the tokens fed in it, its duration, and the requests in the engine."""

    def lookups(self, result: Lookup, count: int) -> None:
        """How many wanted nodes were held already, or had to be computed."""

    def moved(self, *, held: int, computed: int) -> None:
        """A text moved forward by so many bytes: over states that were held already, and over those it waited for."""

    def state_bytes(self, held: int) -> None:
        """Bytes of the state budget in use, after a tick."""

    def failed(self, error: Exception) -> None:
        """The model could not be run; the requests of that batch were answered with an error."""


class Unobserved:
    """An observer that looks away."""

    def tick(self, *, rows: int, tokens: int, seconds: float, waiting: int) -> None:
        """Ignore it."""

    def lookups(self, result: Lookup, count: int) -> None:
        """Ignore it."""

    def moved(self, *, held: int, computed: int) -> None:
        """Ignore it."""

    def state_bytes(self, held: int) -> None:
        """Ignore it."""

    def failed(self, error: Exception) -> None:
        """Ignore it."""
