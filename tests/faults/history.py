"""What was asked of a session and what became of it, as a client knows it, and what must be true of it afterwards."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["invoked", "ok", "failed", "unknown"]


@dataclass
class Operation:
    """One edit with an id of its own; `unknown` if no answer came: it was made, or it was not."""

    number: int
    base: int
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def acknowledged(self) -> bool:
        return "ok" in self.outcomes


@dataclass
class History:
    """The operations of one session in the order in which they were first asked for."""

    session: str
    operations: list[Operation] = field(default_factory=list)

    @property
    def acknowledged(self) -> int:
        """How many edits the client knows to be kept. They are the first ones: each is based on the one before."""
        return sum(operation.acknowledged for operation in self.operations)

    def text(self, edits: int) -> str:
        """The text after so many edits."""
        return "".join(typed(operation.number) for operation in self.operations[:edits])

    def check(self, revision: int, text: str) -> None:
        """What is there after a recovery, before anything is asked again: every acknowledged edit, in order, once.

        One more may be there: the one whose answer was lost.
        """
        edits = revision - 1
        assert self.acknowledged <= edits <= len(self.operations), (self.session, self.acknowledged, edits)
        assert text == self.text(edits), self.session


def typed(number: int) -> str:
    """What the edit of that number types: no two are alike, and some are not ASCII."""
    return f"<{number}{'é😀'[number % 3 : number % 3 + 1]}>"


def counts(histories: list[History]) -> Counter[Outcome]:
    """How often each outcome was had."""
    return Counter(outcome for one in histories for operation in one.operations for outcome in operation.outcomes)
