"""Who stands where: the paths of the sessions, and the scopes that they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from service.engine.requests import PathId
from service.engine.state_tree import Node, StateTree
from service.engine.task import Path


class Paths:
    """All open paths. A path has no node before its first movement. Owned by the engine."""

    def __init__(self, tree: StateTree) -> None:
        self._tree = tree
        self._paths: dict[PathId, Path] = {}
        self._of_scope: Counter[str] = Counter()

    def open(self, id_: PathId, scope: str) -> None:
        """A new path, not yet placed."""
        self._paths[id_] = Path(id_, scope)
        self._of_scope[scope] += 1

    def fork(self, id_: PathId, path: Path) -> None:
        """A new path where another one stands."""
        self.open(id_, path.scope)
        if path.at is not None:
            self.place(self._paths[id_], path.at)

    def close(self, path: Path) -> bool:
        """Give a path up; whether it was the last one of its scope."""
        del self._paths[path.id]
        if path.at is not None:
            self._tree.vacate(path.at)
        self._of_scope[path.scope] -= 1
        if self._of_scope[path.scope]:
            return False
        del self._of_scope[path.scope]
        return True

    def all(self) -> Sequence[Path]:
        """Those that are open, the oldest first."""
        return tuple(self._paths.values())

    def find(self, id_: PathId) -> Path | None:
        """The path with this number, if it is open."""
        return self._paths.get(id_)

    def place(self, path: Path, node: Node) -> None:
        """Put a path that stands nowhere onto a node."""
        path.at = node
        self._tree.occupy(node)

    def displaced(self, moves: Sequence[tuple[Node, Node]]) -> None:
        """Nodes were dropped: whoever stood on the first of a pair stands on the second now."""
        moved = dict(moves)
        for path in self._paths.values():
            while path.at in moved:
                path.at = moved[path.at]
