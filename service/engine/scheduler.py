"""Continuous batching: every tick plans batches from all that waits.

A tick may run several batches, each of one kind: single steps (one token of many rows), ways (some tokens of the
model's own choice after the one that was wished for) and chunks (the same number of tokens of a few rows), of which the
end is wanted or every token is read. There is one batch of chunks, whose rows a long paste shares with a text that is
scored, and a row for the short end of a text, so a keystroke is delayed by no more. The order is by priority, then fair
between tenants, then between the paths of a tenant (start-time fair queueing, Goyal, Vin & Cheng 1996: who was served
less goes first, and who comes back after idling has no credit).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from service.engine.state_tree import Node
from service.engine.task import Task
from service.engine.wishes import Wish


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """A batch has `max_rows` rows, or `max_chunk_rows` chunks of at most `max_chunk` tokens.

    A batch of ways feeds `max_way` tokens a row, and `max_way_tokens` in all rows together, or twice that where no
    other one goes with it, so that it ends soon.
    """

    max_rows: int = 64
    max_chunk: int = 32
    max_chunk_rows: int = 4
    max_way: int = 24
    max_way_tokens: int = 512


class Kind(Enum):
    """How the rows of a batch are fed, and what of them is kept."""

    STEP = "step"
    CHUNK = "chunk"
    WAY = "way"
    WAY_END = "way's end"


_SHORT = "a shorter chunk"
"""Has a batch of its own, of one row, or what is left of a text would wait until nobody pastes."""


@dataclass(slots=True)
class Batch:
    """Rows that are run together; `waiting[i]` lists who wants row i, and as which of its wishes.

    `ahead[i]` is how many tokens of the model's choice row i is to be fed, `steps` how many tokens all rows are fed.
    `whole` if somebody wants whole distributions, which cross into Python for such a batch only; `read` if after every
    token of a chunk.
    """

    kind: Kind
    parents: list[Node] = field(default_factory=list)
    tokens: list[bytes] = field(default_factory=list)
    ahead: list[int] = field(default_factory=list)
    waiting: list[list[tuple[Task, int]]] = field(default_factory=list)
    whole: bool = False
    read: bool = False
    steps: int = 1

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.parents)

    @property
    def fed(self) -> int:
        """How many tokens are fed, in all rows together."""
        return self.rows * self.steps


class Scheduler:
    """Chooses rows. Owns only the accounts of who was served how much."""

    def __init__(self, limits: BatchLimits) -> None:
        self.limits = limits
        self._served: dict[str, float] = {}
        self._virtual_time = 0.0

    def arrived(self, task: Task) -> None:
        """A task came in: whoever was idle starts level with those being served, without credit."""
        self._served[task.path.scope] = max(self._served.get(task.path.scope, 0.0), self._virtual_time)

    def forget(self, scope: str) -> None:
        """A scope has no paths any more."""
        self._served.pop(scope, None)

    def plan(self, tasks: Iterable[Task], *, most: int | None = None) -> list[Batch]:
        """Take what is missing, in order, up to the limits, of those tasks that no running batch works for.

        The same expansion for several tasks is one row. `most` are the rows of a batch if not even the limit: then
        another batch is to go with this one, and ways are limited as two of them; else as one that has their room.
        """
        waiting = [task for task in tasks if task.missing and not task.in_batch]
        waiting.sort(key=self._order)
        way_tokens = self.limits.max_way_tokens * (2 if most is None else 1)
        most = self.limits.max_rows if most is None else min(most, self.limits.max_rows)
        batches: dict[Kind | str, Batch] = {}
        rows: dict[tuple[Node, bytes, Kind], tuple[Batch, int]] = {}
        for task in waiting:
            for index, wish in enumerate(task.wishes):
                if task.children[index] is not None:
                    continue
                kind = _kind(wish, task)
                known = rows.get((wish.node, wish.tokens, kind))
                if known is not None:
                    batch, row = known
                    batch.waiting[row].append((task, index))
                    batch.ahead[row] = max(batch.ahead[row], wish.ahead)
                else:
                    found = self._with_room(batches, kind, len(wish.tokens), most)
                    if found is None:
                        continue
                    batch = found
                    rows[wish.node, wish.tokens, kind] = batch, batch.rows
                    batch.parents.append(wish.node)
                    batch.tokens.append(wish.tokens)
                    batch.ahead.append(wish.ahead)
                    batch.waiting.append([(task, index)])
                task.in_batch += 1
                if task.whole:
                    batch.whole = True
                    batch.read = batch.read or kind is Kind.CHUNK
        for batch in batches.values():
            batch.steps = self._steps(batch, way_tokens)
            self._charge(batch)
        return list(batches.values())

    def plan_ahead(self, node: Node, tokens: Iterable[int], max_bytes: int) -> Batch:
        """A batch that nobody waits for: each token at the node, and a suggestion after it."""
        batch = Batch(Kind.WAY)
        for token in tokens:
            batch.parents.append(node)
            batch.tokens.append(bytes((token,)))
            batch.ahead.append(max_bytes)
            batch.waiting.append([])
        if batch.rows:
            batch.steps = self._steps(batch, self.limits.max_way_tokens)
        return batch

    def _order(self, task: Task) -> tuple[int, float, float, int]:
        return task.priority, self._served[task.path.scope], task.path.served, task.sequence

    def _with_room(self, batches: dict[Kind | str, Batch], kind: Kind, length: int, most: int) -> Batch | None:
        """The batch of this tick for a row of so many tokens; None if there is no room."""
        batch = batches.get(kind)
        if batch is None:
            return batches.setdefault(kind, Batch(kind))
        if kind is not Kind.CHUNK:
            return batch if batch.rows < most else None
        whole = len(batch.tokens[0])
        if length < whole and _SHORT not in batches:
            return batches.setdefault(_SHORT, Batch(kind))
        return batch if length == whole and batch.rows < self.limits.max_chunk_rows else None

    def _steps(self, batch: Batch, way_tokens: int) -> int:
        """How many tokens its rows are fed: of ways as many as half of the rows have a use for."""
        if batch.kind is Kind.STEP or batch.kind is Kind.CHUNK:
            return len(batch.tokens[0])
        limits = self.limits
        useful = 1 + sorted(batch.ahead)[batch.rows // 2]
        return max(min(useful, limits.max_way, way_tokens // batch.rows), 1)

    def _charge(self, batch: Batch) -> None:
        for waiting in batch.waiting:
            task = waiting[0][0]
            scope = task.path.scope
            self._virtual_time = max(self._virtual_time, self._served[scope])
            self._served[scope] += batch.steps
            task.path.served += batch.steps
            task.steps += batch.steps


def _kind(wish: Wish, task: Task) -> Kind:
    if len(wish.tokens) > 1:
        return Kind.CHUNK
    if not wish.ahead or task.whole:
        return Kind.STEP
    return Kind.WAY_END if wish.end_only else Kind.WAY
