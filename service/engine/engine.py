"""The engine: one thread that alone owns the tree, and one batch for everybody in every tick.

The loop reads: take what arrived, plan a batch, run it, keep the results, go on with whoever waited for them, answer.
Everything public is thread-safe; everything private runs on the engine thread.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NewType, TypeVar, assert_never

import numpy as np
from numpy.typing import NDArray

from service.engine.admission import Admission
from service.engine.completing import CompleteTask, complete
from service.engine.observer import EngineObserver, Unobserved
from service.engine.ports import StepModel, StepResult
from service.engine.requests import Advance, AdvanceResult, Complete, FinishReason, PathId, Piece, Request
from service.engine.scheduler import BatchLimits, BatchPlan, Group, Scheduler
from service.engine.state_tree import Node, StateTree, TreeConfig, TreeFull
from service.engine.task import AdvanceTask, Answer, Outcome, Path, Priority, Task, advance, stand
from service.errors import CarouselError, Overloaded, Unavailable

MAX_FREE_MOVES = 256  # a move along held states costs microseconds; this many at once delay nobody

Ticket = NewType("Ticket", int)
Delivery = list[tuple[Answer, Outcome]]
"""Answers of one tick: each callback is to be called with its result, on whichever thread its owner wants."""

AnswerType = TypeVar("AnswerType", bound=AdvanceResult | Piece)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """`max_waiting` bounds the requests inside the engine; beyond it, submit raises Overloaded.

    Before that, requests for suggestions and completions are refused if they would take longer than `max_wait_s`.
    """

    tree: TreeConfig = TreeConfig()
    batch: BatchLimits = BatchLimits()
    max_waiting: int = 4096
    max_wait_s: float = 0.5


@dataclass(frozen=True, slots=True)
class _Open:
    path: PathId
    scope: str


@dataclass(frozen=True, slots=True)
class _Close:
    path: PathId


@dataclass(frozen=True, slots=True)
class _Submit:
    ticket: Ticket
    request: Advance | Complete
    answer: Answer


@dataclass(frozen=True, slots=True)
class _Cancel:
    ticket: Ticket


_Message = _Open | _Close | _Submit | _Cancel


@dataclass(slots=True)
class _ServiceRate:
    """Requests answered per second, smoothed, for honest retry delays."""

    per_second: float = 50.0
    _since: float | None = None
    _count: int = 0

    def answered(self, count: int, now_s: float) -> None:
        """Count answers; about every half second they become a new estimate."""
        if self._since is None:
            self._since = now_s
        self._count += count
        elapsed = now_s - self._since
        if elapsed >= 0.5:
            if self._count:
                self.per_second = 0.5 * self.per_second + 0.5 * self._count / elapsed
            self._since, self._count = now_s, 0


class Engine:
    """Serves one model. `deliver` is called on the engine thread, once a tick, and must not block.

    `clock` is what `Advance.deadline_s` is measured on, in seconds.
    """

    def __init__(
        self,
        model: StepModel,
        config: EngineConfig,
        *,
        deliver: Callable[[Delivery], None],
        clock: Callable[[], float],
        observer: EngineObserver | None = None,
    ) -> None:
        self._model, self._config, self._deliver, self._clock = model, config, deliver, clock
        self._observer: EngineObserver = observer if observer is not None else Unobserved()
        self._tree = StateTree(model.shapes, model.top_k, config.tree)
        self._scheduler = Scheduler(config.batch)
        self._numbers = itertools.count(1)
        self._inbox: deque[_Message] = deque()
        self._wake = threading.Condition()
        self._waiting = self._asking = 0
        self._stopping = False
        self._abandon = False
        self._rate = _ServiceRate()
        self._admission = Admission(
            max_rows=config.batch.max_rows, max_wait_s=config.max_wait_s, max_waiting=config.max_waiting
        )
        self._scopes: dict[PathId, str] = {}
        self._paths: dict[PathId, Path] = {}
        self._paths_of: Counter[str] = Counter()
        self._tasks: dict[Ticket, Task] = {}
        self._ready: list[Task] = []
        self._speaking: dict[CompleteTask, None] = {}
        self._outbox: Delivery = []
        self._ended = self._ended_asking = 0
        self._start, self._start_distribution = _feed_start(model)
        self._thread = threading.Thread(target=self._run, name="carousel-engine", daemon=True)

    # -- from any thread ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the engine thread."""
        self._thread.start()

    def stop(self, *, grace_s: float = 10.0) -> None:
        """Finish what is under way, for at most `grace_s`; what is left then is answered with Unavailable."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(grace_s)
            self._abandon = True
            self._thread.join(1.0)

    def open_path(self, scope: str) -> PathId:
        """A new path at the empty text. Paths of one scope share states, paths of different scopes never do."""
        path = PathId(next(self._numbers))
        self._send(_Open(path, scope))
        return path

    def close_path(self, path: PathId) -> None:
        """Give the path up; its unfinished work ends as superseded."""
        self._send(_Close(path))

    def submit(self, request: Request[AnswerType], answer: Callable[[AnswerType | CarouselError], None]) -> Ticket:
        """Queue a request; `answer` gets its result.

        Raises Overloaded if the engine is full, or if suggestions or a completion would come too late.

        An Advance has one result. A Complete has any number of pieces, at most one a tick, and ends with the one that
        has a `finish`. Either may end with an error instead.
        """
        assert isinstance(request, Advance | Complete), "there are no other requests"
        ticket = Ticket(next(self._numbers))
        with self._wake:
            if self._stopping:
                raise Unavailable("the server is shutting down; try another replica", 1.0)
            if self._waiting >= self._config.max_waiting:
                delay = self._waiting / max(self._rate.per_second, 1.0)
                raise Overloaded(f"{self._waiting} requests wait already; retry later", min(delay, 60.0))
            if _asks(request):
                if self._asking >= self._admission.most:
                    delay = self._admission.seconds_for(self._asking)
                    raise Overloaded(f"{self._asking} requests are under way; retry later", min(delay, 60.0))
                self._asking += 1
            self._waiting += 1
            self._inbox.append(_Submit(ticket, request, answer))
            self._wake.notify()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Stop computing a request's suggestions or completion within one tick; a path that moves goes on."""
        self._send(_Cancel(ticket))

    def _send(self, message: _Message) -> None:
        with self._wake:
            self._inbox.append(message)
            self._wake.notify()

    # -- the engine thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._take(wait=True):
            self.tick()
        for task in list(self._tasks.values()):
            self._finish(task, Unavailable("the server is shutting down; try another replica", 1.0))
        self._hand_over()

    def _take(self, *, wait: bool) -> bool:
        """Wait until there is something to do; False when there is nothing left and the engine stops."""
        with self._wake:
            while wait and not self._inbox and not self._tasks and not self._stopping:
                self._wake.wait()
            return not self._abandon and (bool(self._inbox or self._tasks) or not self._stopping)

    def tick(self) -> None:
        """One turn of the loop; public so that tests can turn it by hand instead of starting the thread."""
        began_s = self._clock()
        self._tree.tick()
        self._admit()
        self._expire()
        self._go_on()
        plan = self._scheduler.plan(self._tree, self._tasks.values())
        if plan.rows:
            self._execute(plan)
            self._admission.ticked(plan.tokens, self._clock() - began_s)
        self._hand_over()

    def _admit(self) -> None:
        with self._wake:
            messages, self._inbox = self._inbox, deque()
        for message in messages:
            match message:
                case _Open(path, scope):
                    self._open(path, scope)
                case _Close(path):
                    self._close(path)
                case _Submit():
                    self._begin(message)
                case _Cancel(ticket):
                    self._drop_suggestions(ticket)

    def _open(self, id_: PathId, scope: str) -> None:
        self._scopes[id_] = scope
        self._paths_of[scope] += 1

    def _close(self, id_: PathId) -> None:
        scope = self._scopes.pop(id_)
        path = self._paths.pop(id_, None)
        if path is not None:
            for task in list(path.tasks):
                self._finish(task, task.cut_short(FinishReason.SUPERSEDED))
            self._tree.vacate(path.node)
        self._paths_of[scope] -= 1
        if not self._paths_of[scope]:
            del self._paths_of[scope]
            self._scheduler.forget(scope)

    def _place(self, id_: PathId) -> Path:
        """Where a path stands; at the root of its scope before its first movement. Raises TreeFull."""
        path = self._paths.get(id_)
        if path is None:
            scope = self._scopes[id_]
            self._reserve(1)
            path = self._paths[id_] = Path(id_, scope, self._tree.root(scope, self._start))
            self._tree.occupy(path.node)
        return path

    def _begin(self, message: _Submit) -> None:
        request = message.request
        if request.path not in self._scopes:
            self._end(request, message.answer, _of_closed_path(request))
            return
        try:
            path = self._place(request.path)
        except TreeFull as error:
            self._end(request, message.answer, _too_small(error))
            return
        match request:
            case Advance():
                task = self._begin_advance(path, request, message)
            case Complete():
                task = self._begin_complete(path, request, message)
            case _:
                assert_never(request)
        self._tasks[message.ticket] = task
        path.tasks.add(task)
        self._scheduler.arrived(task)
        self._ready.append(task)

    def _begin_advance(self, path: Path, request: Advance, message: _Submit) -> Task:
        for older in list(path.tasks):
            if older is path.task or older.request.text != request.text:
                self._finish(older, older.cut_short(FinishReason.SUPERSEDED))
        stand(self._tree, path, self._tree.ancestor(path.node, min(request.kept, len(request.text))))
        task = AdvanceTask(message.ticket, path, request, message.answer, began_at=self._tree.depth(path.node))
        task.work = advance(self._tree, task, self._model.separator_token, self._config.batch.max_chunk)
        path.task = task
        return task

    def _begin_complete(self, path: Path, request: Complete, message: _Submit) -> Task:
        task = CompleteTask(message.ticket, path, request, message.answer)
        separator, chunk = self._model.separator_token, self._config.batch.max_chunk
        task.work = complete(self._tree, task, self._start_distribution, separator, chunk)
        return task

    def _drop_suggestions(self, ticket: Ticket) -> None:
        task = self._tasks.get(ticket)
        if task is not None:
            self._give_up(task, FinishReason.SUPERSEDED)

    def _expire(self) -> None:
        now = self._clock()
        for task in list(self._tasks.values()):
            deadline = task.request.deadline_s
            if deadline is not None and now > deadline and task.may_be_given_up:
                self._give_up(task, FinishReason.DEADLINE)

    def _give_up(self, task: Task, reason: FinishReason) -> None:
        """End suggestions or a completion; if the path is still on its way, it goes on without anybody waiting."""
        moving = task.priority is Priority.TYPED
        self._finish(task, task.cut_short(reason))
        if moving:
            text = task.request.text
            rest = Advance(task.path.id, text, kept=self._tree.depth(task.path.node))
            with self._wake:
                self._waiting += 1
            self._begin(_Submit(Ticket(next(self._numbers)), rest, _nobody))

    def _execute(self, plan: BatchPlan) -> None:
        """Run the batch and keep its results; a model that fails ends the requests of this batch only."""
        began, tokens = self._clock(), 0
        for group in (plan.steps, plan.chunks):
            if not group.parents:
                continue
            try:
                self._reserve(len(group.parents))
                result = self._run_group(group)
            except TreeFull as error:
                self._fail(group, _too_small(error))
            except Exception as error:  # noqa: BLE001 -- whatever the runtime raises must not end the engine
                self._observer.failed(error)
                self._fail(group, Unavailable("the model could not be run", 1.0))
            else:
                tokens += sum(map(len, group.tokens))
                self._commit(group, result)
        self._observer.tick(rows=plan.rows, tokens=tokens, seconds=self._clock() - began, waiting=len(self._tasks))
        self._observer.lookups("computed", plan.rows)
        self._observer.state_bytes(self._tree.held_bytes)
        self._go_on()

    def _run_group(self, group: Group) -> StepResult:
        nodes = np.array(group.parents, np.int32)
        rows = np.frombuffer(b"".join(group.tokens), np.uint8).reshape(len(nodes), -1)
        tokens = np.ascontiguousarray(rows.T, np.int64)
        return self._model.step(tokens, self._tree.gather(nodes), all_probabilities=group.whole)

    def _commit(self, group: Group, result: StepResult) -> None:
        if len(group.tokens[0]) == 1:
            nodes = self._add_children(group, result)
        else:
            pairs = zip(group.parents, group.tokens, strict=True)
            nodes = [self._tree.add_far(node, tokens, result, row) for row, (node, tokens) in enumerate(pairs)]
        for row, (node, waiting) in enumerate(zip(nodes, group.waiting, strict=True)):
            for task, index in waiting:
                if isinstance(task, AdvanceTask) and task.priority is Priority.TYPED:
                    task.awaited += len(group.tokens[row])
                if task.whole:
                    assert result.log_probabilities is not None, "a group with such a task is run for them"
                    task.distribution = result.log_probabilities[row]
                task.receive(self._tree, index, Node(node))
                if not task.missing:
                    self._ready.append(task)

    def _add_children(self, group: Group, result: StepResult) -> Sequence[int]:
        """The nodes of a group of single steps; a step for its distribution may lead to one that is held already."""
        parents = np.array(group.parents, np.int32)
        tokens = np.frombuffer(b"".join(group.tokens), np.uint8)
        if not group.whole:
            made: list[int] = self._tree.add_near(parents, tokens, result, np.arange(len(parents))).tolist()
            return made
        held = [self._tree.child(node, token[0]) for node, token in zip(group.parents, group.tokens, strict=True)]
        new = np.array([row for row, child in enumerate(held) if child is None], np.intp)
        fresh = iter(self._tree.add_near(parents[new], tokens[new], result, new).tolist())
        return [next(fresh) if child is None else child for child in held]

    def _go_on(self) -> None:
        """Let every task whose wishes were granted make its next ones."""
        ready, self._ready = self._ready, []
        for task in ready:
            if Ticket(task.sequence) in self._tasks:
                self._proceed(task)

    def _proceed(self, task: Task) -> None:
        """Advance one task over what is held already, up to its next miss, its end, or the bound for one tick."""
        held = 0
        try:
            for _ in range(MAX_FREE_MOVES):
                children = [child for child in task.children if child is not None]
                wanted = next(task.work) if not task.wanted else task.work.send(children)
                task.want(self._tree, wanted)
                if task.whole:
                    return
                for index, (node, tokens) in enumerate(wanted):
                    known = self._tree.child(node, tokens[0]) if len(tokens) == 1 else self._tree.hop(node, tokens)
                    if known is not None:
                        task.receive(self._tree, index, known)
                        held += 1
                if task.missing:
                    return
            self._ready.append(task)
        except StopIteration as done:
            # A completion counts as company, not by its length: it is of use from its first byte on.
            if isinstance(task, AdvanceTask) and _asks(task.request):
                self._admission.answered(task.steps_asked_for)
            self._finish(task, done.value)
        finally:
            if held:
                self._observer.lookups("held", held)
            if isinstance(task, CompleteTask) and task.said.due:
                self._speaking[task] = None

    def _finish(self, task: Task, outcome: Outcome) -> None:
        """The one way in which a task ends."""
        task.work.close()
        match task:
            case AdvanceTask():
                moved = self._tree.depth(task.path.node) - task.began_at
                if moved > 0:
                    self._observer.moved(held=max(moved - task.awaited, 0), computed=min(task.awaited, moved))
                task.path.task = None
            case CompleteTask():
                self._speaking.pop(task, None)
        self._tree.unpin(task.holds)
        task.holds = []
        task.path.tasks.remove(task)
        del self._tasks[Ticket(task.sequence)]
        self._end(task.request, task.answer, outcome)

    def _end(self, request: Advance | Complete, answer: Answer, outcome: Outcome) -> None:
        """The one way in which a request ends."""
        self._ended += 1
        self._ended_asking += _asks(request)
        self._outbox.append((answer, outcome))

    def _fail(self, group: Group, error: CarouselError) -> None:
        for waiting in group.waiting:
            for task, _ in waiting:
                if Ticket(task.sequence) in self._tasks:
                    self._finish(task, error)

    def _reserve(self, rows: int) -> None:
        """Make room in the tree, and put paths whose node was dropped onto the node above. Raises TreeFull."""
        try:
            self._tree.reserve(rows)
        finally:
            if self._tree.displaced:
                moved = dict(self._tree.displaced)
                self._tree.displaced = []
                for path in self._paths.values():
                    while path.node in moved:
                        path.node = moved[path.node]

    def _hand_over(self) -> None:
        for task in self._speaking:
            if text := task.said.take():
                self._outbox.append((task.answer, Piece(text, steps=task.steps)))
        self._speaking.clear()
        if not self._outbox:
            return
        outbox, self._outbox = self._outbox, []
        ended, self._ended = self._ended, 0
        ended_asking, self._ended_asking = self._ended_asking, 0
        with self._wake:
            self._waiting -= ended
            self._asking -= ended_asking
        self._rate.answered(ended, self._clock())
        self._deliver(outbox)


def _feed_start(model: StepModel) -> tuple[StepResult, NDArray[np.float32]]:
    """What the model gives for the start token, and the whole distribution there, float32 [vocabulary]."""
    states = [np.full((1, s.width), s.initial, s.dtype) for s in model.shapes]
    result = model.step(np.array([[model.start_token]], np.int64), states, all_probabilities=True)
    assert result.log_probabilities is not None, "they were asked for"
    return result, result.log_probabilities[0]


def _asks(request: Advance | Complete) -> bool:
    """Whether somebody waits for text. A mere movement is cheap, and whoever is refused it makes it later anyway."""
    return isinstance(request, Complete) or request.suggest is not None


def _of_closed_path(request: Advance | Complete) -> AdvanceResult | Piece:
    superseded = FinishReason.SUPERSEDED
    return AdvanceResult(finish=superseded) if isinstance(request, Advance) else Piece(b"", superseded)


def _nobody(result: AdvanceResult | CarouselError) -> None:
    """Nobody waits for this answer."""


def _too_small(error: TreeFull) -> Overloaded:
    return Overloaded(f"{error}; retry, or give the server a larger --state-budget", 1.0)
