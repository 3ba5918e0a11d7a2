"""Every request under way: begun on its path, moved on over what is held, granted what was computed, ended once.

A task is a search that wishes for nodes. Those that the tree holds are granted here at once; for the others the engine
plans batches.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NewType, assert_never

import numpy as np
from numpy.typing import NDArray

from service.engine.admission import Admission
from service.engine.completing import CompleteTask, complete
from service.engine.gate import Gate, asks
from service.engine.held_state import HeldState, read_state
from service.engine.launching import Kept
from service.engine.observer import EngineObserver
from service.engine.paths import Paths
from service.engine.ports import StepModel, StepResult
from service.engine.reading import Reading
from service.engine.replays import Replays
from service.engine.requests import Advance, AdvanceResult, Complete, FinishReason, PathId, Piece, Score
from service.engine.scheduler import Batch, BatchLimits, Scheduler
from service.engine.scoring import ScoreTask, closed_meanwhile, score
from service.engine.state_tree import StateTree, TreeFull
from service.engine.task import MAX_FREE_MOVES, AdvanceTask, Answer, Outcome, Path, Priority, Task, advance, stand
from service.errors import CarouselError, Overloaded, Unavailable

Ticket = NewType("Ticket", int)

_SUGGESTED_PATHS = 64
PATIENCE_S: Final = 10.0
"""After which whoever waits for the turn to begin is told that there are no suggestions; its path goes on waiting."""


class Tasks:
    """The requests of one engine. Owns the paths' places in the tree."""

    def __init__(
        self,
        model: StepModel,
        tree: StateTree,
        scheduler: Scheduler,
        gate: Gate,
        admission: Admission,
        *,
        limits: BatchLimits,
        replays: Replays,
        clock: Callable[[], float],
        observer: EngineObserver,
        first_number: int = 1,
    ) -> None:
        self._model, self._tree, self._scheduler = model, tree, scheduler
        self._gate, self._admission, self._limits = gate, admission, limits
        self._replays = replays
        self._clock, self._observer = clock, observer
        self._paths = Paths(tree)
        self._numbers = itertools.count(first_number)
        self._tasks: dict[Ticket, Task] = {}
        self._timed: dict[Ticket, Task] = {}  # those with a deadline; who types has none
        self._ready: list[Task] = []
        self._speaking: dict[CompleteTask, None] = {}
        self._outbox: list[tuple[Answer, Outcome]] = []
        self._moved_held = self._moved_computed = 0
        self._aside = 0  # those who wait for their turn to begin
        self.suggested: deque[tuple[PathId, int]] = deque(maxlen=_SUGGESTED_PATHS)
        """The paths that got suggestions last, and of how many bytes: what may be looked ahead from."""
        self._start, self._start_distribution = _feed_start(model)

    @property
    def under_way(self) -> dict[Ticket, Task]:
        """Who has not ended, in the order of coming."""
        return self._tasks

    @property
    def crowd(self) -> int:
        """How many have not ended and may go on."""
        return len(self._tasks) - self._aside

    @property
    def idle(self) -> bool:
        """Whether there is nobody, and nothing is left to tell."""
        return not (self._tasks or self._outbox)

    @property
    def ready(self) -> bool:
        """Whether anybody could go on at once."""
        return bool(self._ready)

    def open_path(self, scope: str) -> PathId:
        """A new path at the empty text."""
        path = PathId(next(self._numbers))
        self._paths.open(path, scope)
        return path

    def adopt_path(self, id_: PathId, scope: str) -> None:
        """A path of another engine, at the empty text until it is moved."""
        assert self._paths.find(id_) is None, "a path has one engine"
        self._paths.open(id_, scope)

    def paths(self) -> Sequence[Path]:
        """Those that are open, the oldest first."""
        return self._paths.all()

    def fork_path(self, id_: PathId) -> PathId:
        """A new path where another one stands."""
        path, forked = self._paths.find(id_), PathId(next(self._numbers))
        assert path is not None, "it is open"
        self._paths.fork(forked, path)
        return forked

    def close_path(self, id_: PathId) -> None:
        """Give the path up; its unfinished work ends as superseded."""
        path = self._paths.find(id_)
        assert path is not None, "a path is closed once"
        for task in path.tasks:
            self._finish(task, task.cut_short(FinishReason.SUPERSEDED))
        if self._paths.close(path):
            self._scheduler.forget(path.scope)

    def read_state(self, id_: PathId, text: bytes, *, least: int, most: int) -> HeldState | None:
        """A state on the way to where a path stands; see `held_state.read_state`."""
        path = self._paths.find(id_)
        if path is None or path.at is None:
            return None
        return read_state(self._tree, path.at, text, least=least, most=most)

    def restore(self, id_: PathId, text: bytes, state: HeldState) -> bool:
        """Put a path that was never moved onto the state of `text`. False if that is not possible: nothing changed."""
        path = self._paths.find(id_)
        assert path is not None and path.at is None, "it is open, and stands nowhere"
        if state.depth != len(text) or not state.fits(self._model.shapes, self._model.top_k):
            return False
        try:
            self._place(path)
            self.reserve(1)
        except TreeFull:
            return False
        head = state.top_tokens, state.top_log_probabilities
        stand(self._tree, path, self._tree.add_restored(path.node, text, state.states, head))
        return True

    def find_path(self, id_: PathId) -> Path | None:
        """The path with this number, if it is open."""
        return self._paths.find(id_)

    def begin(self, request: Advance | Complete | Score, answer: Answer) -> Ticket:
        """One more, already let in."""
        ticket = Ticket(next(self._numbers))
        path = self._paths.find(request.path)
        if path is None:
            self._end(request, answer, _of_closed_path(request))
            return ticket
        try:
            self._place(path)
        except TreeFull as error:
            self._end(request, answer, too_small(error))
            return ticket
        match request:
            case Advance():
                task = self._begin_advance(ticket, path, request, answer)
            case Complete():
                task = self._begin_complete(ticket, path, request, answer)
            case Score():
                task = self._begin_score(ticket, path, request, answer)
            case _:
                assert_never(request)
        self._tasks[ticket] = task
        if request.deadline_s is not None:
            self._timed[ticket] = task
        path.tasks += (task,)
        self._scheduler.arrived(task)
        if isinstance(task, AdvanceTask) and self._replays.holds_back(path, len(request.text) - task.began_at):
            task.held_back = True
            self._aside += 1
            self._gate.step_aside(request)
            if task.may_be_given_up:
                task.patient_until_s = self._clock() + PATIENCE_S
                self._timed[ticket] = task
        else:
            self._ready.append(task)
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Nobody waits for its suggestions or its completion any more; a path that moves goes on."""
        task = self._tasks.get(ticket)
        if task is not None:
            self._give_up(task, FinishReason.SUPERSEDED)

    def expire(self) -> None:
        """End what is not worth computing any more."""
        if not self._timed:
            return
        now = self._clock()
        for task in list(self._timed.values()):
            deadline = task.request.deadline_s
            if deadline is not None and now > deadline and task.may_be_given_up:
                self._give_up(task, FinishReason.DEADLINE)
            elif isinstance(task, AdvanceTask) and task.held_back and now > task.patient_until_s:
                self._give_up(task, FinishReason.SHED)

    def go_on(self) -> None:
        """Let every task whose wishes were granted make its next ones, and whose turn it is begin."""
        for replay in self._replays.released():
            self._step_in(replay)
            self._ready.append(replay)
        ready, self._ready = self._ready, []
        for task in ready:
            if not task.ended:
                self._proceed(task)

    def release(self, batch: Batch) -> None:
        """The batch is through, whatever came of it."""
        for waiting in batch.waiting:
            for task, _ in waiting:
                task.in_batch -= 1

    def grant(self, batch: Batch, kept: Kept) -> None:
        """What was wished for is in the tree."""
        for row, waiting in enumerate(batch.waiting):
            for task, index in waiting:
                if task.ended:
                    continue
                if isinstance(task, AdvanceTask) and task.priority is Priority.TYPED:
                    task.awaited += len(batch.tokens[row])
                if task.whole:
                    self._tell(task, index, row, kept)
                task.receive(self._tree, index, kept.nodes[row])
                task.followed = kept.followed[row]
                if not task.missing:
                    self._ready.append(task)

    def _tell(self, task: Task, index: int, row: int, kept: Kept) -> None:
        """What a task that wants whole distributions is given beside the node."""
        if kept.readings is not None:
            task.reading = kept.readings[row]
            return
        assert kept.log_probabilities is not None, "a batch with such a task is run for them"
        task.distribution = kept.log_probabilities[row]
        if task.wishes[index].read:
            node = kept.nodes[row]
            heads = self._tree.top_tokens[[node]], self._tree.top_log_probabilities[[node]]
            task.reading = Reading(task.distribution[None], *heads)

    def fail(self, batch: Batch, error: CarouselError) -> None:
        """Who waited for this batch gets the error instead."""
        for waiting in batch.waiting:
            for task, _ in waiting:
                if not task.ended:
                    self._finish(task, error)

    def abandon(self) -> None:
        """The server ends: whoever is left is told so."""
        for task in list(self._tasks.values()):
            self._finish(task, Unavailable("the server is shutting down; try another replica", 1.0))

    def reserve(self, rows: int) -> None:
        """Make room in the tree, and put paths whose node was dropped onto the node above. Raises TreeFull."""
        try:
            self._tree.reserve(rows)
        finally:
            self._follow_displaced()

    def give_back(self) -> None:
        """Let other models have what they have a claim to, as far as nobody here uses it right now."""
        while self._tree.owes and self._tree.give_back():
            self._follow_displaced()
        self._observer.state_bytes(self._tree.held_bytes)

    def hand_over(self) -> None:
        """Call everybody who has an answer coming, at most once each for a completion that goes on."""
        for task in self._speaking:
            if (piece := task.next_piece()) is not None:
                self._outbox.append((task.answer, piece))
        self._speaking.clear()
        self._report()
        outbox, self._outbox = self._outbox, []
        for answer, outcome in outbox:
            answer(outcome)

    def _place(self, path: Path) -> None:
        """See that a path stands somewhere: at first at the root of its scope. Raises TreeFull."""
        if path.at is None:
            self.reserve(1)
            self._paths.place(path, self._tree.root(path.scope, self._start))

    def _begin_advance(self, ticket: Ticket, path: Path, request: Advance, answer: Answer) -> Task:
        for older in path.tasks:
            if older is path.task or (older.request.text != request.text and not isinstance(older, ScoreTask)):
                self._finish(older, older.cut_short(FinishReason.SUPERSEDED))
        stand(self._tree, path, self._tree.ancestor(path.node, min(request.kept, len(request.text))))
        task = AdvanceTask(ticket, path, request, answer, began_at=self._tree.depth(path.node))
        task.work = advance(self._tree, task, self._model.separator_token, self._limits.max_chunk)
        path.task = task
        return task

    def _begin_complete(self, ticket: Ticket, path: Path, request: Complete, answer: Answer) -> Task:
        task = CompleteTask(ticket, path, request, answer)
        separator, chunk = self._model.separator_token, self._limits.max_chunk
        task.work = complete(self._tree, task, self._start_distribution, separator, chunk)
        return task

    def _begin_score(self, ticket: Ticket, path: Path, request: Score, answer: Answer) -> Task:
        node = self._tree.ancestor(path.node, min(request.kept, len(request.text)))
        task = ScoreTask(ticket, path, request, answer, node=node)
        self._tree.pin(node)  # the path may move on before it begins
        task.holds = [node]
        task.work = score(self._tree, task, self._start, self._limits.max_chunk)
        return task

    def _give_up(self, task: Task, reason: FinishReason) -> None:
        """End suggestions or a completion; if the path is still on its way, it goes on without anybody waiting."""
        moving = task.priority is Priority.TYPED
        self._finish(task, task.cut_short(reason))
        if moving:
            self._gate.stay()
            rest = Advance(task.path.id, task.request.text, kept=self._tree.depth(task.path.node))
            self.begin(rest, _nobody)

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
            if isinstance(task, AdvanceTask) and asks(task.request):
                # A long paste comes in chunks between the others' steps; it does not make everybody's requests long.
                moved = min(task.awaited, self._limits.max_chunk)
                self._admission.answered(moved + task.steps_asked_for)
                if task.request.suggest is not None:
                    self.suggested.append((task.path.id, task.request.suggest.max_bytes))
            self._finish(task, done.value)
        finally:
            self._tree.visits += held
            if isinstance(task, CompleteTask) and task.said.due:
                self._speaking[task] = None

    def _finish(self, task: Task, outcome: Outcome) -> None:
        """The one way in which a task ends."""
        if isinstance(task, AdvanceTask) and task.held_back:
            self._step_in(task)
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
        self._timed.pop(Ticket(task.sequence), None)
        self._end(task.request, task.answer, outcome)

    def _end(self, request: Advance | Complete | Score, answer: Answer, outcome: Outcome) -> None:
        """The one way in which a request ends."""
        self._gate.leave(request)
        self._outbox.append((answer, outcome))

    def _step_in(self, task: AdvanceTask) -> None:
        task.held_back = False
        self._aside -= 1
        self._gate.step_in(task.request)

    def _follow_displaced(self) -> None:
        if self._tree.displaced:
            self._paths.displaced(self._tree.displaced)
            self._tree.displaced = []

    def _report(self) -> None:
        """Tell what was walked and where texts moved, once a tick."""
        if self._moved_held or self._moved_computed:
            self._observer.moved(held=self._moved_held, computed=self._moved_computed)
            self._moved_held = self._moved_computed = 0
        if self._tree.visits:
            self._observer.lookups("held", self._tree.visits)
            self._tree.visits = 0


def too_small(error: TreeFull) -> Overloaded:
    """What callers are told when a request does not fit beside the others."""
    return Overloaded(f"{error}; retry, or give the server a larger --state-budget", 1.0)


def _feed_start(model: StepModel) -> tuple[StepResult, NDArray[np.float32]]:
    """What the model gives for the start token, and the whole distribution there, float32 [vocabulary]."""
    states = [np.full((1, s.width), s.initial, s.dtype) for s in model.shapes]
    result = model.step(np.array([[model.start_token]], np.int64), states, all_probabilities=True)
    assert result.log_probabilities is not None, "they were asked for"
    return result, result.log_probabilities[0]


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
