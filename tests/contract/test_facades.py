"""What every facade must do: one table of scenarios over real sockets. A new facade joins by a line in `FACADES`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from service.engine.ports import States, StepResult
from service.errors import Code, Fenced, QuotaExceeded, Unavailable
from service.sessions.ports import Store
from service.sessions.records import Checkpoint, EditRecord, Fence, SessionKey, StoredSession
from service.sessions.stores.memory import MemoryStore
from service.storing import Opening
from tests.contract.facades import FACADES
from tests.contract.facades.facade import Ability, Asked, Facade, Refused, Told
from tests.contract.facades.grpc import GrpcComplete, GrpcEdit
from tests.integration.servers import GatedModel, Running, make_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERY = pytest.mark.parametrize("kind", FACADES, ids=[one.name for one in FACADES])
TEXTS = ("a", "é🎠 ", "def main(argv: list[str]) -> int:\n    ", "import os\n")


class FailingStore(MemoryStore):
    """Sessions whose ids say so cannot be read, or not be written."""

    async def load(self, key: SessionKey) -> StoredSession | None:
        _fail(key, "unread")
        return await super().load(key)

    async def append(
        self, key: SessionKey, fence: Fence, record: EditRecord, checkpoint: Checkpoint | None = None
    ) -> None:
        _fail(key, "unwritten")
        await super().append(key, fence, record, checkpoint)


def _fail(key: SessionKey, operation: str) -> None:
    if key.id.startswith(f"{operation}-down"):
        raise Unavailable("the store is down", 1.0)
    if key.id.startswith(f"{operation}-broken"):
        raise RuntimeError("the cause")
    if key.id.startswith(f"{operation}-elsewhere"):
        raise Fenced("another server has taken the session over")
    if key.id.startswith(f"{operation}-full"):
        raise QuotaExceeded("the tenant's texts are too large", 1.0)


class FailingOpening(Opening):
    """Of that store."""

    def take(self) -> Store:
        super().take()
        return FailingStore()


class WatchedModel(GatedModel):
    """A GatedModel that says when it steps, so that a test can wait until it does no more. No text ends by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stepped = threading.Event()
        self.pace_s = 0.0  # of a step, at least
        self._never = threading.Event()

    def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
        self.stepped.set()
        self._never.wait(self.pace_s)
        result = super().step(tokens, states, all_probabilities=True)
        assert result.log_probabilities is not None, "they were asked for"
        likely = result.log_probabilities.copy()
        likely[:, self.separator_token] = -100.0
        order = np.argsort(-likely, axis=1, kind="stable")[:, : self.top_k]
        top = np.take_along_axis(likely, order, axis=1)
        return StepResult(result.states, order, top, likely if all_probabilities else None)

    def rested(self) -> int:
        """The number of steps made, once none is made any more."""
        while self.stepped.wait(0.1):
            self.stepped.clear()
        return len(self.calls)


@asynccontextmanager
async def _running(model: WatchedModel, **flags: Any) -> AsyncIterator[Running]:
    server = make_server(model, opening=FailingOpening, **flags)
    addresses = await server.start()
    try:
        yield Running(server, addresses)
    finally:
        await server.stop()


@pytest.fixture(scope="module")
def model() -> WatchedModel:
    return WatchedModel()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(model: WatchedModel) -> AsyncIterator[Running]:
    """One for all scenarios; whoever fills its queue empties it again."""
    async with _running(model, max_queued=3, trust_tenant_header=True) as server:
        yield server


@EVERY
async def test_every_facade_tells_the_same_bits(server: Running, kind: type[Facade]) -> None:
    reference = GrpcEdit if kind.says == "suggestions" else GrpcComplete
    async with kind.to(server) as facade, reference.to(server) as native:
        for text in TEXTS:
            told = await facade.ask(Asked(text, max_bytes=12))
            assert told.text == (await native.ask(Asked(text, max_bytes=12))).text
            assert told.finish
        assert told.text


@dataclass(frozen=True)
class Refusal:
    """A request that is refused by every facade that can make it."""

    about: str
    asked: Asked
    code: Code
    needs: frozenset[Ability]
    suggests_only: bool = False  # it takes an edit to find out

    def fits(self, kind: type[Facade]) -> bool:
        return self.needs <= kind.can and not (self.suggests_only and "revision" not in kind.can)


def _session(id_: str) -> Asked:
    return Asked(session=id_)


REFUSALS = (
    Refusal("an unknown field", Asked(unknown_field=True), Code.INVALID_ARGUMENT, frozenset({"unknown_field"})),
    Refusal("too much asked for", Asked(max_bytes=100_000), Code.INVALID_ARGUMENT, frozenset({"range"})),
    Refusal("a tenant that is none", Asked(tenant="no/such"), Code.INVALID_ARGUMENT, frozenset({"tenant"})),
    Refusal(
        "a page from elsewhere", Asked(origin="https://evil.example"), Code.PERMISSION_DENIED, frozenset({"origin"})
    ),
    Refusal("an unknown session", _session("none"), Code.NOT_FOUND, frozenset({"session"})),
    Refusal("an unknown model", Asked(model="none"), Code.NOT_FOUND, frozenset({"model"})),
    Refusal("a store that cannot be read", _session("unread-down"), Code.UNAVAILABLE, frozenset({"session"})),
    Refusal("a bug", _session("unread-broken"), Code.INTERNAL, frozenset({"session"})),
)
WRITES = (
    ("a stale revision", "stale", 7, Code.REVISION_CONFLICT),
    ("a store that cannot be written", "unwritten-down", 1, Code.UNAVAILABLE),
    ("a session that was taken over", "unwritten-elsewhere", 1, Code.FENCED),
    ("a tenant's limit", "unwritten-full", 1, Code.QUOTA),
    ("a bug in a write", "unwritten-broken", 1, Code.INTERNAL),
)
"""An id, a revision, and how an edit of it is refused."""
OVERLOAD_AND_DEADLINE = {Code.OVERLOADED, Code.DEADLINE}
WITHOUT_A_KEY = {Code.UNAUTHENTICATED}  # test_keys.py
RETRYABLE = {Code.OVERLOADED, Code.QUOTA, Code.UNAVAILABLE}

_PAIRS = [(row, kind) for row in REFUSALS for kind in FACADES if row.fits(kind)]


async def test_the_table_has_every_code_and_every_row_several_facades() -> None:
    told = {row.code for row in REFUSALS} | {code for *_, code in WRITES}
    assert told | OVERLOAD_AND_DEADLINE | WITHOUT_A_KEY == set(Code)
    assert all(sum(row.fits(kind) for kind in FACADES) >= 4 for row in REFUSALS)


@pytest.mark.parametrize(("row", "kind"), _PAIRS, ids=[f"{row.about}-{kind.name}" for row, kind in _PAIRS])
async def test_a_refusal_has_the_code_and_the_status_of_the_one_map(
    server: Running, row: Refusal, kind: type[Facade]
) -> None:
    async with kind.to(server) as facade:
        with pytest.raises(Refused) as refused:
            await facade.ask(row.asked)
        _check(facade, refused.value, row.code)
        assert (await facade.ask(Asked())).text, "the facade answers as before"


def _check(facade: Facade, refused: Refused, code: Code) -> None:
    assert refused.message
    assert "the cause" not in refused.message
    if refused.code:  # a stream of the Open Inference Protocol has but sentences
        assert (refused.code, refused.status) == (code, facade.status(code))
        assert (refused.retry_after_s is not None) == (code in RETRYABLE)


WRITERS = [kind for kind in FACADES if "revision" in kind.can]


@pytest.mark.parametrize("kind", WRITERS, ids=[one.name for one in WRITERS])
@pytest.mark.parametrize(("id_", "revision", "code"), [row[1:] for row in WRITES], ids=[row[0] for row in WRITES])
async def test_an_edit_that_is_not_committed_is_refused_and_changes_nothing(
    server: Running, kind: type[Facade], id_: str, revision: int, code: Code
) -> None:
    async with kind.to(server) as facade, GrpcEdit.to(server) as native:
        session = f"{id_}-{kind.__name__}"
        await native.create_as(session, "abc")
        with pytest.raises(Refused) as refused:
            await facade.ask(Asked("abc!", session=session, revision=revision))
        _check(facade, refused.value, code)
        assert await native.text_of(session) == "abc"


@EVERY
async def test_what_is_no_request_at_all_is_refused(server: Running, kind: type[Facade]) -> None:
    async with kind.to(server) as facade:
        with pytest.raises(Refused) as refused:
            await facade.nonsense()
        _check(facade, refused.value, Code.INVALID_ARGUMENT)


@asynccontextmanager
async def _full(server: Running, model: WatchedModel, about: str) -> AsyncIterator[None]:
    """As many requests as may wait, in front of a model that stands still."""
    model.gate.clear()
    try:
        async with AsyncExitStack() as stack:
            native = await stack.enter_async_context(GrpcComplete.to(server))
            waiting = {asyncio.create_task(native.ask(Asked(f"{about} {number}"))) for number in range(9)}
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=20)
            assert any(isinstance(one.exception(), Refused) for one in done), done
            yield
            model.gate.set()
            await asyncio.gather(*waiting, return_exceptions=True)
    finally:
        model.gate.set()


@EVERY
async def test_a_full_queue_refuses_what_can_be_asked_again_and_sheds_only_suggestions_of_an_edit(
    server: Running, model: WatchedModel, kind: type[Facade]
) -> None:
    async with kind.to(server) as facade:
        async with _full(server, model, kind.name):
            if kind.sheds:
                assert await facade.ask(Asked("edited")) == Told("", "shed")
            else:
                with pytest.raises(Refused) as refused:
                    await facade.ask(Asked("refused"))
                _check(facade, refused.value, Code.OVERLOADED)
        await asyncio.to_thread(model.rested)
        assert (await facade.ask(Asked("edited"))).text


TIMED = [kind for kind in FACADES if "timeout" in kind.can]


@pytest.mark.parametrize("kind", TIMED, ids=[one.name for one in TIMED])
async def test_who_has_no_more_time_is_answered_in_time(
    server: Running, model: WatchedModel, kind: type[Facade]
) -> None:
    """With what there is, or as the protocol has it; gRPC's own library may see the moment first."""
    model.pace_s = 0.02
    try:
        async with kind.to(server) as facade:
            try:
                told = await facade.ask(Asked(f"late {kind.name}", max_bytes=kind.longest, timeout_s=0.5))
                assert told.finish == "deadline"
            except Refused as refused:
                _check(facade, refused, kind.late or Code.DEADLINE)
    finally:
        model.pace_s = 0.0
    await asyncio.to_thread(model.rested)


@EVERY
@pytest.mark.parametrize("cut", [False, True], ids=["cancelled", "cut"])
async def test_the_model_does_not_go_on_for_who_has_left(
    server: Running, model: WatchedModel, kind: type[Facade], cut: bool
) -> None:
    async with kind.to(server) as facade:
        before = await asyncio.to_thread(model.rested)
        model.waiting.clear()
        model.gate.clear()
        model.pace_s = 0.002  # the server needs some time to hear of it
        try:
            await facade.leave(f"leaves {cut} {kind.name}", lambda: asyncio.to_thread(model.waiting.wait, 10), cut=cut)
            model.gate.set()
            steps = await asyncio.to_thread(model.rested) - before
        finally:
            model.gate.set()
            model.pace_s = 0.0
    assert 1 <= steps < kind.longest / 4
    async with kind.to(server) as facade:
        assert (await facade.ask(Asked("still here"))).text
