"""Sessions over a real engine: any history of edits ends with the suggestions of a fresh session, to the last bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.engine.engine import Engine, EngineConfig
from service.engine.fake_model import FakeModel
from service.engine.ports import StepModel
from service.engine.requests import (
    Advance,
    AdvanceResult,
    Complete,
    ModelIdentity,
    PathId,
    Score,
    Stop,
    SuggestSpec,
)
from service.engine.retention import Retention
from service.engine.scheduler import BatchLimits
from service.engine.state_tree import StateTree, TreeConfig
from service.errors import CarouselError, InvalidArgument
from service.runtime.onnx_model import load_model
from service.sessions.commands import (
    Accept,
    CreateSession,
    Delete,
    Edit,
    EditSession,
    ForkSession,
    GetSession,
    Insert,
    MoveCursor,
    Replace,
    SessionView,
    Tenant,
    UndoTo,
    Units,
)
from service.sessions.ports import Pieces, Scoring
from service.sessions.service import Sessions
from service.sessions.stores.memory import MemoryStore
from tests.unit.runtime.test_onnx_model import write_model

T = TypeVar("T")
TENANT = Tenant("default")


class Turned:
    """An engine without a thread: whoever awaits an answer turns its loop until the answer is there."""

    def __init__(self, model: StepModel, config: EngineConfig) -> None:
        self.engine = Engine(model, config, clock=time.monotonic)
        self.identity = ModelIdentity("turned", "0" * 64, "0" * 16)
        self.open_path = self.engine.open_path
        self.fork_path = self.engine.fork_path
        self.close_path = self.engine.close_path
        self.read_state = self.engine.read_state
        self.restore = self.engine.restore

    def serving(self, path: PathId) -> Turned:
        return self

    def pinned(self, digest: str) -> Turned | None:
        return self if digest == self.identity.digest else None

    def advance(self, request: Advance) -> Answered:
        answered = Answered(self.engine)
        self.engine.submit(request, answered.take)
        return answered

    def complete(self, requests: Sequence[Complete]) -> Pieces:
        raise AssertionError("nothing is completed here")

    def score(self, request: Score) -> Scoring:
        raise AssertionError("nothing is scored here")


class Answered:
    """One answer of a `Turned` engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._results: list[AdvanceResult | CarouselError] = []

    def take(self, result: AdvanceResult | CarouselError) -> None:
        self._results.append(result)

    def __await__(self) -> Generator[None, None, AdvanceResult]:
        yield from ()  # nothing to wait for, but `await` wants a generator
        return self.result()

    def result(self) -> AdvanceResult:
        for _ in range(10_000):
            if self._results:
                break
            self._engine.tick()
        (result,) = self._results
        if isinstance(result, CarouselError):
            raise result
        return result

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        raise AssertionError("everything is awaited here")

    def cancelled(self) -> bool:
        return False

    def cancel(self) -> bool:
        raise AssertionError("nothing is given up here")


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    raise AssertionError("it waited")


def sessions_over(model: StepModel, rows: int | None) -> Sessions:
    """Sessions with an engine of their own; `rows` states at most, and a batch so small that work is cut up."""
    tree = TreeConfig()
    if rows is not None:
        row_bytes = StateTree(model.shapes, model.top_k, tree).row_bytes
        tree = TreeConfig(rows * row_bytes, Retention(dense=4, sparse=16, stride=4))
    suggester = Turned(model, EngineConfig(tree, BatchLimits(max_rows=3, max_chunk=5, max_chunk_rows=2)))
    ids, incarnations = count(1), count(1)
    return Sessions(
        {"turned": suggester},
        MemoryStore(),
        new_id=lambda: f"made-{next(ids)}",
        new_incarnation=lambda: next(incarnations),
    )


words = st.text(st.sampled_from("ab \n(é漢😀"), max_size=6)
steps: st.SearchStrategy[Edit | int] = st.one_of(
    words.map(Insert),
    st.integers(0, 6).map(Delete),
    st.builds(Replace, st.integers(0, 10), st.integers(0, 10), words),
    st.integers(0, 20).map(MoveCursor),
    st.integers(1, 8).map(UndoTo),
    st.integers(0, 2),  # accept the suggestion of this rank
)
spec = SuggestSpec(count=3, max_bytes=5, stop=Stop.NONE)


def shown(view: SessionView) -> list[tuple[str, float, str]]:
    assert view.suggestions is not None
    return [(s.text, s.probability, s.finish_reason) for s in view.suggestions]


def play(sessions: Sessions, moves: Sequence[Edit | int], start: str) -> SessionView:
    """Apply what can be applied, one request each, asking for suggestions every time; the last view."""
    view = now(sessions.create(TENANT, CreateSession(start, suggest=spec)))
    for move in moves:
        edit: Edit
        if isinstance(move, int):
            if not view.suggestions or move >= len(view.suggestions):
                continue
            edit = Accept(view.suggestions[move].id)
        else:
            edit = move
        command = EditSession(view.id, view.revision, (edit,), units=Units.CODEPOINT, suggest=spec)
        try:
            view = now(sessions.edit(TENANT, command))
        except InvalidArgument:
            continue  # beyond the text: refused, and nothing has changed
    return view


def left_of_cursor(sessions: Sessions, view: SessionView) -> str:
    text = now(sessions.get(TENANT, GetSession(view.id, include_text=True))).text
    assert text is not None
    return text[: view.cursor]


@given(words, st.lists(steps, max_size=25), st.sampled_from([None, 48]))
@settings(max_examples=40)
def test_any_history_of_edits_ends_like_a_fresh_session(start: str, moves: list[Edit | int], rows: int | None) -> None:
    sessions = sessions_over(FakeModel(), rows)
    view = play(sessions, moves, start)
    fresh = sessions_over(FakeModel(), None)
    expected = now(fresh.create(TENANT, CreateSession(left_of_cursor(sessions, view), suggest=spec)))
    assert shown(view) == shown(expected)


@given(words, st.lists(steps, max_size=12), st.sampled_from([None, 48]), st.integers(0, 12), words)
@settings(max_examples=25)
def test_a_fork_of_any_revision_suggests_like_a_fresh_session_and_leaves_its_source_alone(
    start: str, moves: list[Edit | int], rows: int | None, back: int, typed: str
) -> None:
    sessions = sessions_over(FakeModel(), rows)
    source = play(sessions, moves, start)
    revision = max(source.revision - back, 1)
    view = now(sessions.fork(TENANT, ForkSession(source.id, revision=revision)))
    more = (Insert(typed),) if typed else ()
    view = now(sessions.edit(TENANT, EditSession(view.id, revision, more, suggest=spec)))
    again = now(sessions.edit(TENANT, EditSession(source.id, source.revision, suggest=spec)))
    for one in (view, again):
        fresh = sessions_over(FakeModel(), None)
        expected = now(fresh.create(TENANT, CreateSession(left_of_cursor(sessions, one), suggest=spec)))
        assert shown(one) == shown(expected)


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@given(words, st.lists(steps, max_size=12))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_holds_on_real_graphs_to_the_last_bit(
    tiny_folder: Path, precision: str, start: str, moves: list[Edit | int]
) -> None:
    model = load_model(tiny_folder, "fp32" if precision == "fp32" else "int8")
    sessions = sessions_over(model, 48)
    view = play(sessions, moves, start)
    fresh = sessions_over(model, None)
    expected = now(fresh.create(TENANT, CreateSession(left_of_cursor(sessions, view), suggest=spec)))
    assert shown(view) == shown(expected)
