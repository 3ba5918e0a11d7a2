"""Sequences of models of tensors: their states between requests, and the logs from which those can be made again.

A state is a cache of its log. It is kept in this process's memory under a budget, the least recently used go first, and
what is not there, after a restart or at another replica, is read again from the log in one chunk: to the same bits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.engine.ports import States
from service.errors import Fenced, InvalidArgument, Unavailable
from service.sessions.number_logs import Logged, NumberLogs
from service.sessions.records import SessionKey
from service.tensors.ports import Inputs, Numbers, TensorModel
from service.tensors.running import Runner

T = TypeVar("T")

_ENTRY_BYTES = 512  # of Python's own, beside the arrays
_TRIES = 4  # against writers at other replicas
_RETRY_AFTER_S = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """After some steps: the states, and what is expected next, float32 [rows, outputs] (of words, that is the last of
    the states); None of a model of numbers that has read none.
    """

    states: States
    expected: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """What came of some inputs. said: float32 [time, rows, outputs], of each.  after: where the rows stand then."""

    said: NDArray[np.float32]
    after: Place

    @property
    def last(self) -> NDArray[np.float32] | None:
        """What is expected at the end."""
        return self.after.expected


class Sequences:
    """The sequences of every model; requests of one sequence must come one after the other.

    budget_bytes: of states in memory. After an error nothing was appended, and the same request may be sent again;
    after Unavailable only the log can tell.
    """

    def __init__(self, logs: NumberLogs, runner: Runner, *, budget_bytes: int) -> None:
        self._logs, self._runner, self._budget_bytes = logs, runner, budget_bytes
        self._kept: OrderedDict[SessionKey, tuple[Logged, Place]] = OrderedDict()
        self._bytes = 0

    @property
    def state_bytes(self) -> int:
        """How much memory the states take."""
        return self._bytes

    def __len__(self) -> int:
        """How many sequences have their state in memory."""
        return len(self._kept)

    async def read(self, model: TensorModel, inputs: Inputs, *, until_s: float | None = None) -> Read:
        """Of rows that are kept nowhere. Raises as the runner does."""
        start = await self._start(model, inputs.shape[1])
        return await self._go_on(model, start, inputs, until_s)

    async def begin(
        self,
        model: TensorModel,
        key: SessionKey,
        inputs: Inputs,
        *,
        further: Callable[[Read], Awaitable[T]],
        until_s: float | None = None,
    ) -> T:
        """Of one row, in the place of what the sequence held until now. Raises as the logs and the runner do.

        further: what is made of it, before anything is appended.
        """
        read = await self.read(model, inputs, until_s=until_s)
        answer = await further(read)
        self._forget_state(key)
        numbers = await self._runner.apart(inputs.size, written, inputs)
        logged = await self._logs.begin(key, model.identity.name, numbers)
        self._keep(key, logged, read.after)
        return answer

    async def append(
        self,
        model: TensorModel,
        key: SessionKey,
        inputs: Inputs,
        *,
        further: Callable[[Read], Awaitable[T]],
        last: bool,
        until_s: float | None = None,
    ) -> T | None:
        """Of what the sequence holds and one row more; None if there is no such sequence.

        last: it is forgotten then.  further: what is made of it, before anything is appended.
        """
        for _ in range(_TRIES):
            # What is appended is met by the fence if somebody else was faster; where nothing is, the log must tell.
            found = await self._find(model, key, until_s, newest=last or not inputs.size)
            if found is None:
                return None
            logged, place = found
            read = await self._go_on(model, place, inputs, until_s)
            answer = await further(read)
            if last:
                await self.forget(key)
                return answer
            try:
                if inputs.size:
                    numbers = await self._runner.apart(inputs.size, written, inputs)
                    logged = await self._logs.append(key, logged, numbers)
            except Fenced:  # another replica has written, or the sequence was swept
                self._forget_state(key)
                continue
            except BaseException:  # what is stored is not known then
                self._forget_state(key)
                raise
            self._keep(key, logged, read.after)
            return answer
        raise Unavailable(f"others write to {key.id!r} at the same time: try again", _RETRY_AFTER_S)

    async def forget(self, key: SessionKey) -> None:
        """Give the sequence up; nothing happens if there is none."""
        self._forget_state(key)
        await self._logs.forget(key)

    async def _find(
        self, model: TensorModel, key: SessionKey, until_s: float | None, *, newest: bool
    ) -> tuple[Logged, Place] | None:
        """Where the sequence stands: what is kept, or read again from the log. newest: also if others may write it."""
        kept = self._kept.get(key)
        if kept is not None and not (newest and self._logs.shared):
            return kept
        found = await self._logs.find(key)
        if found is None:
            self._forget_state(key)
            return None
        logged, log = found
        if kept is not None and kept[0] == logged:
            return kept
        self._forget_state(key)
        start = await self._start(model, 1)
        inputs = await self._runner.apart(len(log), read_back, model, log)
        read = await self._go_on(model, start, inputs, until_s)
        self._keep(key, logged, read.after)
        return logged, read.after

    async def _start(self, model: TensorModel, rows: int) -> Place:
        """Before the first input; a model of words has read the token that begins a text."""
        states = model.reader.initial_states(rows)
        if isinstance(model.reads, Numbers):
            return Place(states, None)
        begins = np.full((1, rows), model.reads.start_token, np.int64)
        _, states = await self._runner.read(model.reader, begins, states)
        return Place(states, _distribution(states))

    async def _go_on(self, model: TensorModel, place: Place, inputs: Inputs, until_s: float | None) -> Read:
        if not len(inputs):
            outputs = model.reads.width if isinstance(model.reads, Numbers) else 1
            return Read(np.empty((0, inputs.shape[1], outputs), np.float32), place)
        said, states = await self._runner.read(model.reader, inputs, place.states, until_s=until_s)
        expected = said[-1].copy() if isinstance(model.reads, Numbers) else _distribution(states)
        return Read(said, Place(states, expected))

    def _keep(self, key: SessionKey, logged: Logged, place: Place) -> None:
        self._forget_state(key)
        self._kept[key] = (logged, place)
        self._bytes += _size(place)
        while self._bytes > self._budget_bytes and self._kept:
            gives_way = next(iter(self._kept))
            self._forget_state(gives_way)
            self._logs.rest(gives_way)

    def _forget_state(self, key: SessionKey) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= _size(kept[1])


def written(inputs: Inputs) -> str:
    """The inputs of one row as its log has them. inputs: [time, 1, ...]."""
    return " ".join(str(number) for number in inputs.reshape(-1))


def read_back(model: TensorModel, log: str) -> Inputs:
    """What `written` wrote. Raises InvalidArgument if the model can have read no such thing: somebody wrote it."""
    try:
        if isinstance(model.reads, Numbers):
            return np.array(log.split(), np.float32).reshape(-1, 1, model.reads.width)
        tokens = np.array(log.split(), np.int64).reshape(-1, 1)
    except ValueError as error:
        raise _not_its_log(error) from error
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < model.reads.size:
        raise _not_its_log("a token is out of range")
    return tokens


def _not_its_log(why: object) -> InvalidArgument:
    return InvalidArgument(
        "parameters.sequence_id",
        f"what is stored of this sequence is not of this model ({why}): begin it anew with sequence_start",
    )


def _distribution(states: States) -> NDArray[np.float32]:
    """What a model of words expects, see `ports.Reader`."""
    return states[-1].astype(np.float32, copy=False)


def _size(place: Place) -> int:
    arrays = {id(array): array.nbytes for array in (*place.states, place.expected) if array is not None}
    return _ENTRY_BYTES + sum(arrays.values())
