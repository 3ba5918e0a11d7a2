"""A server that asks for keys answers nobody without one, over every facade; a tenant sees its own sessions alone."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from service.errors import Code
from service.telemetry.logs import configure_logs
from service.transport.grpc.generated.inference import grpc_service_pb2 as kserve_pb
from service.transport.grpc.generated.inference import grpc_service_pb2_grpc as kserve_grpc
from tests.contract.facades import FACADES
from tests.contract.facades.facade import Asked, Facade, Refused
from tests.integration.servers import Running, running
from tests.integration.sockets import address

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERY = pytest.mark.parametrize("kind", FACADES, ids=[one.name for one in FACADES])
OWNER, OTHER, GATEWAY = "key-of-the-owner-0123", "key/of+the.other~45_6789==", "key-of-the-gateway-99"
OPEN_PATHS = ("/livez", "/readyz", "/health", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json")
PAGE = "https://editor.example"


def bearer(key: str) -> str:
    return f"Bearer {key}"


def headers(key: str) -> dict[str, str]:
    return {"authorization": bearer(key)}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(f"owner {OWNER}\nother {OTHER}\n* {GATEWAY}\n", encoding="utf-8")
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(file: Path) -> AsyncIterator[Running]:
    async with running(api_keys_file=str(file), trust_tenant_header=True, allowed_origins=PAGE) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.http, verify=False) as client:
        yield client


async def _session(http: httpx.AsyncClient, key: str, text: str, **more: str) -> str:
    made = await http.post("/v1/sessions", json={"text": text}, headers={**headers(key), **more})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def _asked(http: httpx.AsyncClient, kind: type[Facade], authorization: str | None) -> Asked:
    """With a session of the owner's where the facade has any, so that the request itself is what is refused."""
    session = await _session(http, OWNER, "import os") if "session" in kind.can else None
    return Asked(session=session, authorization=authorization)


@EVERY
@pytest.mark.parametrize(
    "authorization",
    [None, bearer("an-unknown-key-0123"), "Basic b3duZXI6a2V5", f"Token {OWNER}", OWNER],
    ids=["none", "unknown", "basic", "another scheme", "bare"],
)
async def test_without_a_known_key_every_facade_says_unauthenticated(
    server: Running, http: httpx.AsyncClient, kind: type[Facade], authorization: str | None
) -> None:
    asked = await _asked(http, kind, authorization)
    async with kind.to(server) as facade:
        with pytest.raises(Refused) as refused:
            await facade.ask(asked)
    assert (refused.value.code, refused.value.status) == (Code.UNAUTHENTICATED, facade.status(Code.UNAUTHENTICATED))
    assert "key" in refused.value.message
    assert OWNER not in refused.value.message and "an-unknown-key" not in refused.value.message


@EVERY
async def test_with_its_key_every_facade_answers(server: Running, http: httpx.AsyncClient, kind: type[Facade]) -> None:
    asked = await _asked(http, kind, bearer(OWNER))
    async with kind.to(server) as facade:
        assert (await facade.ask(asked)).text


WITH_SESSIONS = [kind for kind in FACADES if "session" in kind.can]


@pytest.mark.parametrize("kind", WITH_SESSIONS, ids=[one.name for one in WITH_SESSIONS])
async def test_another_tenants_session_is_not_there(
    server: Running, http: httpx.AsyncClient, kind: type[Facade]
) -> None:
    asked = await _asked(http, kind, bearer(OTHER))
    async with kind.to(server) as facade:
        with pytest.raises(Refused) as refused:
            await facade.ask(asked)
    assert refused.value.code == Code.NOT_FOUND


async def test_a_gateways_key_names_the_tenant_and_a_tenants_key_does_not(http: httpx.AsyncClient) -> None:
    session = await _session(http, GATEWAY, "a", **{"x-carousel-tenant": "owner"})
    assert (await http.get(f"/v1/sessions/{session}", headers=headers(OWNER))).is_success
    agreeing = {**headers(OWNER), "x-carousel-tenant": "owner"}
    assert (await http.get(f"/v1/sessions/{session}", headers=agreeing)).is_success
    refused = await http.get(f"/v1/sessions/{session}", headers={**headers(OWNER), "x-carousel-tenant": "other"})
    assert (refused.status_code, refused.json()["code"]) == (403, "PERMISSION_DENIED")
    nobody = await http.get(f"/v1/sessions/{session}", headers={"x-carousel-tenant": "owner"})
    assert nobody.status_code == 401


@pytest.mark.parametrize("path", OPEN_PATHS)
async def test_probes_and_documents_need_no_key(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 200
    assert (await http.head(path)).status_code == 200


async def test_the_port_of_the_metrics_needs_no_key_and_counts_who_had_none(server: Running) -> None:
    async with httpx.AsyncClient(verify=False) as http:
        assert (await http.get(f"{server.http}/v1/models")).status_code == 401
        told = (await http.get(server.metrics)).text
    assert 'code="UNAUTHENTICATED"' in told
    assert OWNER not in told
    assert "\ncarousel_api_keys_current 1.0\n" in told


async def test_every_other_path_asks_for_one_and_the_document_says_so(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["key"] == {"type": "http", "scheme": "bearer"}
    asked = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answer = await http.request(method, path.replace("{", "").replace("}", ""), json={})
            assert (answer.status_code == 401) == ("security" in operation), path
            if answer.status_code == 401:
                asked += 1
                assert answer.headers["www-authenticate"] == "Bearer"
                (media_type,) = operation["responses"]["401"].get("content", {answer.headers["content-type"]: 0})
                assert answer.headers["content-type"].split(";")[0] == media_type.split(";")[0], path
    assert asked > 30
    assert (await http.get("/no/such/path")).status_code == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"error": {"type": "invalid_request_error", "param": None, "code": "invalid_api_key"}}),
        ("/infill", {"error": {"code": 401, "type": "authentication_error"}}),
        ("/v2/models/fake/infer", {}),
        ("/v1/sessions", {"status": 401, "code": "UNAUTHENTICATED", "title": "Unauthorized"}),
    ],
)
async def test_a_refusal_has_the_shape_of_its_family(http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
    told = (await http.post(path, json={})).json()
    if "error" in body:
        assert body["error"].items() <= told["error"].items()
    elif path.startswith("/v2"):
        assert told.keys() == {"error"}
    else:
        assert body.items() <= told.items()


async def test_an_allowed_page_may_ask_beforehand_and_read_why_it_is_refused(http: httpx.AsyncClient) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    before = await http.options("/v1/sessions", headers={"origin": PAGE, **asks})
    assert before.status_code == 200
    assert "authorization" in before.headers["access-control-allow-headers"]
    refused = await http.post("/v1/sessions", json={}, headers={"origin": PAGE})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == PAGE


def _offered(key: str) -> Subprotocol:
    return Subprotocol("carousel.key." + base64.urlsafe_b64encode(key.encode()).decode().rstrip("="))


@pytest.mark.parametrize("key", [OWNER, OTHER], ids=["plain", "with signs"])
async def test_a_page_says_its_key_as_a_subprotocol_of_a_websocket(
    server: Running, http: httpx.AsyncClient, key: str
) -> None:
    url = address(server, await _session(http, key, "abc"))
    async with connect(url, subprotocols=[Subprotocol("carousel.v1"), _offered(key)]) as socket:
        assert socket.subprotocol == "carousel.v1"
        assert json.loads(await socket.recv())["opened"]["session"]["length"] == 3


@pytest.mark.parametrize("offered", ["carousel.key.", "carousel.key.a", "carousel.key.!!!!", "carousel.key.AAAA"])
async def test_a_subprotocol_that_holds_no_key_is_refused(
    server: Running, http: httpx.AsyncClient, offered: str
) -> None:
    url = address(server, await _session(http, OWNER, "abc"))
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, subprotocols=[Subprotocol("carousel.v1"), Subprotocol(offered)]):
            pass
    assert refused.value.response.status_code == 401


async def test_grpcs_probes_need_no_key_and_reflection_does(server: Running) -> None:
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        kserve: Any = kserve_grpc.GRPCInferenceServiceStub(channel)
        assert (await kserve.ServerLive(kserve_pb.ServerLiveRequest())).live
        assert (await kserve.ServerReady(kserve_pb.ServerReadyRequest())).ready
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await kserve.ServerMetadata(kserve_pb.ServerMetadataRequest())
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED

        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            [one async for one in reflection.ServerReflectionInfo(iter([asked]))]
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        metadata = (("authorization", bearer(OWNER)),)
        (listed,) = [one async for one in reflection.ServerReflectionInfo(iter([asked]), metadata=metadata)]
        assert len(listed.list_services_response.service) == 4


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that `carousel serve --log-level debug` writes."""
    loggers = [logging.getLogger(), *map(logging.getLogger, ("uvicorn", "uvicorn.error", "asyncio"))]
    handlers, levels = loggers[0].handlers, [logger.level for logger in loggers]
    lines = io.StringIO()
    configure_logs("debug", "json", stream=lines)
    yield lines
    loggers[0].handlers = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


async def test_no_key_is_ever_logged(server: Running, http: httpx.AsyncClient, logged: io.StringIO) -> None:
    session = await _session(http, OWNER, "abc")
    async with connect(address(server, session), subprotocols=[Subprotocol("carousel.v1"), _offered(OWNER)]):
        await http.post("/v1/sessions", json={}, headers=headers("a-key-that-is-unknown"))
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        kserve: Any = kserve_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await kserve.ServerMetadata(
                kserve_pb.ServerMetadataRequest(), metadata=(("authorization", "Bearer a-key-that-is-unknown"),)
            )
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    ours = [str(line) for line in lines if line["logger"].partition(".")[0] in ("carousel", "uvicorn")]
    assert sum("UNAUTHENTICATED" in line for line in ours) == 2
    for line in ours:
        assert OWNER not in line and "a-key-that-is-unknown" not in line and _offered(OWNER) not in line


async def test_the_file_is_read_again_while_calls_go_on(tmp_path: Path) -> None:
    """As a Secret is mounted: the file is a link through a link to a folder, and that link is exchanged."""
    for name, key in (("first", OWNER), ("second", OTHER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys").write_text(f"owner {key}\n", encoding="utf-8")
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "keys").symlink_to("..data/keys")
    async with (
        running(api_keys_file=str(tmp_path / "keys")) as server,
        httpx.AsyncClient(base_url=server.http, verify=False) as http,
    ):
        assert (await http.get("/v1/models", headers=headers(OWNER))).is_success
        assert (await http.get("/v1/models", headers=headers(OTHER))).status_code == 401
        (tmp_path / "..new").symlink_to("second")
        (tmp_path / "..new").rename(tmp_path / "..data")
        until_s = time.monotonic() + 10
        while not (await http.get("/v1/models", headers=headers(OTHER))).is_success:
            assert time.monotonic() < until_s, "the new key is not taken"
        assert (await http.get("/v1/models", headers=headers(OWNER))).status_code == 401


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.binary(max_size=80).filter(lambda value: not {10, 13} & set(value)))
async def test_whatever_stands_in_the_header_is_refused_as_no_key_or_as_no_http(server: Running, value: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.addresses.http_port)
    head = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: "
    writer.write(head + value + b"\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), timeout=10)
    writer.close()
    status = int(answer.split(b" ")[1])
    assert (status == 401 and b'"invalid_api_key"' in answer) or (status == 400 and min(value) < 32), answer
