"""Where models of tensors run: what is small at once on the event loop, what is large on one thread, piece by piece.

A step of such a network takes some 20 us and a whole series milliseconds. Pieces of several requests take turns on the
thread, in the order of their coming; a request whose caller went away, or whose time is up, begins no further piece.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.engine.ports import ModelError, States
from service.errors import DeadlineExceeded, InvalidArgument, Overloaded
from service.tensors.ports import Inputs, Reader

T = TypeVar("T")

_AT_ONCE = 32  # rows times steps: under a millisecond
_PIECE = 4096  # likewise: some milliseconds
_RETRY_AFTER_S = 0.5


class Runner:
    """One for the process. max_waiting: requests with work on the thread; more are refused. Closed last."""

    def __init__(self, *, max_waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="carousel-tensors")
        self._max_waiting, self._waiting, self._clock = max_waiting, 0, clock

    async def read(
        self, reader: Reader, inputs: Inputs, states: States, *, until_s: float | None = None
    ) -> tuple[NDArray[np.float32], States]:
        """As `Reader.read_chunk`, of any length. Raises InvalidArgument (`inputs`) where no finite answer comes out,
        DeadlineExceeded after `until_s` on the clock, Overloaded.
        """
        steps, rows = inputs.shape[:2]
        self._check(until_s)
        if steps * rows <= _AT_ONCE and not self._waiting:
            return _refusing(reader.read_chunk)(inputs, states)
        piece = max(1, _PIECE // rows)
        said = []
        with _Place(self):
            for start in range(0, steps, piece):
                self._check(until_s)
                outputs, states = await self._there(reader.read_chunk, inputs[start : start + piece], states)
                said.append(outputs)
        return np.concatenate(said), states

    async def forecast(
        self, reader: Reader, expected: NDArray[np.float32], states: States, steps: int, *, until_s: float | None = None
    ) -> NDArray[np.float32]:
        """Go on with what a model of numbers expects, reading its own forecasts; float32 [steps, rows, width].

        expected: float32 [rows, width], of the first of them. Raises as `read` does.
        """
        found = [expected[None]]
        if steps * len(expected) <= _AT_ONCE and not self._waiting:
            for _ in range(steps - 1):
                following, states = _refusing(reader.read_chunk)(found[-1], states)
                found.append(following)
            return np.concatenate(found)
        with _Place(self):
            at_once = max(1, _PIECE // (16 * len(expected)))  # single steps cost more than those of a chunk
            left = steps - 1
            while left:
                self._check(until_s)
                several, states = await self._there(_follow, reader, found[-1][-1:], states, min(left, at_once))
                found.append(several)
                left -= len(several)
        return np.concatenate(found)

    def close(self) -> None:
        """Wait for the piece that runs; what is queued behind it is given up."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _check(self, until_s: float | None) -> None:
        if until_s is not None and self._clock() > until_s:
            raise DeadlineExceeded("the time for this request is up; nothing was appended")

    async def _there(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, _refusing(call), *arguments)

    def enter(self) -> None:
        """One more waits. Raises Overloaded."""
        if self._waiting >= self._max_waiting:
            raise Overloaded("too many requests wait for models of tensors: try again", _RETRY_AFTER_S)
        self._waiting += 1

    def leave(self) -> None:
        """One less."""
        self._waiting -= 1


class _Place:
    """A request's place among those that wait."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def __enter__(self) -> None:
        self._runner.enter()

    def __exit__(self, *_: object) -> None:
        self._runner.leave()


def _follow(
    reader: Reader, last: NDArray[np.float32], states: States, steps: int
) -> tuple[NDArray[np.float32], States]:
    found = []
    for _ in range(steps):
        last, states = reader.read_chunk(last, states)
        found.append(last)
    return np.concatenate(found), states


def _refusing(call: Callable[..., T]) -> Callable[..., T]:
    """What inputs alone can do to a sound network, which was tried at load, is theirs to answer for."""

    def refusing(*arguments: object) -> T:
        try:
            return call(*arguments)
        except ModelError as error:
            raise InvalidArgument("inputs", f"the model gives no finite answer to these numbers: {error}") from error

    return refusing
