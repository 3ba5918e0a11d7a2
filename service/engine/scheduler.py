"""Continuous batching: every tick plans one batch from all that waits.

A batch has single steps (one token of many rows) and at most one group of chunks (prefill: the same number of tokens of
a few rows), so a long paste delays a neighbour's keystroke by one chunk. The order is by priority, then fair between
tenants, then between the paths of a tenant (start-time fair queueing, Goyal, Vin & Cheng 1996: who was served less goes
first, and who comes back after idling has no credit).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from service.engine.state_tree import Node, StateTree
from service.engine.task import Task


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """`max_rows` single steps and `max_chunk_rows` chunks of at most `max_chunk` tokens make a batch."""

    max_rows: int = 64
    max_chunk: int = 32
    max_chunk_rows: int = 4


@dataclass(slots=True)
class Group:
    """Rows that are fed the same number of tokens; `waiting[i]` lists who wants row i, and as which of its wishes.

    `whole` if somebody wants whole distributions, which cross into Python for such a batch only.
    """

    parents: list[Node] = field(default_factory=list)
    tokens: list[bytes] = field(default_factory=list)
    waiting: list[list[tuple[Task, int]]] = field(default_factory=list)
    whole: bool = False


@dataclass(slots=True)
class BatchPlan:
    """What one tick runs: single steps, and chunks of one common length."""

    steps: Group
    chunks: Group

    @property
    def rows(self) -> int:
        """Rows of both groups."""
        return len(self.steps.parents) + len(self.chunks.parents)

    @property
    def tokens(self) -> int:
        """Tokens of both groups."""
        return sum(map(len, self.steps.tokens)) + sum(map(len, self.chunks.tokens))


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

    def plan(self, tree: StateTree, tasks: Iterable[Task]) -> BatchPlan:
        """Take what is missing, in order, up to the limits. The same expansion for several tasks is one row."""
        plan = BatchPlan(Group(), Group())
        rows: dict[tuple[Node, bytes], list[tuple[Task, int]]] = {}
        ordered = sorted(tasks, key=self._order)
        for task in ordered:
            for index, (node, tokens) in enumerate(task.wanted):
                if task.children[index] is not None:
                    continue
                sharers = rows.get((node, tokens))
                if sharers is not None:
                    sharers.append((task, index))
                elif (group := self._room(plan, tokens)) is not None:
                    sharers = rows[node, tokens] = [(task, index)]
                    group.parents.append(node)
                    group.tokens.append(tokens)
                    group.waiting.append(sharers)
                    self._charge(task, len(tokens))
                else:
                    continue
                if task.whole:
                    plan.steps.whole = plan.chunks.whole = True
        return plan

    def _order(self, task: Task) -> tuple[int, float, float, int]:
        return task.priority, self._served[task.path.scope], task.path.served, task.sequence

    def _room(self, plan: BatchPlan, tokens: bytes) -> Group | None:
        if len(tokens) == 1:
            return plan.steps if len(plan.steps.parents) < self.limits.max_rows else None
        chunks = plan.chunks
        if chunks.parents and (
            len(tokens) != len(chunks.tokens[0]) or len(chunks.parents) == self.limits.max_chunk_rows
        ):
            return None
        return chunks

    def _charge(self, task: Task, tokens: int) -> None:
        scope = task.path.scope
        self._virtual_time = max(self._virtual_time, self._served[scope])
        self._served[scope] += tokens
        task.path.served += tokens
        task.steps += tokens
