"""The engine: whoever owns it turns it, and every turn plans batches for everybody and keeps what came back.

A turn reads: go on with whoever was granted something, keep what was run, plan and launch, answer. It never waits: a
batch that runs beside is kept by a later turn. One thread owns an engine and calls everything in here; no locks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from service.engine.admission import Admission
from service.engine.budget import Share
from service.engine.gate import Gate
from service.engine.held_state import HeldState
from service.engine.launching import RunHere, Runner, Running, drop, keep, launch, rows_wanted
from service.engine.observer import EngineObserver, Unobserved
from service.engine.pace import Pace
from service.engine.ports import Releasable, StepModel
from service.engine.replays import Replays
from service.engine.requests import Advance, AdvanceResult, Complete, PathId, Piece, Request, Score, Scored
from service.engine.scheduler import Batch, BatchLimits, Kind, Scheduler
from service.engine.state_tree import Node, StateTree, TreeConfig, TreeFull
from service.engine.task import Path
from service.engine.tasks import Tasks, Ticket, too_small
from service.errors import CarouselError, Unavailable

AnswerType = TypeVar("AnswerType", bound=AdvanceResult | Piece | Scored)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """`max_waiting` bounds the requests inside the engine; beyond it, submit raises Overloaded.

    Before that, requests for suggestions and completions are refused if they would take longer than `max_wait_s`.
    While nobody waits, the engine follows up to `look_ahead` alternatives to the likeliest next token of whoever got a
    suggestion last, if there is room that nobody uses. At most `max_replays` paths make a long way at a time.
    """

    tree: TreeConfig = TreeConfig()
    batch: BatchLimits = BatchLimits()
    max_waiting: int = 4096
    max_wait_s: float = 0.5
    look_ahead: int = 0
    max_replays: int = 8


_WORTH_LOOKING = math.log(0.02)  # a key that comes once in fifty
_ENDING = "the server is shutting down; try another replica"
_SHORT_S = 0.001
"""A lone batch that takes less is run where it was planned: other threads would take a tenth of that to wake."""


class Engine:
    """Serves one model. Answers are called by `tick`, on the owner's thread; they must be quick and must not raise.

    `clock` is what `Advance.deadline_s` is measured on, in seconds. With a `runner` that runs beside the engine, large
    batches are: while one runs, what the one before it gave is kept, and the next one is planned. Engines that share a
    budget are given a `share` of it each, and have one owner. Paths are numbered from `first_number` on: engines which
    hand paths over to each other number them apart.

    Two callbacks, to be replaced by the owner, say when a tick has something to do: `on_work` is called by everything
    public that makes some; `on_run` when a batch beside has been run, on the runner's thread.
    """

    def __init__(
        self,
        model: StepModel,
        config: EngineConfig,
        *,
        clock: Callable[[], float],
        observer: EngineObserver | None = None,
        runner: Runner | None = None,
        share: Share | None = None,
        first_number: int = 1,
    ) -> None:
        self._model, self._config, self._clock = model, config, clock
        self._here = RunHere()
        self._beside = runner
        self._running: deque[Running] = deque()
        self._last_kept_s = 0.0
        self._ended_s: float | None = None  # when the last batch was through that was kept in this turn
        self._observer: EngineObserver = observer if observer is not None else Unobserved()
        self._tree = StateTree(model.shapes, model.top_k, config.tree, share)
        self._scheduler = Scheduler(config.batch)
        self._admission = Admission(
            max_rows=config.batch.max_rows, max_wait_s=config.max_wait_s, max_waiting=config.max_waiting
        )
        self._pace = Pace()
        self._gate = Gate(self._admission, max_waiting=config.max_waiting, clock=clock)
        self._tasks = Tasks(
            model,
            self._tree,
            self._scheduler,
            self._gate,
            self._admission,
            limits=config.batch,
            replays=Replays(config.max_replays),
            clock=clock,
            observer=self._observer,
            first_number=first_number,
        )
        self._closed: str | None = None
        self.on_work: Callable[[], None] = _nothing
        self.on_run: Callable[[], None] = _nothing
        if share is not None:
            share.on_owing = self._owe

    @property
    def idle(self) -> bool:
        """Whether every request has been answered and no batch is running."""
        return self._tasks.idle and not self._running

    @property
    def wants_tick(self) -> bool:
        """Whether a tick would do something now, without waiting for a batch that runs beside."""
        if self._running:
            return self._tasks.ready or self._running[0].ran.done()
        return not self._tasks.idle or self._looks_ahead

    def open_path(self, scope: str) -> PathId:
        """A new path at the empty text. Paths of one scope share states, paths of different scopes never do."""
        return self._tasks.open_path(scope)

    def adopt_path(self, path: PathId, scope: str) -> None:
        """Open a path of another engine here, under its number, at the empty text; it is closed there."""
        self._tasks.adopt_path(path, scope)

    def paths(self) -> Sequence[Path]:
        """The paths that are open, the oldest first; not to be changed."""
        return self._tasks.paths()

    def find_path(self, path: PathId) -> Path | None:
        """The path with this number if it is open here; not to be changed."""
        return self._tasks.find_path(path)

    @property
    def vocabulary_size(self) -> int:
        """How many tokens its model knows."""
        return self._model.vocabulary_size

    @property
    def held_bytes(self) -> int:
        """Bytes of the budget that its states take."""
        return self._tree.held_bytes

    def fork_path(self, path: PathId) -> PathId:
        """A new path in the scope of another, standing where that one does, as if it had been moved there, too."""
        return self._tasks.fork_path(path)

    def read_state(self, path: PathId, text: bytes, *, least: int, most: int) -> HeldState | None:
        """The deepest state held of a beginning of `text`, of `least` to `most` bytes; None if there is none.

        `text` equals what the path was last told to move to, in its first `most` bytes.
        """
        return self._tasks.read_state(path, text, least=least, most=most)

    def restore(self, path: PathId, text: bytes, state: HeldState) -> bool:
        """Put a path that was never moved to the end of `text`, whose state this is, as if it had been moved there.

        False, and nothing changed, if it is no state of this model, or there is no room. Whoever calls it vouches for
        the state: that this model, under these numerics, made it of this text.
        """
        return self._tasks.restore(path, text, state)

    def close_path(self, path: PathId) -> None:
        """Give the path up; its unfinished work ends as superseded."""
        self._tasks.close_path(path)
        self.on_work()

    def submit(self, request: Request[AnswerType], answer: Callable[[AnswerType | CarouselError], None]) -> Ticket:
        """Begin a request; a later tick calls `answer` with its result.

        Raises Overloaded if the engine is full, or if suggestions or a completion would come too late.

        An Advance and a Score have one result. A Complete has any number of pieces, at most one a tick, and ends with
        the one that has a `finish`. Each may end with an error instead.
        """
        assert isinstance(request, Advance | Complete | Score), "there are no other requests"
        if self._closed is not None:
            raise Unavailable(self._closed, 1.0)
        self._gate.enter(request)
        ticket = self._tasks.begin(request, answer)
        self.on_work()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Stop computing a request's suggestions or completion; a path that moves goes on."""
        self._tasks.cancel(ticket)
        self.on_work()

    def close(self, why: str = _ENDING) -> None:
        """Take nothing more; what is under way goes on. `why` is what is said to whoever comes."""
        self._closed = why

    def abandon(self) -> None:
        """Answer whoever is left with Unavailable."""
        self._tasks.abandon()
        self._tasks.hand_over()

    def release(self) -> None:
        """Give everything back: rows, share, model. Called last, when it is idle; nothing may be called after it.

        What holds the engine may be out of the garbage collector's sight (`gc.freeze`), so nothing is left to it.
        """
        assert self.idle, "nothing is under way any more"
        self.on_work = self.on_run = _nothing
        self._tree.release()
        if isinstance(self._model, Releasable):
            self._model.release()

    def tick(self) -> None:
        """One turn. Ends with every batch kept, unless batches run beside the engine."""
        self._ended_s = None
        self._tree.tick()
        if self._tree.owes:
            self._tasks.give_back()
        self._tasks.expire()
        self._tasks.go_on()
        self._collect()
        planned = self._launch()
        self._tasks.hand_over()
        self._gate.turned()
        if self._looks_ahead and not (planned or self._running or self._tasks.under_way):
            self._look_ahead()

    def _launch(self) -> bool:
        """Plan, and run or send off what was planned; whether there was anything."""
        anything = False
        while crowd := self._tasks.crowd:
            turns = self._takes_turns(crowd)
            if len(self._running) >= (2 if turns else 1):
                break
            most = -(-crowd // 2) if turns else None
            batches = self._scheduler.plan(self._tasks.under_way.values(), most=most)
            alone = len(batches) == 1 and not self._running
            for batch in batches:
                self._run(batch, alone=alone)
            anything = anything or bool(batches)
            if not batches or self._running[-1].ran.done():
                break
        self._collect()
        return anything

    def _takes_turns(self, crowd: int) -> bool:
        """Whether one batch waits behind the one that runs, each with half of the crowd.

        With fewer, whoever comes while a batch runs is better off in a larger one after it.
        """
        return self._beside is not None and 2 * crowd >= self._config.batch.max_rows and self._pace.takes_turns(crowd)

    def _run(self, batch: Batch, *, alone: bool) -> None:
        if self._beside is None or (alone and self._is_short(batch)):
            self._running.append(launch(self._model, self._tree, batch, self._here, self._clock))
            return
        running = launch(self._model, self._tree, batch, self._beside, self._clock)
        if self._ended_s is not None and not self._running:
            self._pace.waited(batch.rows, running.launched_s - self._ended_s)
        self._running.append(running)
        running.ran.add_done_callback(self._was_run)

    def _is_short(self, batch: Batch) -> bool:
        return batch.kind is not Kind.CHUNK and self._pace.foreseen_s(batch.rows, batch.steps) < _SHORT_S

    def _was_run(self, _: object) -> None:
        self.on_run()

    def _collect(self) -> None:
        """Keep what has been run, the oldest first."""
        while self._running and self._running[0].ran.done():
            self._keep(self._running.popleft())

    def _keep(self, running: Running) -> None:
        """Keep a batch's results; a model that fails ends the requests of this batch only."""
        batch = running.batch
        self._tasks.release(batch)
        try:
            result, seconds, self._ended_s = running.ran.result()
            self._tasks.reserve(rows_wanted(running))
        except TreeFull as error:
            drop(self._tree, running)
            self._tasks.fail(batch, too_small(error))
        except Exception as error:  # noqa: BLE001 -- whatever the runtime raises must not end the engine
            drop(self._tree, running)
            self._observer.failed(error)
            self._tasks.fail(batch, Unavailable("the model could not be run", 1.0))
        else:
            if batch.kind is not Kind.CHUNK:  # a chunk's tokens are fed together
                self._pace.ran(batch.rows, batch.steps, seconds)
            self._tasks.grant(batch, keep(self._tree, running, result))
        self._measure(running)
        self._tasks.go_on()

    def _measure(self, running: Running) -> None:
        """Tell how long the batch took: from its launch, or from the batch before it if that was still running."""
        batch, now_s = running.batch, self._clock()
        seconds = now_s - max(running.launched_s, self._last_kept_s)
        self._last_kept_s = now_s
        self._admission.ticked(batch.rows, seconds / batch.steps)
        self._observer.tick(rows=batch.rows, tokens=batch.fed, seconds=seconds, waiting=len(self._tasks.under_way))
        self._observer.lookups("computed", batch.rows)
        self._observer.state_bytes(self._tree.held_bytes)

    @property
    def _looks_ahead(self) -> bool:
        return bool(self._config.look_ahead and self._tasks.suggested)

    def _look_ahead(self) -> None:
        """Nobody waits: compute what comes after the less likely keys of one path, so that they cost no step either."""
        id_, max_bytes = self._tasks.suggested.pop()
        path = self._tasks.find_path(id_)
        if path is None or path.at is None or path.tasks:
            return
        batch = self._scheduler.plan_ahead(path.at, self._other_keys(path.at), max_bytes)
        if not batch.rows or self._tree.free_rows < batch.fed:
            return
        self._running.append(launch(self._model, self._tree, batch, self._here, self._clock))
        self._collect()

    def _other_keys(self, node: Node) -> list[int]:
        """What may be typed there beside the likeliest token, as far as it is worth it and not held."""
        tokens, log_probabilities = self._tree.head(node)
        likely = (token for token, one in zip(tokens, log_probabilities, strict=True) if one > _WORTH_LOOKING)
        keys = [token for token in likely if token < 0x80 and self._tree.child(node, token) is None]
        return keys[: self._config.look_ahead]

    def _owe(self) -> None:
        """Other engines want some of the budget back; the next tick gives it."""
        self.on_work()


def _nothing() -> None:
    """Whoever turns the engine by hand needs not be told."""
