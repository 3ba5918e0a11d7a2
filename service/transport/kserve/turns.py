"""Who comes first: the requests of one sequence are done one after the other, in the order in which they came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class _Line:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


class Turns:
    """One line of requests for each sequence that is asked for just now. On the event loop's thread."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, _Line] = {}

    def __len__(self) -> int:
        """How many sequences are being asked for."""
        return len(self._lines)

    @asynccontextmanager
    async def turn(self, sequence: Hashable) -> AsyncIterator[None]:
        """Wait until everybody who came before has left. Cancelling the wait leaves the line."""
        line = self._lines.setdefault(sequence, _Line())
        line.length += 1
        try:
            async with line.lock:
                yield
        finally:
            line.length -= 1
            if not line.length:
                del self._lines[sequence]
