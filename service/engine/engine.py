"""The engine: one thread that alone owns the tree, and one batch for everybody in every tick.

The loop reads: take what arrived, plan, run, keep the results, go on with whoever waited for them, answer.
Everything public is thread-safe; everything private runs on the engine thread.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NewType, TypeVar, assert_never

import numpy as np
from numpy.typing import NDArray

from service.engine.admission import Admission
from service.engine.budget import Share
from service.engine.completing import CompleteTask, complete
from service.engine.observer import EngineObserver, Unobserved
from service.engine.paths import Paths
from service.engine.ports import StepModel, StepResult
from service.engine.requests import (
    Advance,
    AdvanceResult,
    Complete,
    FinishReason,
    PathId,
    Piece,
    Request,
    Score,
    Scored,
)
from service.engine.running import Kept, RunHere, Runner, Running, drop, keep, launch, rows_wanted
from service.engine.scheduler import Batch, BatchLimits, Scheduler
from service.engine.scoring import ScoreTask, closed_meanwhile, score
from service.engine.state_tree import Node, StateTree, TreeConfig, TreeFull
from service.engine.task import (
    MAX_FREE_MOVES,
    AdvanceTask,
    Answer,
    Outcome,
    Path,
    Priority,
    Task,
    advance,
    stand,
)
from service.errors import CarouselError, Overloaded, Unavailable

Ticket = NewType("Ticket", int)
Delivery = list[tuple[Answer, Outcome]]
"""Answers of one tick: each callback is to be called with its result, on whichever thread its owner wants."""

AnswerType = TypeVar("AnswerType", bound=AdvanceResult | Piece | Scored)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """`max_waiting` bounds the requests inside the engine; beyond it, submit raises Overloaded.

    Before that, requests for suggestions and completions are refused if they would take longer than `max_wait_s`.
    While nobody waits, the engine follows up to `look_ahead` alternatives to the likeliest next token of whoever got a
    suggestion last, if there is room that nobody uses.
    """

    tree: TreeConfig = TreeConfig()
    batch: BatchLimits = BatchLimits()
    max_waiting: int = 4096
    max_wait_s: float = 0.5
    look_ahead: int = 0


_PATHS_LOOKED_AHEAD = 64
_WORTH_LOOKING = math.log(0.02)  # a key that comes once in fifty
_SMALL_BATCH = 96
"""Tokens. A smaller batch is run where it was planned: waking another thread would cost more than it gives."""


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
    request: Advance | Complete | Score
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

    `clock` is what `Advance.deadline_s` is measured on, in seconds. With a `runner` that runs beside the engine, large
    batches are: while one runs, what the one before it gave is kept, and the next one is planned. Engines that share a
    budget are given a `share` of it each.

    `on_message` is called by whoever submits, opens, closes or cancels; it may be replaced by what calls `wake` a
    little later, once for many messages.
    """

    def __init__(
        self,
        model: StepModel,
        config: EngineConfig,
        *,
        deliver: Callable[[Delivery], None],
        clock: Callable[[], float],
        observer: EngineObserver | None = None,
        runner: Runner | None = None,
        share: Share | None = None,
    ) -> None:
        self._model, self._config, self._deliver, self._clock = model, config, deliver, clock
        self._here = RunHere()
        self._beside: Runner | None = runner
        self._running: deque[Running] = deque()
        self._last_kept_s = 0.0
        self._observer: EngineObserver = observer if observer is not None else Unobserved()
        self._tree = StateTree(model.shapes, model.top_k, config.tree, share)
        self._scheduler = Scheduler(config.batch)
        self._numbers = itertools.count(1)
        self._inbox: deque[_Message] = deque()
        self._wake = threading.Condition()
        self.on_message: Callable[[], None] = self.wake
        self._waiting = self._asking = 0
        self._stopping = False
        self._owing = False
        self._suggested: deque[tuple[PathId, int]] = deque(maxlen=_PATHS_LOOKED_AHEAD)  # and how many bytes
        self._abandon = False
        self._rate = _ServiceRate()
        self._admission = Admission(
            max_rows=config.batch.max_rows, max_wait_s=config.max_wait_s, max_waiting=config.max_waiting
        )
        self._paths = Paths(self._tree)
        self._tasks: dict[Ticket, Task] = {}
        self._ready: list[Task] = []
        self._speaking: dict[CompleteTask, None] = {}
        self._outbox: Delivery = []
        self._ended = self._ended_asking = 0
        self._moved_held = self._moved_computed = 0
        self._start, self._start_distribution = _feed_start(model)
        if share is not None:
            share.on_owing = self._owe
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

        An Advance and a Score have one result. A Complete has any number of pieces, at most one a tick, and ends with
        the one that has a `finish`. Each may end with an error instead.
        """
        assert isinstance(request, Advance | Complete | Score), "there are no other requests"
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
        self.on_message()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Stop computing a request's suggestions or completion within one tick; a path that moves goes on."""
        self._send(_Cancel(ticket))

    def wake(self) -> None:
        """Let the engine take what arrived, if it waits."""
        with self._wake:
            self._wake.notify()

    def _send(self, message: _Message) -> None:
        with self._wake:
            self._inbox.append(message)
        self.on_message()

    def _owe(self) -> None:
        """Other engines want some of the budget back; the next tick gives it."""
        with self._wake:
            self._owing = True
            self._wake.notify()

    # -- the engine thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._take(wait=True):
            self.tick()
        for task in list(self._tasks.values()):
            self._finish(task, Unavailable("the server is shutting down; try another replica", 1.0))
        self._hand_over()
        if self._beside is not None:
            self._beside.close()

    def _take(self, *, wait: bool) -> bool:
        """Wait until there is something to do; False when there is nothing left and the engine stops."""
        with self._wake:
            while wait and not (self._inbox or self._tasks or self._stopping or self._owing or self._suggested):
                self._wake.wait()
            return not self._abandon and (bool(self._inbox or self._tasks) or not self._stopping)

    def tick(self) -> None:
        """One turn of the loop; public so that tests can turn it by hand instead of starting the thread.

        Ends with every batch kept, unless batches run beside the engine: then one may still be running.
        """
        self._tree.tick()
        if self._owing or self._tree.owes:
            self._give_back()
        self._admit()
        self._expire()
        self._go_on()
        batches = self._scheduler.plan(self._tasks.values(), share=1 if self._beside is None else 2)
        self._run_batches(batches)
        self._hand_over()
        if self._suggested and not (batches or self._inbox or self._tasks):
            self._look_ahead()

    def _run_batches(self, batches: list[Batch]) -> None:
        if not batches and self._running:
            self._collect()
            return
        alone = len(batches) == 1 and not self._running
        for batch in batches:
            beside = self._beside is not None and not (alone and batch.fed < _SMALL_BATCH)
            runner = self._beside if self._beside is not None and beside else self._here
            self._running.append(launch(self._model, self._tree, batch, runner, self._clock()))
            while len(self._running) > beside:
                self._collect()

    def _look_ahead(self) -> None:
        """Nobody waits: compute what comes after the less likely keys of one path, so that they cost no step either."""
        id_, max_bytes = self._suggested.pop()
        path = self._paths.find(id_)
        if path is None or path.at is None or path.tasks:
            return
        batch = self._scheduler.plan_ahead(path.at, self._other_keys(path.at), max_bytes)
        if not batch.rows or self._tree.free_rows < batch.fed:
            return
        self._running.append(launch(self._model, self._tree, batch, self._here, self._clock()))
        self._collect()

    def _other_keys(self, node: Node) -> list[int]:
        """What may be typed there beside the likeliest token, as far as it is worth it and not held."""
        tokens, log_probabilities = self._tree.head(node)
        likely = (token for token, one in zip(tokens, log_probabilities, strict=True) if one > _WORTH_LOOKING)
        keys = [token for token in likely if token < 0x80 and self._tree.child(node, token) is None]
        return keys[: self._config.look_ahead]

    def _admit(self) -> None:
        with self._wake:
            messages, self._inbox = self._inbox, deque()
        for message in messages:
            match message:
                case _Open(path, scope):
                    self._paths.open(path, scope)
                case _Close(path):
                    self._close(path)
                case _Submit():
                    self._begin(message)
                case _Cancel(ticket):
                    self._drop_suggestions(ticket)

    def _close(self, id_: PathId) -> None:
        path = self._paths.find(id_)
        assert path is not None, "a path is closed once"
        for task in path.tasks:
            self._finish(task, task.cut_short(FinishReason.SUPERSEDED))
        if self._paths.close(path):
            self._scheduler.forget(path.scope)

    def _begin(self, message: _Submit) -> None:
        request = message.request
        path = self._paths.find(request.path)
        if path is None:
            self._end(request, message.answer, _of_closed_path(request))
            return
        try:
            self._place(path)
        except TreeFull as error:
            self._end(request, message.answer, _too_small(error))
            return
        match request:
            case Advance():
                task = self._begin_advance(path, request, message)
            case Complete():
                task = self._begin_complete(path, request, message)
            case Score():
                task = self._begin_score(path, request, message)
            case _:
                assert_never(request)
        self._tasks[message.ticket] = task
        path.tasks += (task,)
        self._scheduler.arrived(task)
        self._ready.append(task)

    def _place(self, path: Path) -> None:
        """See that a path stands somewhere: at first at the root of its scope. Raises TreeFull."""
        if path.at is None:
            self._reserve(1)
            self._paths.place(path, self._tree.root(path.scope, self._start))

    def _begin_advance(self, path: Path, request: Advance, message: _Submit) -> Task:
        for older in path.tasks:
            if older is path.task or (older.request.text != request.text and not isinstance(older, ScoreTask)):
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

    def _begin_score(self, path: Path, request: Score, message: _Submit) -> Task:
        node = self._tree.ancestor(path.node, min(request.kept, len(request.text)))
        task = ScoreTask(message.ticket, path, request, message.answer, node=node)
        self._tree.pin(node)  # the path may move on before it begins
        task.holds = [node]
        task.work = score(self._tree, task, self._start, self._config.batch.max_chunk)
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

    def _collect(self) -> None:
        """Wait for the oldest batch and keep its results; a model that fails ends the requests of this batch only."""
        running = self._running.popleft()
        batch = running.batch
        for waiting in batch.waiting:
            for task, _ in waiting:
                task.in_batch -= 1
        try:
            result = running.result.result()
            self._reserve(rows_wanted(running))
        except TreeFull as error:
            drop(self._tree, running)
            self._fail(batch, _too_small(error))
        except Exception as error:  # noqa: BLE001 -- whatever the runtime raises must not end the engine
            drop(self._tree, running)
            self._observer.failed(error)
            self._fail(batch, Unavailable("the model could not be run", 1.0))
        else:
            self._grant(batch, keep(self._tree, running, result))
        self._measure(running)
        self._go_on()

    def _measure(self, running: Running) -> None:
        """Tell how long the batch took: from its launch, or from the batch before it if that was still running."""
        batch, now_s = running.batch, self._clock()
        seconds = now_s - max(running.launched_s, self._last_kept_s)
        self._last_kept_s = now_s
        self._admission.ticked(batch.rows, seconds / batch.steps)
        self._observer.tick(rows=batch.rows, tokens=batch.fed, seconds=seconds, waiting=len(self._tasks))
        self._observer.lookups("computed", batch.rows)
        self._observer.state_bytes(self._tree.held_bytes)

    def _grant(self, batch: Batch, kept: Kept) -> None:
        for row, waiting in enumerate(batch.waiting):
            for task, index in waiting:
                if task.ended:
                    continue
                if isinstance(task, AdvanceTask) and task.priority is Priority.TYPED:
                    task.awaited += len(batch.tokens[row])
                if kept.readings is not None:
                    task.reading = kept.readings[row]
                elif task.whole:
                    assert kept.log_probabilities is not None, "a batch with such a task is run for them"
                    task.distribution = kept.log_probabilities[row]
                task.receive(self._tree, index, kept.nodes[row])
                task.followed = kept.followed[row]
                if not task.missing:
                    self._ready.append(task)

    def _go_on(self) -> None:
        """Let every task whose wishes were granted make its next ones."""
        ready, self._ready = self._ready, []
        for task in ready:
            if not task.ended:
                self._proceed(task)

    def _proceed(self, task: Task) -> None:
        """Advance one task over what is held already, up to its next miss, its end, or the bound for one tick."""
        held = 0
        try:
            for _ in range(MAX_FREE_MOVES):
                if task.begun:
                    wishes = task.work.send([child for child in task.children if child is not None])
                else:
                    task.begun = True
                    wishes = next(task.work)
                task.want(self._tree, wishes)
                if not wishes[0].tokens:
                    task.receive(self._tree, 0, wishes[0].node)
                    break
                if task.whole:
                    return
                for index, (node, tokens, *_) in enumerate(wishes):
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
                # A long paste comes in chunks between the others' steps; it does not make everybody's requests long.
                moved = min(task.awaited, self._config.batch.max_chunk)
                self._admission.answered(moved + task.steps_asked_for)
                if self._config.look_ahead and task.request.suggest is not None:
                    self._suggested.append((task.path.id, task.request.suggest.max_bytes))
            self._finish(task, done.value)
        finally:
            self._tree.visits += held
            if isinstance(task, CompleteTask) and task.said.due:
                self._speaking[task] = None

    def _finish(self, task: Task, outcome: Outcome) -> None:
        """The one way in which a task ends."""
        task.ended = True
        task.work.close()
        match task:
            case AdvanceTask():
                moved = self._tree.depth(task.path.node) - task.began_at
                if moved > 0:
                    self._moved_held += max(moved - task.awaited, 0)
                    self._moved_computed += min(task.awaited, moved)
                task.path.task = None
            case CompleteTask():
                self._speaking.pop(task, None)
        self._tree.unpin(task.holds)
        task.holds = []
        task.path.tasks = tuple(other for other in task.path.tasks if other is not task)
        del self._tasks[Ticket(task.sequence)]
        self._end(task.request, task.answer, outcome)

    def _end(self, request: Advance | Complete | Score, answer: Answer, outcome: Outcome) -> None:
        """The one way in which a request ends."""
        self._ended += 1
        self._ended_asking += _asks(request)
        self._outbox.append((answer, outcome))

    def _fail(self, batch: Batch, error: CarouselError) -> None:
        for waiting in batch.waiting:
            for task, _ in waiting:
                if not task.ended:
                    self._finish(task, error)

    def _reserve(self, rows: int) -> None:
        """Make room in the tree, and put paths whose node was dropped onto the node above. Raises TreeFull."""
        try:
            self._tree.reserve(rows)
        finally:
            self._follow_displaced()

    def _give_back(self) -> None:
        """Let others have what they have a claim to, as far as nobody here uses it right now."""
        self._owing = False
        while self._tree.owes and self._tree.give_back():
            self._follow_displaced()
        self._observer.state_bytes(self._tree.held_bytes)

    def _follow_displaced(self) -> None:
        if self._tree.displaced:
            self._paths.displaced(self._tree.displaced)
            self._tree.displaced = []

    def _hand_over(self) -> None:
        for task in self._speaking:
            if (piece := task.next_piece()) is not None:
                self._outbox.append((task.answer, piece))
        self._speaking.clear()
        self._report()
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

    def _report(self) -> None:
        """Tell what was walked and where texts moved, once a tick."""
        if self._moved_held or self._moved_computed:
            self._observer.moved(held=self._moved_held, computed=self._moved_computed)
            self._moved_held = self._moved_computed = 0
        if self._tree.visits:
            self._observer.lookups("held", self._tree.visits)
            self._tree.visits = 0


def _feed_start(model: StepModel) -> tuple[StepResult, NDArray[np.float32]]:
    """What the model gives for the start token, and the whole distribution there, float32 [vocabulary]."""
    states = [np.full((1, s.width), s.initial, s.dtype) for s in model.shapes]
    result = model.step(np.array([[model.start_token]], np.int64), states, all_probabilities=True)
    assert result.log_probabilities is not None, "they were asked for"
    return result, result.log_probabilities[0]


def _asks(request: Advance | Complete | Score) -> bool:
    """Whether somebody waits for it. A mere movement is cheap, and whoever is refused it makes it later anyway."""
    return not isinstance(request, Advance) or request.suggest is not None


def _of_closed_path(request: Advance | Complete | Score) -> Outcome:
    superseded = FinishReason.SUPERSEDED
    match request:
        case Advance():
            return AdvanceResult(finish=superseded)
        case Complete():
            return Piece(b"", superseded)
        case Score():
            return closed_meanwhile()


def _nobody(result: AdvanceResult | CarouselError) -> None:
    """Nobody waits for this answer."""


def _too_small(error: TreeFull) -> Overloaded:
    return Overloaded(f"{error}; retry, or give the server a larger --state-budget", 1.0)
