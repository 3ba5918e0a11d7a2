"""Batches on their way through the model: gathered from the tree, run, and kept in the tree.

A runner sees only arrays that were made for it, nothing of the tree. So one batch can run while the engine keeps what
the one before it gave.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.engine.ports import LIKELIEST, FollowResult, ReadResult, States, StepModel, StepResult
from service.engine.reading import Reading
from service.engine.scheduler import Batch, Kind
from service.engine.state_tree import Node, Nodes, StateTree

FEW_ROWS = 16
"""A larger batch keeps only the ends of completions' ways: what the checkpoint rule would drop first anyway."""

Result = StepResult | FollowResult | ReadResult


class Ran(NamedTuple):
    """What the model gave, for how many seconds it ran, and when it was through."""

    result: Result
    seconds: float
    ended_s: float


class Runner(Protocol):
    """Calls the model, one batch after another."""

    def start(self, work: Callable[[], Ran]) -> Future[Ran]:
        """Begin; the future has what `work` returns or raises."""


class RunHere:
    """Runs a batch on the caller's thread, before it returns."""

    def start(self, work: Callable[[], Ran]) -> Future[Ran]:
        """Run it; the future is done."""
        future: Future[Ran] = Future()
        _run(work, future)
        return future


class RunBeside:
    """Runs batches on a thread of its own: the model releases the interpreter lock, so the caller goes on.

    Not an executor of the standard library: that waits for its threads when the process ends, and a model that hangs
    would keep it from ending.
    """

    def __init__(self) -> None:
        self._waiting: SimpleQueue[tuple[Callable[[], Ran], Future[Ran]] | None] = SimpleQueue()
        self._thread = Thread(target=self._run_all, name="carousel-model", daemon=True)
        self._thread.start()

    def start(self, work: Callable[[], Ran]) -> Future[Ran]:
        """Queue it behind those that were started before."""
        future: Future[Ran] = Future()
        self._waiting.put((work, future))
        return future

    def close(self, *, wait_s: float = 10.0) -> None:
        """End after what was started, and wait for that. Called once, last."""
        self._waiting.put(None)
        self._thread.join(wait_s)

    def _run_all(self) -> None:
        while (one := self._waiting.get()) is not None:
            _run(*one)
            del one  # a batch is let go before the next one comes


def _run(work: Callable[[], Ran], future: Future[Ran]) -> None:
    try:
        ran = work()
    except Exception as error:  # noqa: BLE001 -- it belongs to whoever asks for the result
        future.set_exception(error)
    else:
        future.set_result(ran)


@dataclass(slots=True)
class Running:
    """A batch in the model, launched at a moment of the engine's clock; its parents are pinned until it is kept."""

    batch: Batch
    parents: Nodes
    ran: Future[Ran]
    launched_s: float


@dataclass(frozen=True, slots=True)
class Kept:
    """What a batch has left in the tree: the node that grants each row's wish, and what was fed beyond the wish.

    readings: of each row, if the batch was read.
    """

    nodes: list[Node]
    followed: list[bytes]
    log_probabilities: NDArray[np.float32] | None = None
    readings: list[Reading] | None = None


def launch(model: StepModel, tree: StateTree, batch: Batch, runner: Runner, clock: Callable[[], float]) -> Running:
    """Gather a batch's states and hand it to the runner. `clock` gives seconds, on any thread."""
    launched_s = clock()
    parents = np.array(batch.parents, np.int32)
    for node in batch.parents:
        tree.pin(node)
    work = _work(model, batch, tree.gather(parents))

    def timed() -> Ran:
        began_s = clock()
        result, ended_s = work(), clock()
        return Ran(result, ended_s - began_s, ended_s)

    return Running(batch, parents, runner.start(timed), launched_s)


def _work(model: StepModel, batch: Batch, states: States) -> Callable[[], Result]:
    """The call of the model that runs the batch."""
    given = np.frombuffer(b"".join(batch.tokens), np.uint8).reshape(batch.rows, -1).T
    if batch.read:
        return partial(model.read, np.ascontiguousarray(given, np.int64), states)
    if batch.kind is Kind.STEP or batch.kind is Kind.CHUNK or batch.steps == 1:
        tokens = np.ascontiguousarray(given, np.int64)
        return partial(model.step, tokens, states, all_probabilities=batch.whole)
    way = np.full((batch.steps, batch.rows), LIKELIEST, np.int64)
    way[0] = given[0]
    return partial(model.follow, way, states, ends_only=_keeps_ends(batch))


def rows_wanted(running: Running) -> int:
    """How many rows of the tree keeping it takes at most."""
    batch = running.batch
    if batch.kind not in (Kind.WAY, Kind.WAY_END) or _keeps_ends(batch):
        return batch.rows
    return sum(1 + min(ahead, batch.steps - 1) for ahead in batch.ahead)


def _keeps_ends(batch: Batch) -> bool:
    return batch.kind is Kind.WAY_END and batch.rows > FEW_ROWS and batch.steps > 1


def drop(tree: StateTree, running: Running) -> None:
    """Keep nothing of a batch."""
    tree.unpin(running.batch.parents)


def keep(tree: StateTree, running: Running, result: Result) -> Kept:
    """Make the nodes of a batch that has been run; reserve `rows_wanted` before."""
    batch, parents = running.batch, running.parents
    tree.unpin(batch.parents)
    if isinstance(result, FollowResult):
        return _keep_ways(tree, batch, parents, result)
    if isinstance(result, ReadResult):
        return _keep_read(tree, batch, result)
    if batch.kind is Kind.CHUNK:
        pairs = zip(batch.parents, batch.tokens, strict=True)
        nodes = [tree.add_far(node, tokens, result, row) for row, (node, tokens) in enumerate(pairs)]
    else:
        nodes = _keep_steps(tree, batch, parents, result)
    return Kept(nodes, [b""] * batch.rows, result.log_probabilities)


def _held(tree: StateTree, batch: Batch) -> list[Node | None]:
    """The children that are there already: stepped for their distribution, or by a batch that ran meanwhile."""
    return [tree.child(node, token[0]) for node, token in zip(batch.parents, batch.tokens, strict=True)]


def _keep_steps(tree: StateTree, batch: Batch, parents: Nodes, result: StepResult) -> list[Node]:
    tokens = np.frombuffer(b"".join(batch.tokens), np.uint8)
    held = _held(tree, batch)
    new = np.array([row for row, child in enumerate(held) if child is None], np.intp)
    fresh = iter(tree.add_near(parents[new], tokens[new], result, new).tolist())
    return [Node(next(fresh)) if child is None else child for child in held]


def _keep_read(tree: StateTree, batch: Batch, result: ReadResult) -> Kept:
    """Keep where each row ended; it may be held already, as may be what lies on the way."""
    end = StepResult(result.states, result.top_tokens[-1], result.top_log_probabilities[-1])
    nodes = []
    for row, (parent, tokens) in enumerate(zip(batch.parents, batch.tokens, strict=True)):
        node = tree.descend(parent, tokens)
        rest = tokens[tree.depth(node) - tree.depth(parent) :]
        if len(rest) == 1:
            (node,) = tree.add_near(np.array([node], np.int32), np.frombuffer(rest, np.uint8), end, np.array([row]))
        elif rest:
            node = tree.add_far(node, rest, end, row)
        nodes.append(Node(int(node)))
    return Kept(nodes, [b""] * batch.rows, readings=[Reading.of(result, row) for row in range(batch.rows)])


def _keep_ways(tree: StateTree, batch: Batch, parents: Nodes, result: FollowResult) -> Kept:
    tokens = _fed(batch, result)
    if _keeps_ends(batch):
        return Kept(tree.add_ends(parents, tokens, result), [row.tobytes() for row in tokens[1:].T])
    held = _held(tree, batch)
    lengths = np.minimum(np.array(batch.ahead, np.intp) + 1, batch.steps)
    new = np.array([row for row, child in enumerate(held) if child is None], np.intp)
    some = result if len(new) == batch.rows else _rows_of(result, new)
    ways = iter(tree.add_ways(parents[new], tokens[:, new], lengths[new], some) if len(new) else ())
    nodes, followed = [], []
    for row, child in enumerate(held):
        way = [child] if child is not None else next(ways)
        ends = batch.kind is Kind.WAY_END
        nodes.append(way[-1] if ends else way[0])
        followed.append(tokens[1 : len(way), row].tobytes() if ends else b"")
    return Kept(nodes, followed)


def _fed(batch: Batch, result: FollowResult) -> NDArray[np.uint8]:
    """The tokens that the rows were fed, uint8 [steps, rows]."""
    tokens = np.empty((batch.steps, batch.rows), np.uint8)
    tokens[0] = np.frombuffer(b"".join(batch.tokens), np.uint8)
    tokens[1:] = result.top_tokens[:-1, :, 0]
    return tokens


def _rows_of(result: FollowResult, rows: NDArray[np.intp]) -> FollowResult:
    return FollowResult(
        [state[:, rows] for state in result.states],
        result.top_tokens[:, rows],
        result.top_log_probabilities[:, rows],
    )
