"""Somebody who types edit after edit over gRPC, asks again what was not answered, and writes everything down."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from tests.faults.history import History, Operation, Outcome, typed
from tests.faults.replicas import PATIENCE_S, Replica, look

_OUTCOMES: dict[grpc.StatusCode, Outcome] = {
    grpc.StatusCode.FAILED_PRECONDITION: "failed",
    grpc.StatusCode.ABORTED: "failed",
    grpc.StatusCode.UNAVAILABLE: "unknown",
    grpc.StatusCode.CANCELLED: "unknown",
    grpc.StatusCode.DEADLINE_EXCEEDED: "unknown",
}
"""Whatever else is answered is a bug, of the server or of the test."""

_MOST_STEPS = 20_000  # of one who types until something is over; with rests between them, minutes
_MOST_ATTEMPTS = 400  # of one edit; with rests between them, they take longer than any fault here lasts


@dataclass(frozen=True)
class Manner:
    """How one types. copies: of a request, sent at the same time to one replica each. gives_up: how likely it is that
    what was not answered is not asked again. waits_s: for an answer. rests_s: between two requests.
    """

    copies: int = 1
    gives_up: float = 0.0
    waits_s: float = 5.0
    rests_s: float = 0.005


class Progress:
    """How many requests were answered how, of however many typists: a fault comes in the middle of others.

    Of those that read, only what was not answered counts.
    """

    def __init__(self) -> None:
        self._had: Counter[Outcome] = Counter()
        self._awaited: tuple[Outcome, int] = ("ok", 0)
        self._reached = asyncio.Event()

    def one(self, outcome: Outcome) -> None:
        self._had[outcome] += 1
        if (outcome, self._had[outcome]) == self._awaited:
            self._reached.set()

    async def more(self, many: int, outcome: Outcome = "ok") -> None:
        """Wait until there were so many more, and not a moment more. For one who waits at a time."""
        self._awaited = outcome, self._had[outcome] + many
        self._reached.clear()
        async with asyncio.timeout(PATIENCE_S):
            await self._reached.wait()


class Typist:
    """One of those who type into the session of a history. `replicas` may change at any time."""

    def __init__(
        self,
        history: History,
        replicas: Sequence[Replica],
        progress: Progress,
        *,
        seed: int = 0,
        manner: Manner | None = None,
    ) -> None:
        self._history, self._replicas, self._progress = history, replicas, progress
        self._manner, self._chosen = manner or Manner(), random.Random(f"{history.session} {seed}")
        self._revision: int | None = 1  # None if it has to be read
        self._operation: Operation | None = None  # whose fate is not known, and which is asked for again
        self._asked = self._chosen.randrange(64)  # whom it asks; another one if that one does not answer

    @property
    def asked(self) -> Replica:
        """Whom it asks until that one does not answer, or refuses."""
        return self._replica(0)

    async def type_until(self, over: Callable[[], bool]) -> None:
        """Type edit after edit; the last one may be left without an answer."""
        for _ in range(_MOST_STEPS):
            if over():
                return
            await self._step()
        raise AssertionError("it was to be over long before")

    async def finish(self) -> None:
        """Ask for the last edit until its fate is known; it is one more if that was known."""
        for _ in range(_MOST_ATTEMPTS):
            await self._step()
            if self._operation is None and self._revision is not None:
                return
        raise AssertionError(f"nobody answers who types into {self._history.session}")

    async def _step(self) -> None:
        """One request."""
        if self._revision is None:
            await self._read_again()
        else:
            await self._type(self._revision)
        await asyncio.sleep(self._manner.rests_s)

    async def _type(self, revision: int) -> None:
        operation = self._operation or self._history.begin(revision)
        outcome = await self._ask(operation)
        self._progress.one(outcome)
        if outcome == "ok":
            self._operation, self._revision = None, operation.base + 1
            return
        self._asked += 1
        given_up = outcome == "failed" or self._chosen.random() < self._manner.gives_up
        self._operation = None if given_up else operation
        if given_up:
            self._revision = None

    async def _ask(self, operation: Operation) -> Outcome:
        """The best that was answered to any copy."""
        asked = [self._replica(copy) for copy in range(self._manner.copies)]
        outcomes = await asyncio.gather(
            *(ask(replica, self._history, operation, self._manner.waits_s) for replica in asked)
        )
        return min(outcomes, key=("ok", "unknown", "failed").index)

    async def _read_again(self) -> None:
        try:
            self._revision = await look(self._replica(0), self._history, self._manner.waits_s)
        except grpc.aio.AioRpcError as error:
            if _outcome_of(error) != "unknown":
                raise
            self._progress.one("unknown")  # who reads has waited in vain as well, and may be the only one there
            self._asked += 1

    def _replica(self, further: int) -> Replica:
        return self._replicas[(self._asked + further) % len(self._replicas)]


def edit_of(history: History, operation: Operation) -> pb.EditRequest:
    """The request of an operation, the same however often it is asked for."""
    return pb.EditRequest(
        session_id=history.session,
        revision=operation.base,
        edit_id=history.edit_id(operation),
        edits=[pb.EditOperation(insert=typed(operation.number))],
    )


async def ask(replica: Replica, history: History, operation: Operation, waits_s: float) -> Outcome:
    """Send the edit once, and write down what became of it."""
    history.invoked(operation)
    try:
        answer = await replica.stub.Edit(edit_of(history, operation), timeout=waits_s)
    except grpc.aio.AioRpcError as error:
        history.answered(operation, _outcome_of(error))
    else:
        history.answered(operation, "ok", answer.session.revision)
    return operation.outcomes[-1]


def _outcome_of(error: grpc.aio.AioRpcError) -> Outcome:
    if error.code() not in _OUTCOMES:
        raise error
    return _OUTCOMES[error.code()]
