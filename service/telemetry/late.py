"""Observers that may be told before there are metrics: what they are told first is kept, and counted when it can be.

Importing prometheus_client takes as long as some hundred keystrokes, and the first one should not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from service.engine.observer import EngineObserver, Lookup
from service.telemetry.timed_store import StoreObserver
from service.transport.observer import Facade, RequestObserver

MOST_KEPT = 100_000  # what comes after these is not counted; some seconds of a full engine

T = TypeVar("T")


class Late(Generic[T]):
    """Passes calls on to `observer` once there is one, in order. Any thread."""

    def __init__(self) -> None:
        self.observer: T | None = None
        self._kept: list[Callable[[T], None]] = []
        self._lock = Lock()

    def tell(self, call: Callable[[T], None]) -> None:
        """Make the call now, or when there is an observer."""
        if self.observer is None:
            with self._lock:
                if self.observer is None:
                    if len(self._kept) < MOST_KEPT:
                        self._kept.append(call)
                    return
        call(self.observer)

    def open(self, observer: T) -> None:
        """Here it is: told at once what was kept, and directly from now on."""
        with self._lock:
            for call in self._kept:
                call(observer)
            self._kept.clear()
            self.observer = observer


class LateEngineObserver(Late[EngineObserver]):
    """An EngineObserver."""

    def tick(self, *, rows: int, tokens: int, seconds: float, waiting: int) -> None:
        """As EngineObserver."""
        self.tell(lambda to: to.tick(rows=rows, tokens=tokens, seconds=seconds, waiting=waiting))

    def lookups(self, result: Lookup, count: int) -> None:
        """As EngineObserver."""
        self.tell(lambda to: to.lookups(result, count))

    def moved(self, *, held: int, computed: int) -> None:
        """As EngineObserver."""
        self.tell(lambda to: to.moved(held=held, computed=computed))

    def state_bytes(self, held: int) -> None:
        """As EngineObserver."""
        self.tell(lambda to: to.state_bytes(held))

    def failed(self, error: Exception) -> None:
        """As EngineObserver."""
        self.tell(lambda to: to.failed(error))


class LateRequestObserver(Late[RequestObserver]):
    """A RequestObserver."""

    def request(self, facade: Facade, operation: str, code: str, seconds: float) -> None:
        """As RequestObserver."""
        if self.observer is not None:  # every keystroke passes here
            self.observer.request(facade, operation, code, seconds)
        else:
            self.tell(lambda to: to.request(facade, operation, code, seconds))


class LateStoreObserver(Late[StoreObserver]):
    """A StoreObserver."""

    def stored(self, operation: str, seconds: float) -> None:
        """As StoreObserver."""
        if self.observer is not None:  # every keystroke passes here
            self.observer.stored(operation, seconds)
        else:
            self.tell(lambda to: to.stored(operation, seconds))
