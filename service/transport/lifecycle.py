"""The life of the process as the facades see it: warming, ready, draining; and what is still in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Lifecycle:
    """One per process; used on the event loop's thread only."""

    def __init__(self) -> None:
        self._warm = False
        self._draining = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._in_flight = 0

    @property
    def ready(self) -> bool:
        """Whether new callers are welcome: warm, and not draining."""
        return self._warm and not self._draining.is_set()

    @property
    def draining(self) -> bool:
        """Whether the process is ending."""
        return self._draining.is_set()

    def warmed(self) -> None:
        """The model has been run; callers are welcome."""
        self._warm = True

    def drain(self) -> None:
        """The process ends: streams end after what they have accepted."""
        self._draining.set()

    async def wait_draining(self) -> None:
        """Return when the process starts to end."""
        await self._draining.wait()

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Counts a call for as long as it runs."""
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def wait_idle(self, grace_s: float) -> bool:
        """Wait until no call is in flight, for at most `grace_s`; whether that came true."""
        try:
            await asyncio.wait_for(self._idle.wait(), grace_s)
        except TimeoutError:
            return False
        return True
