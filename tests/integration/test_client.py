"""The Python client, sync and async, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from carousel_client import (
    Acknowledged,
    Answer,
    AsyncClient,
    AsyncSession,
    Client,
    DeadlineExceeded,
    Delete,
    Event,
    Insert,
    Internal,
    InvalidArgument,
    Model,
    MoveCursor,
    NotFound,
    Rejected,
    RetryPolicy,
    RevisionConflict,
    Session,
    Stop,
    Suggested,
    SuggestOptions,
    Unavailable,
    Units,
)
from carousel_client.channels import AFFINITY_HEADER, about_session
from carousel_client.session_state import SessionState
from service.engine.fake_model import FakeModel
from service.settings import load_settings
from service.terminal.local_server import LocalServer
from tests.integration.servers import IDENTITY, free_port, running

TEXT = "for root, dirs in os."
PATIENT = RetryPolicy(attempts=50, first_delay_s=0.02, max_delay_s=0.2)


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with LocalServer(FakeModel(), IDENTITY, load_settings({})) as server:
        yield f"127.0.0.1:{server.addresses.grpc_port}"


@pytest.fixture
def client(target: str) -> Iterator[Client]:
    with Client(target, timeout_s=20) as client:
        yield client


@pytest.fixture
async def async_client(target: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(target, timeout_s=20) as client:
        yield client


def test_the_readmes_example_runs(client: Client) -> None:
    with client.session("import os\nfor root, dirs, files in os.") as session:
        best, *_others = session.suggest(count=3).suggestions
        session.accept(best)
        session.type("(")
        assert session.text() == f"import os\nfor root, dirs, files in os.{best.text}("


def test_a_session_knows_where_it_stands_after_every_method(client: Client) -> None:
    with client.session("abc日") as session:
        assert (session.revision, session.length, session.cursor, session.model.name) == (1, 4, 4, "fake")
        session.type("d👍")
        session.delete(2)
        session.replace(0, 1, "xyz")
        assert (session.revision, session.length, session.cursor) == (4, 6, 3)
        session.move(6)
        session.undo_to(1)
        assert (session.text(), session.revision, session.cursor) == ("abc日", 6, 4)


def test_suggestions_span_a_block_or_end_before_a_stop_string(client: Client) -> None:
    with client.session("call(7)") as session:
        whole = session.suggest(1, max_bytes=64, stop=Stop.NONE).suggestions[0].text
        assert whole.startswith(session.suggest(1, max_bytes=64, stop=Stop.BLOCK).suggestions[0].text)
        cut = session.suggest(1, max_bytes=64, stop=Stop.NONE, stop_strings=[whole[4:6]]).suggestions[0]
        assert cut.text == whole[: whole.index(whole[4:6])]
        with pytest.raises(InvalidArgument, match=r"suggest.stop_strings\[0\]"):
            session.suggest(stop_strings=[""])


async def test_an_awaited_session_takes_the_same_stops(async_client: AsyncClient) -> None:
    async with async_client.session("call(7)") as session:
        whole = (await session.suggest(1, max_bytes=64, stop=Stop.NONE)).suggestions[0].text
        assert whole.startswith((await session.suggest(1, max_bytes=64, stop=Stop.BLOCK)).suggestions[0].text)
        cut = (await session.suggest(1, max_bytes=64, stop=Stop.NONE, stop_strings=[whole[4:6]])).suggestions[0]
        assert cut.text == whole[: whole.index(whole[4:6])]


async def test_the_same_methods_are_there_to_be_awaited(async_client: AsyncClient) -> None:
    async with async_client.session("abc日") as session:
        await session.type("d👍")
        await session.delete(2)
        await session.replace(0, 1, "xyz")
        await session.move(6)
        await session.undo_to(1)
        found = await session.suggest(2, max_bytes=9, stop=Stop.NONE)
        assert (await session.text(), session.revision, session.cursor) == ("abc日", 6, 4)
        assert len(found.suggestions) == 2
        await session.accept(found.suggestions[1], 1)
        assert await session.text() == "abc日" + found.suggestions[1].text[:1]


def test_lengths_and_offsets_are_in_the_units_of_the_session(client: Client) -> None:
    with client.session("日👍", units=Units.UTF8) as session:
        assert (session.length, session.cursor) == (7, 7)
        session.delete(4)
        assert session.text() == "日"
    with client.session("日👍", units=Units.UTF16) as session:
        assert session.length == 3


def test_leaving_a_session_deletes_it_and_one_that_is_gone_already_is_fine(client: Client) -> None:
    with client.session("x") as session:
        client.attach(session.id).close()
    with pytest.raises(NotFound) as missing:
        client.attach(session.id)
    assert missing.value.kind == "session"


def test_a_session_that_is_kept_can_be_attached_to_later(client: Client) -> None:
    session = client.session("x", id="kept-for-later")
    session.type("y")
    session.close(delete=False)
    with client.attach("kept-for-later") as again:
        assert (again.text(), again.revision) == ("xy", 2)


async def test_an_async_session_is_deleted_also_when_its_block_fails(async_client: AsyncClient) -> None:
    kept: list[AsyncSession] = []

    async def fail() -> None:
        async with async_client.session("x") as session:
            kept.append(session)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    with pytest.raises(NotFound):
        await async_client.attach(kept[0].id)


def test_errors_are_typed_and_leave_the_session_as_it_was(client: Client) -> None:
    with client.session("abc") as session:
        with pytest.raises(InvalidArgument) as refused:
            session.edit([Insert("d"), Delete(9)])
        assert (refused.value.field, session.revision, session.text()) == ("edits[1].delete", 1, "abc")
        assert refused.value.request_id
        with pytest.raises(InvalidArgument) as out_of_range:
            session.suggest(99)
        assert out_of_range.value.field == "suggest.count"


def test_two_writers_meet_in_a_conflict_and_reading_resolves_it(client: Client) -> None:
    with client.session("a") as first:
        second = client.attach(first.id)
        second.type("b")
        with pytest.raises(RevisionConflict) as conflict:
            first.type("c")
        assert conflict.value.current == 2
        assert first.text() == "ab"
        first.type("c")
        assert first.text() == "abc"


def test_an_edit_repeated_with_its_id_is_applied_once(client: Client) -> None:
    with client.session("a") as session:
        stale = client.attach(session.id)
        session.edit([Insert("b")], edit_id="mine")
        again = stale.edit([Insert("b")], edit_id="mine")
        assert (again.revision, stale.text()) == (2, "ab")


def test_a_call_has_a_deadline(client: Client) -> None:
    with client.session("a") as session, pytest.raises(DeadlineExceeded):
        session.edit([Insert("b")], timeout_s=0.0)


def test_where_nobody_listens_the_error_says_unavailable() -> None:
    with Client(f"127.0.0.1:{free_port()}", retry=RetryPolicy(attempts=2)) as client, pytest.raises(Unavailable):
        client.session()


async def test_a_call_waits_for_a_server_that_is_just_starting() -> None:
    port = free_port()
    async with AsyncClient(f"127.0.0.1:{port}", timeout_s=20, retry=PATIENT) as client:
        creating = asyncio.create_task(client.create("x"))
        async with running(grpc_port=port):
            session = await creating
            assert await session.text() == "x"


class Listening:
    """A server that notes which header a router would hash, for each method, and knows no method."""

    def __init__(self) -> None:
        self.heard: dict[str, str] = {}

    async def __aenter__(self) -> str:
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self,))  # type: ignore[arg-type]  # only `service` is asked of a handler
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return f"127.0.0.1:{port}"

    async def __aexit__(self, *exc: object) -> None:
        await self._server.stop(None)

    def service(self, details: Any) -> None:
        headers = dict(details.invocation_metadata)
        self.heard[details.method.rpartition("/")[2]] = headers.get("x-carousel-session", "")


async def test_every_call_about_a_session_says_which_so_that_a_router_can_hash_it() -> None:
    listening = Listening()
    async with listening as target, AsyncClient(target) as client:
        with pytest.raises(Internal):
            await client.create(id="mine")
        with pytest.raises(Internal):
            await client.attach("mine")
        with pytest.raises(Internal):
            await client.score("a text without a session")

        def type_in_a_thread() -> None:
            state = SessionState(Answer("mine", 1, 0, 0, Model("m", "d", "n")), Units.CODEPOINT)
            with Client(target) as threaded, threaded.open_typing(state, 1) as stream, pytest.raises(Internal):
                next(stream)

        await asyncio.to_thread(type_in_a_thread)
    assert listening.heard == {"CreateSession": "mine", "GetSession": "mine", "Score": "", "Type": "mine"}


def test_a_header_of_the_caller_s_own_is_kept_and_an_id_that_is_no_header_is_left_out() -> None:
    own = ((AFFINITY_HEADER, "chosen"),)
    assert about_session(own, "mine") == own
    for id_ in ("", "日", "a\nb", " padded"):
        assert about_session((), id_) == ()


class LosingProxy:
    """Passes calls on as bytes; of the methods in `lost` it does so too, but answers UNAVAILABLE, once each."""

    def __init__(self, target: str, *lost: str) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        self._lost = set(lost)
        self.passed_on: list[str] = []

    async def __aenter__(self) -> str:
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self,))  # type: ignore[arg-type]  # only `service` is asked of a handler
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return f"127.0.0.1:{port}"

    async def __aexit__(self, *exc: object) -> None:
        await self._server.stop(None)
        await self._channel.close(None)

    def service(self, details: Any) -> Any:
        async def pass_on(request: bytes, context: Any) -> bytes:
            try:
                answer: bytes = await self._channel.unary_unary(details.method, None, None)(request)
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details(), tuple(error.trailing_metadata()))
            name = details.method.rpartition("/")[2]
            self.passed_on.append(name)
            if name in self._lost:
                self._lost.remove(name)
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer is lost")
            return answer

        return grpc.unary_unary_rpc_method_handler(pass_on)


async def edit_async(target: str) -> str:
    async with AsyncClient(target, retry=PATIENT, timeout_s=20) as client, client.session("a") as session:
        await session.type("b")
        await session.type("c")
        return await session.text()


async def edit_sync(target: str) -> str:
    def edit() -> str:
        with Client(target, retry=PATIENT, timeout_s=20) as client, client.session("a") as session:
            session.type("b")
            session.type("c")
            return session.text()

    return await asyncio.to_thread(edit)


@pytest.mark.parametrize("edit", [edit_sync, edit_async])
async def test_a_call_whose_answer_was_lost_is_repeated_and_applied_once(
    target: str, edit: Callable[[str], Awaitable[str]]
) -> None:
    proxy = LosingProxy(target, "CreateSession", "Edit", "GetSession", "DeleteSession")
    async with proxy as through:
        assert await edit(through) == "abc"
    assert [proxy.passed_on.count(name) for name in ("CreateSession", "Edit", "GetSession", "DeleteSession")] == [
        2,
        3,
        2,
        1,
    ]


async def test_something_that_is_no_carousel_is_not_taken_for_one() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncClient(f"127.0.0.1:{port}") as client:
        with pytest.raises(Internal, match="UNIMPLEMENTED"):
            await client.create()
    await server.stop(None)


def typed(session: Session, text: str) -> list[Event]:
    """The events of typing `text` on a stream without waiting in between; one thread sends, this one reads."""

    def send() -> None:
        for character in text:
            stream.send(Insert(character), suggest=SuggestOptions())
        stream.finish()

    with session.typing() as stream, ThreadPoolExecutor(1) as sender:
        sending = sender.submit(send)
        events = list(stream)
        sending.result()
        return events


def test_a_stream_whose_answers_nobody_reads_takes_no_more_than_it_may_hold(client: Client) -> None:
    with client.session("ab") as session, session.typing(max_unanswered=2) as stream:
        stream.send(Insert("c"))
        stream.send(Insert("d"))
        with pytest.raises(DeadlineExceeded):
            stream.send(Insert("e"), timeout_s=0.0)
        stream.drain()
        assert session.text() == "abcd"


def test_a_stream_takes_edits_without_waiting_and_acknowledges_every_one(client: Client) -> None:
    with client.session(TEXT) as session:
        events = typed(session, "walk(日👍" * 20)  # more than may be unanswered at once
        acknowledged = [event for event in events if isinstance(event, Acknowledged)]
        assert [event.revision for event in acknowledged] == list(range(2, 142))
        assert (session.revision, session.text()) == (141, TEXT + "walk(日👍" * 20)


def test_the_last_edit_of_a_stream_gets_its_suggestions_and_they_are_those_of_a_fresh_session(client: Client) -> None:
    with client.session(TEXT) as session:
        last = [event for event in typed(session, "walk(") if isinstance(event, Suggested)][-1]
        with client.session(TEXT + "walk(") as fresh:
            expected = fresh.suggest()
    assert last.revision == 6
    assert [(one.text, one.probability) for one in last.suggestions] == [
        (one.text, one.probability) for one in expected.suggestions
    ]


def test_after_a_rejection_the_stream_goes_on_from_what_was_acknowledged(client: Client) -> None:
    with client.session("ab") as session, session.typing() as stream:
        sent = [stream.send(edit) for edit in (Insert("c"), Delete(99), Insert("lost"))]
        events = [next(stream) for _ in sent]
        assert [getattr(event, "edit_id", None) for event in events] == sent
        rejections = [event.error for event in events if isinstance(event, Rejected)]
        assert [type(error) for error in rejections] == [InvalidArgument, RevisionConflict]
        stream.send(MoveCursor(0))
        stream.send(Insert("d"))
        stream.drain()
        assert session.text() == "dabc"


def test_draining_a_stream_raises_what_was_rejected_meanwhile(client: Client) -> None:
    with client.session("ab") as session, session.typing() as stream:
        stream.send(Delete(99))
        with pytest.raises(InvalidArgument):
            stream.drain()


def test_a_stream_that_was_closed_takes_no_edits(client: Client) -> None:
    with client.session("ab") as session:
        stream = session.typing()
        stream.send(Insert("c"))
        stream.close()
        with pytest.raises(Unavailable):
            stream.send(Insert("d"))
        assert session.text() in ("ab", "abc")


def test_a_stream_to_nobody_says_so_to_who_reads_and_to_who_sends(client: Client) -> None:
    with client.session("ab") as session:
        session.close()
        with session.typing() as stream:
            stream.send(Insert("c"))
            event = next(stream)
            assert isinstance(event, Rejected)
            assert isinstance(event.error, NotFound)
