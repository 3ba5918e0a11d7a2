"""The life of the process as the facades see it: warming, ready, draining; what is in flight; how long streams live."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_SPREAD: Final = 0.2  # of a stream's age: streams that began together do not end together


class Lifecycle:
    """One per process; used on the event loop's thread only.

    max_stream_age_s: how long a stream lives at most, None for as long as both sides want.
    """

    def __init__(self, max_stream_age_s: float | None = None, *, chance: Callable[[], float] = random.random) -> None:
        """chance: numbers from 0 to 1."""
        self.max_stream_age_s, self._chance = max_stream_age_s, chance
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

    async def stream_over(self) -> None:
        """Return when a stream that begins now has to end: at its age, or because the process does.

        The age of each is the greatest one, less up to a fifth at random.
        """
        if self.max_stream_age_s is None:
            await self._draining.wait()
            return
        try:
            async with asyncio.timeout(self.max_stream_age_s * (1 - _SPREAD * self._chance())):
                await self._draining.wait()
        except TimeoutError:
            return

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
