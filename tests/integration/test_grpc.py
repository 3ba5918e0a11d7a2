"""What only gRPC has: health, reflection, its own kinds of malformed messages, error details, deadlines."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

import grpc
import httpx
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # it ships no types
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.bootstrap import Server
from service.telemetry.metrics import Metrics, RequestMetrics
from service.transport.caller import TenantResolver
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteStub
from service.transport.grpc.server import GrpcServer
from service.transport.lifecycle import Lifecycle
from tests.integration.callers import detail, refused_call, status_of
from tests.integration.servers import GatedModel, Running, free_port, make_server, running

if TYPE_CHECKING:  # a class for type checkers alone
    from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE = "carousel.v1.Autocomplete"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(server: Running) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> AutocompleteAsyncStub:
    return AutocompleteStub(channel)


async def test_reflection_lists_the_service(channel: grpc.aio.Channel) -> None:
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    stream = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]))
    answers = [answer async for answer in stream]
    names = {service.name for service in answers[0].list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names


async def test_reflection_describes_the_service(channel: grpc.aio.Channel) -> None:
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)
    stream = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]))
    answers = [answer async for answer in stream]
    files = answers[0].file_descriptor_response.file_descriptor_proto
    assert any(b"carousel/v1/autocomplete.proto" in file for file in files)


async def test_health_serves_once_the_model_is_warm(channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE):
        assert (await health.Check(health_pb2.HealthCheckRequest(service=name))).status == SERVING


async def test_health_does_not_serve_while_warming_up_nor_while_draining() -> None:
    model, port = GatedModel(closed_after=1), free_port()
    server = make_server(model, grpc_port=port)
    starting = asyncio.create_task(server.start())
    await asyncio.to_thread(model.waiting.wait, 10)  # the port is open by then, and the model warms up
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        watch = health.Watch(request, wait_for_ready=True)
        assert (await watch.read()).status == NOT_SERVING
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING
        model.gate.set()
        await starting
        assert (await watch.read()).status == SERVING
        stopping = asyncio.create_task(server.stop())
        assert (await watch.read()).status == NOT_SERVING
        await stopping


async def test_grpc_is_ready_before_the_other_ports_and_the_server_only_with_them() -> None:
    port, may_open = free_port(), asyncio.Event()

    class Patient(Server):
        async def _open_the_rest(self, *ports: Any) -> None:
            await may_open.wait()
            await super()._open_the_rest(*ports)

    server = make_server(grpc_port=port, of=Patient)
    starting = asyncio.create_task(server.start())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        health, stub = health_pb2_grpc.HealthStub(channel), AutocompleteStub(channel)
        ours = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE), wait_for_ready=True)
        while (await ours.read()).status != SERVING:
            pass
        assert (await stub.CreateSession(pb.CreateSessionRequest(text="a"))).session.revision == 1
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING
        may_open.set()
        addresses = await starting
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{addresses.http_port}") as client:
            assert (await client.get("/readyz")).status_code == 200
        await server.stop()


async def test_calls_that_come_faster_than_they_are_taken_are_not_cancelled() -> None:
    """gRPC's core would drop some of more than 1,000 that wait for Python, as if their callers had cancelled them."""
    async with running(max_sessions=4000) as server, grpc.aio.insecure_channel(server.grpc) as channel:
        stub: AutocompleteAsyncStub = AutocompleteStub(channel)
        calls = [stub.CreateSession(pb.CreateSessionRequest(text="a")) for _ in range(4000)]
        assert {(await call).session.revision for call in calls} == {1}


async def test_an_error_carries_its_code_field_and_request_id_as_google_details(stub: AutocompleteAsyncStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.CreateSession(pb.CreateSessionRequest(id="no spaces"), metadata=(("x-request-id", "r-1"),))
    status = status_of(error.value)
    info = detail(status, error_details_pb2.ErrorInfo())
    assert (info.reason, info.domain, info.metadata["field"]) == ("INVALID_ARGUMENT", "carousel", "id")
    assert detail(status, error_details_pb2.BadRequest()).field_violations[0].field == "id"
    assert detail(status, error_details_pb2.RequestInfo()).request_id == "r-1"
    assert detail(status, error_details_pb2.RetryInfo()) is None


async def test_an_overloaded_server_says_when_to_retry() -> None:
    async with running(max_sessions=1) as server, grpc.aio.insecure_channel(server.grpc) as channel:
        stub: AutocompleteAsyncStub = AutocompleteStub(channel)
        await stub.CreateSession(pb.CreateSessionRequest())
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.CreateSession(pb.CreateSessionRequest())
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = status_of(error.value)
    assert detail(status, error_details_pb2.RetryInfo()).retry_delay.ToTimedelta().total_seconds() > 0


MALFORMED = [
    ("not protobuf", b"\xff\xff\xff", "message"),
    ("text that is not UTF-8", b"\x0a\x02\xff\xfe", "message"),
    ("a lone surrogate in CESU-8", b"\x0a\x03\xed\xa0\x80", "message"),
    ("an unknown field", b"\xfa\x3e\x01x", "message"),
    ("an unknown field inside of a field", b"\x22\x05\xfa\x3e\x02xx", "message"),
    ("an unknown stop", pb.CreateSessionRequest(suggest=pb.SuggestOptions(stop=9)).SerializeToString(), "suggest.stop"),  # type: ignore[arg-type]  # as another version may send it
    ("unknown units", pb.CreateSessionRequest(units=9).SerializeToString(), "units"),  # type: ignore[arg-type]  # likewise
    ("more than a request may be", b"\x0a" + b"\x80\x80\x80\x01" + b"x" * (2 << 20), "message"),
]


@pytest.mark.parametrize(("data", "field"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
async def test_a_malformed_message_is_an_invalid_argument(channel: grpc.aio.Channel, data: bytes, field: str) -> None:
    call = cast(Any, channel).unary_unary(f"/{SERVICE}/CreateSession")  # bytes as they are
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call(data)
    refused = refused_call(error.value)
    assert (refused.code, refused.field) == ("INVALID_ARGUMENT", field)


async def test_an_unknown_method_is_unimplemented(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await cast(Any, channel).unary_unary(f"/{SERVICE}/Nothing")(b"")
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_edit_whose_caller_ran_out_of_time_is_committed_and_its_retry_is_answered() -> None:
    model = GatedModel()
    async with running(model) as server, grpc.aio.insecure_channel(server.grpc) as channel:
        stub: AutocompleteAsyncStub = AutocompleteStub(channel)
        created = await stub.CreateSession(pb.CreateSessionRequest(text="a"))
        model.gate.clear()
        edit = pb.EditRequest(
            session_id=created.session.id,
            revision=1,
            edit_id="e",
            edits=[pb.EditOperation(insert="b")],
            suggest=pb.SuggestOptions(),
        )
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.Edit(edit, timeout=0.2)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        model.gate.set()
        again = await stub.Edit(edit)
        assert again.session.revision == 2
        assert again.suggestions


class BrokenSessions:
    max_document_bytes = 0

    async def create(self, *_: object, **__: object) -> None:
        raise RuntimeError("the cause")


async def test_a_bug_is_logged_with_its_request_id_and_shown_as_internal_without_detail(log: io.StringIO) -> None:
    broken = GrpcServer(
        BrokenSessions(),  # type: ignore[arg-type]  # breaks on purpose
        tenants=TenantResolver(trust_header=False),
        observer=RequestMetrics(Metrics()),
        lifecycle=Lifecycle(),
        max_request_bytes=1000,
    )
    port = await broken.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: AutocompleteAsyncStub = AutocompleteStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.CreateSession(pb.CreateSessionRequest())
    await broken.stop(1)
    refused = refused_call(error.value)
    assert (refused.code, refused.status) == ("INTERNAL", grpc.StatusCode.INTERNAL)
    assert "the cause" not in str(error.value)
    entries = [json.loads(line) for line in log.getvalue().splitlines()]
    (entry,) = (it for it in entries if it.get("request_id") == refused.request_id and "exception" in it)
    assert "RuntimeError: the cause" in entry["exception"]
