"""HTTP as it should not be, at a path of every family: refused in the family's shape and status, never by a bug."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.integration.servers import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"content-type": "application/json"}


def _problem(body: dict[str, Any], answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    assert (body["status"], body["request_id"]) == (answer.status_code, answer.headers["x-request-id"])
    return str(body["detail"])


def _openai(body: dict[str, Any], answer: httpx.Response) -> str:
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return str(body["error"]["message"])


def _llama(body: dict[str, Any], answer: httpx.Response) -> str:
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "type"}
    assert body["error"]["code"] == answer.status_code
    return str(body["error"]["message"])


def _kserve(body: dict[str, Any], answer: httpx.Response) -> str:
    assert set(body) == {"error"}
    return str(body["error"])


@dataclass(frozen=True)
class Family:
    """Paths of one protocol. `invalid` is its status for INVALID_ARGUMENT, `message` reads its shape."""

    posts: str
    gets: str
    unknown: str | None
    good: str
    invalid: int
    message: Callable[[dict[str, Any], httpx.Response], str]


FAMILIES = {
    "ours": Family("/v1/sessions", "/readyz", "/v1/nothing", '{"text": "a"}', 422, _problem),
    "OpenAI": Family(
        "/v1/completions", "/v1/models", "/v1/models/none/such", '{"model": "fake", "prompt": "a"}', 400, _openai
    ),
    "llama.cpp": Family("/completion", "/props", None, '{"prompt": "a", "n_predict": 4}', 400, _llama),
    "infill": Family(
        "/infill", "/health", None, '{"input_prefix": "a", "input_suffix": "", "n_predict": 4}', 400, _llama
    ),
    "KServe": Family(
        "/v2/models/fake/infer",
        "/v2",
        "/v2/nothing",
        '{"inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": ["a"]}]}',
        400,
        _kserve,
    ),
}
EVERY = pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))

BODIES: dict[str, Callable[[Family], bytes]] = {
    "nothing": lambda _: b"",
    "half of it": lambda it: it.good[:-3].encode(),
    "more than it": lambda it: f"{it.good} {it.good}".encode(),
    "a list": lambda _: b"[]",
    "null": lambda _: b"null",
    "a number": lambda _: b"7",
    "far too deep": lambda _: b"[" * 200_000,
    "objects far too deep": lambda _: b'{"a":' * 100_000,
    "a number of 10,000 digits": lambda it: it.good.replace('"a"', "9" * 10_000).encode(),
    "not a number": lambda it: it.good.replace('"a"', "NaN").encode(),
    "infinity": lambda it: it.good.replace('"a"', "-Infinity").encode(),
    "an unknown field": lambda it: it.good.replace("{", '{"nonsense": 1, ', 1).encode(),
    "invalid UTF-8": lambda it: it.good.encode().replace(b'"a"', b'"\xff\xfe"'),
    "UTF-16": lambda it: it.good.encode("utf-16"),
    "a lone surrogate": lambda it: it.good.replace('"a"', '"\\ud800"').encode(),
    "single quotes": lambda it: it.good.replace('"', "'").encode(),
    "NUL bytes": lambda it: it.good.encode().replace(b'"a"', b'"\x00"'),
    "a form": lambda _: b"prompt=a&text=a",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Running]:
    async with running() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.http, verify=False) as client:
        yield client


def check(family: Family, answer: httpx.Response, status: int | None = None, code: str = "INVALID_ARGUMENT") -> None:
    assert answer.status_code == (family.invalid if status is None else status), answer.text
    assert answer.headers["x-carousel-code"] == code
    assert family.message(answer.json(), answer)


@EVERY
async def test_the_good_request_is_good(client: httpx.AsyncClient, family: Family) -> None:
    assert (await client.post(family.posts, content=family.good, headers=JSON)).is_success


@EVERY
@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
async def test_a_bad_body_is_refused(
    client: httpx.AsyncClient, family: Family, body: Callable[[Family], bytes]
) -> None:
    check(family, await client.post(family.posts, content=body(family), headers=JSON))


@pytest.mark.parametrize("family", [it for name, it in FAMILIES.items() if name != "KServe"])
async def test_a_key_that_stands_there_twice_is_refused(client: httpx.AsyncClient, family: Family) -> None:
    twice = family.good[:-1] + ", " + family.good[1:]
    check(family, await client.post(family.posts, content=twice, headers=JSON))


@pytest.mark.parametrize("family", [it for name, it in FAMILIES.items() if name != "KServe"])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json", "/"])
async def test_what_is_not_sent_as_json_is_refused(client: httpx.AsyncClient, family: Family, kind: str) -> None:
    """Also because a page elsewhere may send these without asking first."""
    check(family, await client.post(family.posts, content=family.good, headers={"content-type": kind}))


@EVERY
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient, family: Family, chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield b" " * 10_000

    content = chunks() if chunked else b" " * 3_000_000
    check(family, await client.post(family.posts, content=content, headers=JSON), 413)


@EVERY
async def test_a_wrong_method_is_refused_and_the_right_one_told(client: httpx.AsyncClient, family: Family) -> None:
    for method, path, allowed in (("DELETE", family.gets, "GET"), ("PATCH", family.posts, "POST")):
        answer = await client.request(method, path)
        check(family, answer, 405)
        assert allowed in answer.headers["allow"]
    check(family, await client.options(family.posts), 405)


@EVERY
async def test_head_is_answered_as_get_without_a_body(client: httpx.AsyncClient, family: Family) -> None:
    got, headed = await client.get(family.gets), await client.head(family.gets)
    assert (headed.status_code, headed.content) == (got.status_code, b"")
    assert headed.headers["content-type"] == got.headers["content-type"]


@pytest.mark.parametrize("family", [it for it in FAMILIES.values() if it.unknown is not None])
async def test_an_unknown_path_is_not_found_in_the_familys_shape(client: httpx.AsyncClient, family: Family) -> None:
    assert family.unknown is not None
    for method in ("GET", "POST", "HEAD"):
        answer = await client.request(method, family.unknown)
        assert answer.status_code == 404
        if method != "HEAD":
            check(family, answer, 404, "NOT_FOUND")


@EVERY
@pytest.mark.parametrize("path", ["posts", "gets"])
async def test_every_family_stands_behind_the_door(client: httpx.AsyncClient, family: Family, path: str) -> None:
    method = "POST" if path == "posts" else "GET"
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
        answer = await client.request(method, getattr(family, path), headers=headers)
        check(family, answer, 403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    "path",
    [
        "/docs",
        "/docs/assets/swagger-ui.css",
        "/openapi.json",
        "/metrics",
        "/livez",
        "/",
        "/nothing",
        "/v1/sessions/x/type",
    ],
)
async def test_everything_else_stands_behind_the_door_too(client: httpx.AsyncClient, path: str) -> None:
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
        for method in ("GET", "HEAD", "OPTIONS"):
            assert (await client.request(method, path, headers=headers)).status_code == 403


RAW: dict[str, bytes] = {
    "no HTTP at all": b"hello\r\n\r\n",
    "no host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /livez HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n",
    "two lengths": b"POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "a length that is none": b"POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
    "a chunk that is none": b"POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"transfer-encoding: chunked\r\n\r\nxyz\r\n",
    "endless headers": b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx: " + b"x" * 200_000 + b"\r\n\r\n",
    "a bare line feed in a header": b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx: a\nb\r\n\r\n",
    "a path that is no UTF-8": b"GET /v1/sessions/%ff%fe HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    "a NUL in a path": b"GET /v1/sessions/%00 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    "a handshake without its key": b"GET /v1/sessions/x/type HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n"
    b"upgrade: websocket\r\n\r\n",
    "a handshake of another version": b"GET /v1/sessions/x/type HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n"
    b"upgrade: websocket\r\nsec-websocket-version: 1\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
}


@pytest.mark.parametrize("sent", RAW.values(), ids=list(RAW))
async def test_what_is_no_http_is_answered_4xx_or_cut_off(
    server: Running, client: httpx.AsyncClient, sent: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.addresses.http_port)
    writer.write(sent)
    status = await asyncio.wait_for(reader.readline(), 10)
    assert not status or status.split()[1].startswith(b"4"), status
    writer.close()
    assert (await client.get("/livez")).json() == {"status": "ok"}


async def test_a_caller_who_leaves_in_the_middle_of_a_body_is_no_bug(
    server: Running, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    for family in FAMILIES.values():
        _, writer = await asyncio.open_connection("127.0.0.1", server.addresses.http_port)
        lines = (f"POST {family.posts} HTTP/1.1", "host: localhost", "content-type: application/json")
        writer.write("\r\n".join([*lines, "content-length: 100", "", json.dumps({})]).encode())
        await writer.drain()
        writer.transport.abort()
    assert (await client.get("/livez")).json() == {"status": "ok"}
    assert "ERROR" not in {record.levelname for record in caplog.records}
