"""`Type` over a real connection: pipelined edits, acknowledgements in order, rejections that leave the stream open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest

from service.engine.ports import StepModel
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteStub
from tests.integration.callers import refused_call, refused_status
from tests.integration.servers import GatedModel, Running, running

if TYPE_CHECKING:  # a class for type checkers alone
    from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="module")


SERVICE = "carousel.v1.Autocomplete"
_END = cast(Any, grpc.aio).EOF  # the stubs do not know it


class Conversation:
    """One session and one open stream on it."""

    def __init__(self, stub: AutocompleteAsyncStub, session: str) -> None:
        self.stub, self.session = stub, session
        self.call = cast(Any, stub.Type)()  # without an iterator: messages are written one by one
        self._revision = 1
        self._number = 0
        self.told: list[tuple[str, Any]] = []

    async def type(self, text: str, *, suggest: bool = False, revision: int | None = None, **more: Any) -> str:
        """Send an insertion based on what this side believes to be the revision; returns its edit id."""
        base = self._revision if revision is None else revision
        self._number += 1
        request = pb.TypeRequest(
            session_id=more.get("session", self.session),
            revision=base,
            edit_id=f"e{self._number}",
            edits=[pb.EditOperation(insert=text)],
            suggest=pb.SuggestOptions(count=2) if suggest else None,
        )
        self._revision = base + 1
        await self.call.write(request)
        return request.edit_id

    async def read(self) -> tuple[str, Any]:
        """The next event; an acknowledgement that came in one message with its suggestions is one of its own."""
        if not self.told:
            self.told += events_in(await self.call.read())
        return self.told.pop(0)

    async def finish(self) -> list[tuple[str, Any]]:
        """Half-close and read to the end."""
        await self.call.done_writing()
        events, self.told = self.told, []
        while (message := await self.call.read()) is not _END:
            events += events_in(message)
        return events

    async def text(self) -> str:
        shown = await self.stub.GetSession(pb.GetSessionRequest(session_id=self.session, include_text=True))
        return shown.text


def events_in(message: Any) -> list[tuple[str, Any]]:
    kind = message.WhichOneof("event")
    event = getattr(message, kind)
    if kind == "suggested" and event.HasField("acknowledged"):
        return [("acknowledged", event.acknowledged), (kind, event)]
    return [(kind, event)]


@asynccontextmanager
async def conversation(server: Running, text: str = "") -> AsyncIterator[Conversation]:
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub: AutocompleteAsyncStub = AutocompleteStub(channel)
        created = await stub.CreateSession(pb.CreateSessionRequest(text=text))
        yield Conversation(stub, created.session.id)


@asynccontextmanager
async def gated(model: StepModel) -> AsyncIterator[tuple[Running, Conversation]]:
    async with running(model) as server, conversation(server) as talk:
        yield server, talk


async def test_pipelined_edits_are_acknowledged_in_order(server: Running) -> None:
    async with conversation(server) as talk:
        for letter in "hello":
            await talk.type(letter)
        events = await talk.finish()
        assert [kind for kind, _ in events] == ["acknowledged"] * 5
        assert [event.edit_id for _, event in events] == ["e1", "e2", "e3", "e4", "e5"]
        assert [event.session.revision for _, event in events] == [2, 3, 4, 5, 6]
        assert await talk.text() == "hello"


async def test_suggestions_follow_the_acknowledgement_of_the_newest_edit(server: Running) -> None:
    async with conversation(server) as talk:
        edit_id = await talk.type("import os", suggest=True)
        events = await talk.finish()
        assert [kind for kind, _ in events] == ["acknowledged", "suggested"]
        assert (events[1][1].edit_id, events[1][1].revision) == (edit_id, 2)
        assert events[1][1].suggestions


async def test_a_rejected_edit_leaves_the_stream_open_and_its_dependents_are_rejected_too(server: Running) -> None:
    async with conversation(server, "ab") as talk:
        await talk.type("c")
        await talk.type("x", revision=7)
        await talk.type("y")  # based on what the rejected edit would have made
        await talk.type("d", revision=2)
        events = await talk.finish()
        assert [kind for kind, _ in events] == ["acknowledged", "rejected", "rejected", "acknowledged"]
        for _, rejection in events[1:3]:
            refused = refused_status(rejection.error)
            assert (refused.code, refused.revision) == ("REVISION_CONFLICT", 2)
        assert await talk.text() == "abcd"


async def test_a_bad_edit_is_rejected_by_the_name_of_its_field(server: Running) -> None:
    async with conversation(server) as talk:
        await talk.call.write(
            pb.TypeRequest(session_id=talk.session, revision=1, edit_id="bad", edits=[pb.EditOperation(delete=3)])
        )
        kind, rejection = await talk.read()
        assert (kind, rejection.edit_id) == ("rejected", "bad")
        assert refused_status(rejection.error).field == "edits[0].delete"
        await talk.type("still open", revision=1)
        assert [kind for kind, _ in await talk.finish()] == ["acknowledged"]


async def test_an_unknown_session_is_rejected_and_another_may_follow(server: Running) -> None:
    async with conversation(server) as talk:
        await talk.type("x", session="none")
        kind, rejection = await talk.read()
        assert (kind, refused_status(rejection.error).code) == ("rejected", "NOT_FOUND")
        await talk.type("x", revision=1)
        assert [kind for kind, _ in await talk.finish()] == ["acknowledged"]


async def test_the_session_may_be_left_out_after_the_first_message(server: Running) -> None:
    async with conversation(server) as talk:
        await talk.type("a")
        await talk.type("b", session="")
        assert [kind for kind, _ in await talk.finish()] == ["acknowledged"] * 2
        assert await talk.text() == "ab"


async def test_a_stream_that_names_no_session_is_told_so(server: Running) -> None:
    async with conversation(server) as talk:
        await talk.type("a", session="")
        ((kind, rejection),) = await talk.finish()
        assert (kind, refused_status(rejection.error).field) == ("rejected", "session_id")


async def test_a_stream_stays_with_its_session(server: Running) -> None:
    async with conversation(server) as talk, conversation(server) as other:
        await talk.type("a")
        await talk.type("b", session=other.session, revision=1)
        kinds = [kind for kind, _ in await talk.finish()]
        assert kinds == ["acknowledged", "rejected"]
        assert await other.text() == ""


async def test_acknowledgements_come_while_the_model_is_busy() -> None:
    model = GatedModel()
    async with gated(model) as (_, talk):
        model.gate.clear()
        await talk.type("a", suggest=True)
        kind, acknowledged = await talk.read()
        assert (kind, acknowledged.session.revision) == ("acknowledged", 2)
        model.gate.set()
        assert [kind for kind, _ in await talk.finish()] == ["suggested"]


async def test_suggestions_of_an_overtaken_edit_are_dropped() -> None:
    model = GatedModel()
    async with gated(model) as (_, talk):
        model.gate.clear()
        await talk.type("a", suggest=True)
        assert (await talk.read())[0] == "acknowledged"
        await asyncio.to_thread(model.waiting.wait, 10)
        newest = await talk.type("b", suggest=True)
        assert (await talk.read())[0] == "acknowledged"
        model.gate.set()
        events = await talk.finish()
        assert [(kind, event.edit_id) for kind, event in events] == [("suggested", newest)]


async def test_a_stream_that_ends_with_the_server_has_answered_all_that_it_read() -> None:
    model = GatedModel()
    async with gated(model) as (server, talk):
        model.gate.clear()
        await talk.type("a", suggest=True)
        assert (await talk.read())[0] == "acknowledged"
        stopping = asyncio.create_task(server.server.stop())
        await server.server.lifecycle.wait_draining()
        model.gate.set()
        assert (await talk.read())[0] == "suggested"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await talk.call.read()
        assert refused_call(error.value).code == "UNAVAILABLE"
        await stopping


async def test_a_stream_that_comes_to_its_age_has_answered_all_that_it_read_and_says_where_to_go_on() -> None:
    model = GatedModel()
    async with running(model, max_stream_age="0.2") as server, conversation(server) as talk:
        model.gate.clear()
        await talk.type("a", suggest=True)
        assert (await talk.read())[0] == "acknowledged"
        reading = asyncio.create_task(talk.read())
        await asyncio.wait([reading], timeout=0.5)
        assert not reading.done()
        model.gate.set()
        assert (await reading)[0] == "suggested"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await talk.call.read()
        refused = refused_call(error.value)
        assert (refused.code, error.value.code()) == ("UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
        assert "come to its age" in refused.message
        assert refused.revision == 2


async def test_a_stream_that_breaks_leaves_its_edits_and_the_server_whole(server: Running) -> None:
    async with conversation(server) as talk:
        await talk.type("kept", suggest=True)
        assert (await talk.read())[0] == "acknowledged"
        talk.call.cancel()
        assert await talk.text() == "kept"


async def test_a_malformed_message_is_rejected_and_the_stream_stays_open(server: Running) -> None:
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub: AutocompleteAsyncStub = AutocompleteStub(channel)
        created = await stub.CreateSession(pb.CreateSessionRequest())
        call = cast(Any, channel).stream_stream(f"/{SERVICE}/Type", response_deserializer=pb.TypeResponse.FromString)()
        await call.write(b"\xff\xff\xff")
        assert (await call.read()).WhichOneof("event") == "rejected"
        request = pb.TypeRequest(session_id=created.session.id, revision=1, edits=[pb.EditOperation(insert="a")])
        await call.write(request.SerializeToString())
        assert (await call.read()).WhichOneof("event") == "acknowledged"
        await call.done_writing()


async def test_what_was_sent_behind_a_rejected_edit_builds_on_nothing_that_somebody_else_has_made(
    server: Running,
) -> None:
    """Somebody else's edit has made the revision that the rejected one would have made."""
    async with conversation(server, "ab") as talk:
        other = pb.EditRequest(session_id=talk.session, revision=1, edits=[pb.EditOperation(insert="X")])
        await talk.stub.Edit(other)
        for number, (revision, after) in enumerate([(1, ""), (2, "e0"), (3, "e1"), (2, "")]):
            edits = [pb.EditOperation(insert="y")]
            request = pb.TypeRequest(
                session_id=talk.session, revision=revision, edit_id=f"e{number}", edits=edits, after=after
            )
            await talk.call.write(request)
        events = await talk.finish()
        assert [kind for kind, _ in events] == ["rejected"] * 3 + ["acknowledged"]
        for _, rejection in events[:3]:
            refused = refused_status(rejection.error)
            assert (refused.code, refused.revision) == ("REVISION_CONFLICT", 2)
        assert await talk.text() == "abXy"
