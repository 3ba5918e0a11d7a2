"""A request inside the engine: what it still wants computed, and where it stands among the others."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from service.engine.requests import Advance, AdvanceResult, FinishReason, PathId
from service.engine.state_tree import Node, StateTree
from service.engine.suggesting import Wanted, suggest
from service.errors import CarouselError

Answer = Callable[[AdvanceResult | CarouselError], None]


class Priority(IntEnum):
    """Who goes first in a batch."""

    TYPED = 0  # tokens that a person typed
    SUGGESTION = 1  # what a person waits for


@dataclass(slots=True)
class Path:
    """A session's place in the tree. `node` is a prefix of the path's text, as deep as its state is held."""

    id: PathId
    scope: str
    node: Node
    task: Task | None = None
    served: float = 0.0


@dataclass(slots=True, eq=False)
class Task:
    """One Advance under way: `wanted` is what it waits for, `holds` are the nodes that it has pinned.

    `began_at` is the depth from which its path moves; `awaited` counts the bytes of the way whose states were computed.
    """

    sequence: int
    path: Path
    request: Advance
    answer: Answer
    work: Generator[Sequence[Wanted], Sequence[Node], AdvanceResult] = field(init=False)
    priority: Priority = Priority.TYPED
    wanted: Sequence[Wanted] = ()
    children: list[Node | None] = field(default_factory=list)
    missing: int = 0
    holds: list[Node] = field(default_factory=list)
    steps: int = 0
    began_at: int = 0
    awaited: int = 0

    def want(self, tree: StateTree, wanted: Sequence[Wanted]) -> None:
        """Wait for these nodes to be expanded. They stay pinned until the next wish; earlier pins go."""
        before, self.holds = self.holds, [node for node, _ in wanted]
        for node in self.holds:
            tree.pin(node)
        tree.unpin(before)
        self.wanted = wanted
        self.children = [None] * len(wanted)
        self.missing = len(wanted)

    def receive(self, tree: StateTree, index: int, child: Node) -> None:
        """The child of `wanted[index]` is there; it is pinned until the next wish."""
        tree.pin(child)
        self.children[index] = child
        self.missing -= 1
        self.holds.append(child)


def advance(
    tree: StateTree, task: Task, separator: int, chunk: int
) -> Generator[Sequence[Wanted], Sequence[Node], AdvanceResult]:
    """Move the task's path to its text, a chunk at a time, then suggest from there.

    The path already stands on a prefix of the text when this starts; it moves only onto nodes of the new text.
    """
    path, request = task.path, task.request
    stand(tree, path, tree.descend(path.node, request.text[tree.depth(path.node) :]))
    while (at := tree.depth(path.node)) < len(request.text):
        (node,) = yield [(path.node, request.text[at : at + chunk])]
        stand(tree, path, node)
    tree.touch(path.node, levels=64)
    if request.suggest is None:
        return AdvanceResult(steps=task.steps)
    task.priority = Priority.SUGGESTION
    continuations = yield from suggest(tree, path.node, request.suggest, separator)
    return AdvanceResult(continuations, None if continuations else FinishReason.END, task.steps)


def stand(tree: StateTree, path: Path, node: Node) -> None:
    """Put a path onto a node."""
    if node != path.node:
        tree.occupy(node)
        tree.vacate(path.node)
        path.node = node
