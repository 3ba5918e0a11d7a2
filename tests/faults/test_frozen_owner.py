"""SIGSTOP of the replica that owns a session, another one takes over, SIGCONT: whoever wakes up cannot write any more.

No lease and no clock tells who owns a session, so nothing has to run out before another replica may go on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from tests.contract.valkey_server import ValkeyServer
from tests.faults.conftest import Counting
from tests.faults.crowd import crowd
from tests.faults.history import History, Operation
from tests.faults.replicas import PATIENCE_S, Replica, Replicas, create, look_at_all, suggests_as_a_fresh_one
from tests.faults.typist import Manner, ask, edit_of

_PIPELINED = 5


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path, "--appendonly", "yes").start()
    yield server
    server.kill()


async def test_what_a_frozen_owner_was_sent_is_made_once_or_refused_when_it_wakes(
    valkey: ValkeyServer, checked: Counting
) -> None:
    """Edits are pipelined into streams to it. Half of them are asked for again elsewhere, the others are overtaken: by
    one edit, which makes the revision that the second one of them was to build on.
    """
    histories = [History(f"s{index}") for index in range(8)]
    async with Replicas(2, f"store={valkey.url()}") as replicas, asyncio.timeout(PATIENCE_S):
        owner, other = replicas.running
        streams = [await _opened(owner, history) for history in histories]
        owner.freeze()
        sent = [await _pipelined(stream, history) for stream, history in zip(streams, histories, strict=True)]
        for asked_again, (history, operations) in enumerate(zip(histories, sent, strict=True)):
            again = operations if asked_again % 2 else [history.begin(2)]
            assert [await ask(other, history, one, PATIENCE_S) for one in again] == ["ok"] * len(again)
        await look_at_all([other], histories)
        owner.wake()
        for number, (stream, history, operations) in enumerate(zip(streams, histories, sent, strict=True)):
            outcomes = [await _answered(stream, history, operation) for operation in operations]
            assert outcomes == ["ok" if number % 2 else "failed"] * _PIPELINED, history
            stream.cancel()
        await look_at_all(replicas.running, histories)
        for history in histories:
            await suggests_as_a_fresh_one(owner, history)
    checked("SIGSTOP of an owner with edits on their way", 1, histories)


async def _opened(owner: Replica, history: History) -> Any:
    """A stream to the owner, which has typed one edit over it."""
    await create(owner, history)
    stream: Any = owner.stub.Type()  # type: ignore[call-arg]  # it is written to; the stubs want an iterator
    operation = history.begin(1)
    await _send(stream, history, operation)
    assert await _answered(stream, history, operation) == "ok"
    return stream


async def _pipelined(stream: Any, history: History) -> Sequence[Operation]:
    operations = [history.begin(2 + index) for index in range(_PIPELINED)]
    for before, operation in zip([None, *operations], operations, strict=False):
        await _send(stream, history, operation, before)
    return operations


async def _send(stream: Any, history: History, operation: Operation, after: Operation | None = None) -> None:
    edit = edit_of(history, operation)
    history.invoked(operation)
    request = pb.TypeRequest(
        session_id=edit.session_id,
        revision=edit.revision,
        edit_id=edit.edit_id,
        edits=edit.edits,
        after="" if after is None else history.edit_id(after),
    )
    await stream.write(request)


async def _answered(stream: Any, history: History, operation: Operation) -> str:
    answer = await stream.read()
    if answer.WhichOneof("event") == "rejected":
        assert answer.rejected.edit_id == history.edit_id(operation)
        history.answered(operation, "failed")
    else:
        assert answer.acknowledged.edit_id == history.edit_id(operation)
        history.answered(operation, "ok", answer.acknowledged.session.revision)
    return operation.outcomes[-1]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("freezes", "sessions"), [pytest.param(25, 16, marks=pytest.mark.faults)])
async def test_whoever_is_frozen_in_the_middle_of_typing_others_go_on_and_it_serves_again_when_it_wakes(
    valkey: ValkeyServer, checked: Counting, freezes: int, sessions: int
) -> None:
    chosen = random.Random(11)
    manner = Manner(gives_up=0.2, waits_s=0.5)
    async with (
        Replicas(3, f"store={valkey.url()}") as replicas,
        crowd(replicas.running, sessions, manner=manner) as people,
    ):
        for _ in range(freezes):
            await people.type_some(chosen.randint(1, 5))
            frozen = chosen.choice(people.typists).asked
            frozen.freeze()
            await people.progress.more(1, "unknown")  # somebody who asked it has given it up
            await people.type_some(chosen.randint(1, 3))
            frozen.wake()
    assert checked("SIGSTOP and SIGCONT of any of three replicas", freezes, people.histories).unknown > 0
