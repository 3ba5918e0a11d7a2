"""A `Type` stream against a caller who does not read: what is held for it is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

from service.errors import InvalidArgument
from service.sessions.commands import CreateSession, SessionId, Tenant
from service.sessions.fake_suggester import FakeSuggester
from service.sessions.service import Sessions
from service.sessions.stores.memory import MemoryStore
from service.telemetry.metrics import Metrics, RequestMetrics
from service.transport.grpc.calls import Call, Context
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.typing_stream import Typing
from service.transport.lifecycle import Lifecycle

TENANT = Tenant("default")
SENT = 1000


class SlowCaller:
    """A caller who sends without end and reads nothing until told to; also gRPC's context, as far as it is used."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.taken = 0  # messages that the server has read
        self.reads = asyncio.Event()
        self.received: list[pb.TypeResponse] = []

    async def messages(self) -> AsyncIterator[pb.TypeRequest | InvalidArgument]:
        for revision in range(1, SENT + 1):
            self.taken += 1
            yield pb.TypeRequest(
                session_id=self.session,
                revision=revision,
                edits=[pb.EditOperation(insert="x")],
                suggest=pb.SuggestOptions(),
            )

    async def write(self, event: pb.TypeResponse) -> None:
        await self.reads.wait()
        self.received.append(event)


def acknowledged(event: pb.TypeResponse) -> pb.Acknowledgement:
    """An acknowledgement, by itself or in one message with the suggestions that came soon enough."""
    return event.acknowledged if event.HasField("acknowledged") else event.suggested.acknowledged


async def settle() -> None:
    """Let everything run that can run without anybody's answer."""
    for _ in range(20 * SENT):
        await asyncio.sleep(0)


async def test_nothing_more_is_read_while_the_caller_does_not_read_and_nothing_is_lost() -> None:
    sessions = Sessions({"fake": FakeSuggester()}, MemoryStore(), new_id=lambda: "made", new_incarnation=lambda: 1)
    view = await sessions.create(TENANT, CreateSession(id=SessionId("s")))
    caller = SlowCaller(view.id)
    typing = Typing(sessions, lifecycle=Lifecycle(), observer=RequestMetrics(Metrics()))
    call = Call("request", TENANT, None)
    serving = asyncio.create_task(typing.serve(caller.messages(), call, cast(Context, cast(Any, caller))))
    await settle()
    assert caller.taken < 100
    caller.reads.set()
    await serving
    revisions = [acknowledged(it).session.revision for it in caller.received]
    assert revisions == list(range(2, SENT + 2))
    suggested = [it.suggested.revision for it in caller.received if it.HasField("suggested")]
    assert suggested[-1] == SENT + 1
    assert suggested == sorted(suggested)
