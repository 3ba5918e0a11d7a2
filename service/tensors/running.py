"""Where models of tensors run: what is small at once on the event loop, what is large on one thread, piece by piece.

A step of a small network takes some 20 us, less than a change of threads; a whole series, or a large network, takes
milliseconds, in which everybody who types would wait. How long each model takes is measured as it runs. Pieces of
several requests take turns on the thread, in the order of their coming; a request whose caller went away, or whose time
is up, begins no further piece.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.engine.ports import ModelError, States
from service.errors import DeadlineExceeded, InvalidArgument, Overloaded
from service.tensors.ports import Inputs, Reader

T = TypeVar("T")

_AT_ONCE_S = 0.0005
_PIECE_S = 0.005
_MOST = 4096  # rows times steps of a piece, however quick the model is
_MOST_NUMBERS = 1 << 22  # that are computed in a piece: 16 MiB
_UNKNOWN_S = 0.001  # a row's step of a model that has not run yet: so it runs on the thread first
_CALL_S = 0.00005  # of a single step at least, whatever is in it
_WRITTEN_AT_ONCE = 256  # numbers: a text of them takes a microsecond or two each
_RETRY_AFTER_S = 0.5


class Runner:
    """One for the process. max_waiting: requests with work on the thread; more are refused. Closed last."""

    def __init__(self, *, max_waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="carousel-tensors")
        self._max_waiting, self._waiting, self._clock = max_waiting, 0, clock
        self._steps_s: dict[str, float] = {}  # a row's step, by the model's digest

    async def read(
        self, reader: Reader, inputs: Inputs, states: States, *, until_s: float | None = None
    ) -> tuple[NDArray[np.float32], States]:
        """As `Reader.read_chunk`, of any length. Raises InvalidArgument (`inputs`) where no finite answer comes out,
        DeadlineExceeded after `until_s` on the clock, Overloaded.
        """
        steps, rows = inputs.shape[:2]
        self._check(until_s)
        step_s = self._step_s(reader)
        if steps * rows * step_s <= _AT_ONCE_S and not self._waiting:
            return self._timed(reader, steps * rows, reader.read_chunk, inputs, states)
        most = min(_MOST, _MOST_NUMBERS // reader.numbers_a_step)
        piece = max(1, min(most, int(_PIECE_S / step_s)) // rows)
        said = []
        with _Place(self):
            for start in range(0, steps, piece):
                self._check(until_s)
                outputs, states = await self._there(
                    reader, rows * min(piece, steps - start), reader.read_chunk, inputs[start : start + piece], states
                )
                said.append(outputs)
        return np.concatenate(said), states

    async def forecast(
        self, reader: Reader, expected: NDArray[np.float32], states: States, steps: int, *, until_s: float | None = None
    ) -> NDArray[np.float32]:
        """Go on with what a model of numbers expects, reading its own forecasts; float32 [steps, rows, width].

        expected: float32 [rows, width], of the first of them. Raises as `read` does.
        """
        found = [expected[None]]
        rows, left = len(expected), steps - 1
        single_s = max(_CALL_S, rows * self._step_s(reader))
        if left * single_s <= _AT_ONCE_S and not self._waiting:
            if left:
                found.append(self._timed(reader, left * rows, _follow, reader, found[0], states, left)[0])
            return np.concatenate(found)
        with _Place(self):
            at_once = max(1, int(_PIECE_S / single_s))
            while left:
                self._check(until_s)
                some = min(left, at_once)
                several, states = await self._there(reader, rows * some, _follow, reader, found[-1][-1:], states, some)
                found.append(several)
                left -= len(several)
        return np.concatenate(found)

    async def apart(self, size: int, call: Callable[..., T], *arguments: object) -> T:
        """What the call gives: on the thread, if there are many numbers to turn into text or back. size: how many."""
        if size <= _WRITTEN_AT_ONCE:
            return call(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *arguments))

    def close(self) -> None:
        """Wait for the piece that runs; what is queued behind it is given up."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _check(self, until_s: float | None) -> None:
        if until_s is not None and self._clock() > until_s:
            raise DeadlineExceeded("the time for this request is up; nothing was appended")

    async def _there(self, reader: Reader, row_steps: int, call: Callable[..., T], *arguments: object) -> T:
        timed = partial(self._timed, reader, row_steps, call, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._thread, timed)

    def _timed(self, reader: Reader, row_steps: int, call: Callable[..., T], *arguments: object) -> T:
        """What the call gives; how long it took is kept for the next ones, the newest counting for half."""
        began_s = time.perf_counter()
        result = _refusing(call)(*arguments)
        digest, took_s = reader.identity.digest, (time.perf_counter() - began_s) / max(1, row_steps)
        self._steps_s[digest] = (self._steps_s.get(digest, took_s) + took_s) / 2
        return result

    def _step_s(self, reader: Reader) -> float:
        return self._steps_s.get(reader.identity.digest, _UNKNOWN_S)

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
