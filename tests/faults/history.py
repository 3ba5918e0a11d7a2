"""What was asked of a session and what became of it, in the order in which its clients knew.

One history for a session, whoever types into it: clients of one history run on one event loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["ok", "failed", "unknown"]
"""`ok`: acknowledged. `failed`: the server says that it was not made, and will not be. `unknown`: no answer, or one
that does not tell; it was made, or it was not, or it will be.
"""

Count = Literal["invoked", "ok", "failed", "unknown"]


@dataclass
class Operation:
    """One edit with an edit id of its own, asked for once or more often."""

    number: int
    base: int  # the revision that it is based on
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def acknowledged(self) -> bool:
        return "ok" in self.outcomes

    @property
    def refused(self) -> bool:
        """Every request was answered, and each was refused."""
        return bool(self.outcomes) and set(self.outcomes) == {"failed"}


@dataclass(frozen=True)
class Invoked:
    """A request for the operation is on its way."""

    operation: Operation


@dataclass(frozen=True)
class Answered:
    """An outcome, and with `ok` the revision that the edit made."""

    operation: Operation
    outcome: Outcome
    revision: int | None


@dataclass(frozen=True)
class Seen:
    """The session as it was read by a request that was sent after the first `known` events."""

    known: int
    revision: int
    text: str


@dataclass
class History:
    """The operations of one session, and everything that happened to them."""

    session: str
    operations: list[Operation] = field(default_factory=list)
    events: list[Invoked | Answered | Seen] = field(default_factory=list)

    def begin(self, base: int) -> Operation:
        """An edit that nobody has asked for yet."""
        self.operations.append(Operation(len(self.operations), base))
        return self.operations[-1]

    def invoked(self, operation: Operation) -> None:
        self.events.append(Invoked(operation))

    def answered(self, operation: Operation, outcome: Outcome, revision: int | None = None) -> None:
        operation.outcomes.append(outcome)
        self.events.append(Answered(operation, outcome, revision))

    def saw(self, revision: int, text: str, known: int | None = None) -> None:
        """What was read. known: events when it was asked for; all, if nobody typed meanwhile."""
        self.events.append(Seen(len(self.events) if known is None else known, revision, text))

    def edit_id(self, operation: Operation) -> str:
        return f"{self.session}-{operation.number}"


def typed(number: int) -> str:
    """What the edit of that number types: no two are alike, and some are not ASCII."""
    return f"<{number}{'é😀'[number % 3 : number % 3 + 1]}>"


def counts(histories: Iterable[History]) -> Counter[Count]:
    """How many requests were sent, and how often each outcome was had."""
    said: Counter[Count] = Counter()
    for history in histories:
        said["invoked"] += sum(isinstance(event, Invoked) for event in history.events)
        said.update(outcome for operation in history.operations for outcome in operation.outcomes)
    return said
