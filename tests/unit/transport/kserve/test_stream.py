"""ModelStreamInfer while its caller lags behind: answers in order, and no more is read than can be held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from service.errors import StreamOver, Unavailable
from service.sessions.commands import Tenant
from service.transport.grpc.calls import Call
from service.transport.grpc.generated.inference import grpc_service_pb2 as pb
from service.transport.grpc.kserve.stream import InferenceStream
from service.transport.kserve.inference import Inference
from service.transport.lifecycle import Lifecycle
from tests.unit.sessions.rooms import Room


class Counted:
    """An observer that counts codes."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    def request(self, facade: str, operation: str, code: str, seconds: float) -> None:
        assert (facade, operation) == ("grpc", "ModelStreamInfer")
        self.codes.append(code)


class Caller:
    """Sends `messages` and reads when it may; `taken` counts what the server has read of it."""

    def __init__(self, messages: int) -> None:
        self.messages, self.taken = messages, 0
        self.may_read = asyncio.Event()
        self.read: list[pb.ModelStreamInferResponse] = []
        self.ends = asyncio.Event()
        self.ends.set()

    async def requests(self) -> AsyncIterator[pb.ModelInferRequest]:
        for number in range(self.messages):
            self.taken += 1
            request = pb.ModelInferRequest(model_name="first" if number % 3 else "none", id=str(number))
            request.inputs.add(name="TEXT", datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(b"a")
            yield request
        await self.ends.wait()

    async def write(self, response: pb.ModelStreamInferResponse) -> None:
        await self.may_read.wait()
        self.read.append(response)

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()


def serving(caller: Caller, lifecycle: Lifecycle, observer: Counted) -> asyncio.Task[None]:
    stream = InferenceStream(Inference(Room().sessions), lifecycle=lifecycle, observer=observer)
    call = Call("id", Tenant("default"), None)
    return asyncio.create_task(stream.serve(caller.requests(), call, cast(Any, caller)))


async def until_nothing_moves() -> None:
    for _ in range(500):
        await asyncio.sleep(0)


async def test_who_does_not_read_is_not_read_from_and_loses_nothing() -> None:
    caller, observer = Caller(messages=300), Counted()
    task = serving(caller, Lifecycle(), observer)
    await until_nothing_moves()
    assert 64 <= caller.taken <= 66
    caller.may_read.set()
    await task
    assert [response.infer_response.id for response in caller.read] == [str(number) for number in range(300)]
    assert [bool(response.error_message) for response in caller.read] == [number % 3 == 0 for number in range(300)]
    assert (observer.codes.count("OK"), observer.codes.count("NOT_FOUND")) == (200, 100)


async def test_a_stream_at_rest_ends_when_the_process_does() -> None:
    caller, lifecycle = Caller(messages=5), Lifecycle()
    caller.ends.clear()
    caller.may_read.set()
    task = serving(caller, lifecycle, Counted())
    await until_nothing_moves()
    assert not task.done()
    lifecycle.drain()
    with pytest.raises(Unavailable):
        await task
    assert len(caller.read) == 5


async def test_a_stream_that_comes_to_its_age_ends_when_what_it_has_read_is_answered() -> None:
    caller = Caller(messages=5)
    caller.ends.clear()
    task = serving(caller, Lifecycle(0.01, chance=lambda: 1.0), Counted())
    await asyncio.wait([task], timeout=0.1)
    assert not task.done()
    caller.may_read.set()
    with pytest.raises(StreamOver, match="come to its age"):
        await task
    assert len(caller.read) == 5


async def test_a_stream_that_is_cancelled_leaves_no_work_behind() -> None:
    caller = Caller(messages=100)
    task = serving(caller, Lifecycle(), Counted())
    await until_nothing_moves()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_nothing_moves()
    assert asyncio.all_tasks() == {asyncio.current_task()}
