"""A request inside the engine: what it still wants computed, and where it stands among the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.reaching import descend
from service.engine.reading import Reading
from service.engine.requests import Advance, AdvanceResult, Complete, FinishReason, PathId, Piece, Score, Scored
from service.engine.state_tree import Node, StateTree
from service.engine.suggesting import steps_ahead, suggest
from service.engine.wishes import Wish
from service.errors import CarouselError

MAX_FREE_MOVES = 256  # a move along held states costs microseconds; this many at once delay nobody

Result = AdvanceResult | Piece | Scored
Outcome = Result | CarouselError
Answer = Callable[[Any], None]
"""Takes the outcomes of one request; `Engine.submit` types which."""


class Priority(IntEnum):
    """Who goes first in a batch."""

    TYPED = 0  # tokens that a person typed
    SUGGESTION = 1  # what a person waits for


@dataclass(slots=True)
class Path:
    """A session's place in the tree. `node` is a prefix of the path's text, as deep as its state is held.

    Before its first movement it has no node. `task` moves it; `tasks` are all that start from it, that one included.
    """

    id: PathId
    scope: str
    at: Node | None = None
    task: AdvanceTask | None = None
    tasks: tuple[Task, ...] = ()  # a session at rest keeps no container of its own
    served: float = 0.0

    @property
    def node(self) -> Node:
        """Where it stands, once it stands."""
        assert self.at is not None, "a path is placed before anything starts from it"
        return self.at


@dataclass(slots=True, eq=False)
class Task(ABC):
    """One request under way: `wishes` is what it waits for, `holds` are the nodes that it has pinned.

    `in_batch` counts the wishes that a running batch will grant. `followed` are the tokens that its only wish was fed
    beyond its own.

    `whole` says that it wants the whole distribution after its only wish, not just the head: the wish is then a step
    even if its child is held, and `distribution` is natural log, float32 [vocabulary]. If that wish is to read,
    `reading` is what was expected after each of its tokens.
    """

    sequence: int
    path: Path
    request: Advance | Complete | Score
    answer: Answer
    work: Generator[Sequence[Wish], Sequence[Node], Result] = field(init=False)
    priority: Priority = Priority.TYPED
    begun: bool = False
    ended: bool = False
    wishes: Sequence[Wish] = ()
    children: list[Node | None] = field(default_factory=list)
    missing: int = 0
    in_batch: int = 0
    followed: bytes = b""
    holds: list[Node] = field(default_factory=list)
    steps: int = 0
    whole: bool = False
    distribution: NDArray[np.float32] = field(init=False)
    reading: Reading = field(init=False)

    @property
    @abstractmethod
    def may_be_given_up(self) -> bool:
        """Whether it may end before its work is done, at its deadline or because its caller went away."""

    @abstractmethod
    def cut_short(self, reason: FinishReason) -> Outcome:
        """What it is answered if it ends now for this reason."""

    def want(self, tree: StateTree, wishes: Sequence[Wish]) -> None:
        """Wait for these nodes to be expanded. They stay pinned until the next wish; earlier pins go."""
        before, self.holds = self.holds, [wish.node for wish in wishes]
        for node in self.holds:
            tree.pin(node)
        tree.unpin(before)
        self.wishes = wishes
        self.children = [None] * len(wishes)
        self.missing = len(wishes)
        self.followed = b""

    def receive(self, tree: StateTree, index: int, child: Node) -> None:
        """The child of `wishes[index]` is there; it is pinned until the next wish."""
        tree.pin(child)
        self.children[index] = child
        self.missing -= 1
        self.holds.append(child)


@dataclass(slots=True, eq=False)
class AdvanceTask(Task):
    """One Advance under way.

    `began_at` is the depth from which its path moves; `awaited` counts the bytes of the way whose states were computed.
    `held_back`: it has not begun, and waits for its turn (`replays`), for suggestions no longer than `patient_until_s`.
    """

    request: Advance
    began_at: int = 0
    awaited: int = 0
    held_back: bool = False
    patient_until_s: float = 0.0

    @property
    def may_be_given_up(self) -> bool:
        """Its suggestions may be, its movement is always finished."""
        return self.request.suggest is not None

    @property
    def steps_asked_for(self) -> int:
        """Those of its suggestions."""
        return max(self.steps - self.awaited, 0)

    def cut_short(self, reason: FinishReason) -> AdvanceResult:
        """No suggestions; who wanted none needs no reason."""
        return AdvanceResult(finish=reason if self.may_be_given_up else None, steps=self.steps)


def advance(
    tree: StateTree, task: AdvanceTask, separator: int, chunk: int
) -> Generator[Sequence[Wish], Sequence[Node], AdvanceResult]:
    """Move the task's path to its text, a chunk at a time, then suggest from there.

    The path already stands on a prefix of the text when this starts; it moves only onto nodes of the new text.
    """
    path, request = task.path, task.request
    ahead = 0 if request.suggest is None else steps_ahead(request.suggest)
    stand(tree, path, (yield from descend(tree, path.node, request.text)))
    while (at := tree.depth(path.node)) < len(request.text):
        last = at + 1 == len(request.text)
        (node,) = yield (Wish(path.node, request.text[at : at + chunk], ahead if last else 0),)
        stand(tree, path, node)
    if not len(request.text) % 16:  # often enough that what was typed last is never among the oldest
        tree.touch(path.node, levels=80)
    if request.suggest is None:
        return AdvanceResult(steps=task.steps)
    task.priority = Priority.SUGGESTION
    continuations = yield from suggest(tree, path.node, request.suggest, separator, request.text)
    return AdvanceResult(continuations, None if continuations else FinishReason.END, task.steps)


def stand(tree: StateTree, path: Path, node: Node) -> None:
    """Put a path onto a node."""
    if node != path.node:
        tree.occupy(node)
        tree.vacate(path.node)
        path.at = node
