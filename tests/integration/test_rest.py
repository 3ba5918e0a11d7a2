"""What only REST has: strict JSON, problem details from every layer, probes, documentation, browsers at the door."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from service.telemetry.metrics import Metrics, RequestMetrics
from service.transport.caller import TenantResolver
from service.transport.http.app import create_app
from service.transport.lifecycle import Lifecycle
from tests.integration.callers import refused
from tests.integration.servers import GatedModel, Running, free_port, make_server, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"content-type": "application/json"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.http) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edits(client: httpx.AsyncClient) -> str:
    """The path of a session's edits; the session stays at revision 1 with the text `abc`."""
    created = await client.post("/v1/sessions", json={"text": "abc"})
    return f"/v1/sessions/{created.json()['id']}/edits"


async def test_the_answer_has_exactly_the_documented_keys(client: httpx.AsyncClient) -> None:
    plain = await client.post("/v1/sessions", json={})
    assert set(plain.json()) == {"id", "revision", "length", "cursor", "stored", "model"}
    full = await client.post("/v1/sessions", json={"text": "import os", "suggest": {}})
    assert set(full.json()) == {"id", "revision", "length", "cursor", "stored", "model", "suggestions"}
    assert set(full.json()["suggestions"][0]) == {"id", "text", "probability", "finish_reason"}
    assert set(full.json()["model"]) == {"name", "digest", "numerics_id"}


MALFORMED: list[tuple[str, str, str]] = [
    ("a wrong field", '{"revision": 1, "edit": []}', "edit"),
    ("a wrong field in an edit", '{"revision": 1, "edits": [{"insrt": "x"}]}', "edits[0].insrt"),
    ("two keys in an edit", '{"revision": 1, "edits": [{"insert": "x", "delete": 1}]}', "edits[0]"),
    ("null in an edit", '{"revision": 1, "edits": [{"insert": null}]}', "edits[0]"),
    ("a missing field", '{"edits": []}', "revision"),
    ("a number as text", '{"revision": "1", "edits": []}', "revision"),
    ("a fraction", '{"revision": 1.5, "edits": []}', "revision"),
    ("true as a number", '{"revision": true, "edits": []}', "revision"),
    ("below zero", '{"revision": 1, "edits": [{"delete": -1}]}', "edits[0].delete"),
    ("text as a number", '{"revision": 1, "edits": [{"insert": 7}]}', "edits[0].insert"),
    ("half a replacement", '{"revision": 1, "edits": [{"replace": {"start": 0, "end": 1}}]}', "edits[0].replace.text"),
    ("a lone surrogate", '{"revision": 1, "edits": [{"insert": "\\ud800"}]}', "edits[0].insert"),
    (
        "a lone surrogate in a stop string",
        '{"revision": 1, "edits": [], "suggest": {"stop_strings": ["a", "\\ud800"]}}',
        "suggest.stop_strings[1]",
    ),
    ("a lone surrogate in an id", '{"revision": 1, "edits": [], "edit_id": "\\udfff"}', "edit_id"),
    ("an unknown stop", '{"revision": 1, "edits": [], "suggest": {"stop": "page"}}', "suggest.stop"),
    ("unknown units", '{"revision": 1, "edits": [], "units": "bytes"}', "units"),
    ("not JSON", '{"revision": 1', "body"),
    ("not a number of JSON", '{"revision": NaN, "edits": []}', "revision"),
    ("a key twice", '{"revision": 1, "edits": [], "revision": 2}', "body"),
    ("a key of an edit twice", '{"revision": 1, "edits": [{"insert": "a", "insert": "b"}]}', "body"),
    ("a list", "[]", "body"),
    ("nothing", "", "body"),
    ("far too deep", "[" * 100_000, "body"),
    ("a number of 5,000 digits", '{"revision": ' + "9" * 5_000 + "}", "body"),
]


@pytest.mark.parametrize(("body", "field"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
async def test_a_malformed_body_is_refused_by_name(
    client: httpx.AsyncClient, edits: str, body: str, field: str
) -> None:
    answer = await client.post(edits, content=body, headers=JSON)
    problem = refused(answer)
    assert (answer.status_code, problem.code, problem.field) == (422, "INVALID_ARGUMENT", field)


async def test_bytes_that_are_not_text_are_refused(client: httpx.AsyncClient, edits: str) -> None:
    answer = await client.post(edits, content=b'{"edits": [{"insert": "\xff"}]}', headers=JSON)
    assert (answer.status_code, refused(answer).field) == (422, "body")


async def test_a_body_that_is_not_sent_as_json_is_refused(client: httpx.AsyncClient, edits: str) -> None:
    answer = await client.post(edits, content=b'{"revision": 1, "edits": []}', headers={"content-type": "text/plain"})
    assert "application/json" in refused(answer).message


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient, chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b" " * 10_000

    answer = await client.post("/v1/sessions", content=chunks() if chunked else b" " * 2_000_000, headers=JSON)
    problem = refused(answer)
    assert (answer.status_code, problem.code, problem.field) == (413, "INVALID_ARGUMENT", "body")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "NOT_FOUND"),
        ("GET", "/v1/sessions/", 404, "NOT_FOUND"),
        ("PUT", "/v1/sessions", 405, "INVALID_ARGUMENT"),
        ("GET", "/v1/sessions/none", 404, "NOT_FOUND"),
        ("GET", "/v1/sessions/none?include=all", 422, "INVALID_ARGUMENT"),
        ("GET", "/v1/sessions/none?incldue=text", 422, "INVALID_ARGUMENT"),
        ("DELETE", "/v1/sessions/none?force=1", 422, "INVALID_ARGUMENT"),
    ],
)
async def test_the_frameworks_own_refusals_are_problems_too(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, refused(answer).code) == (status, code)


async def test_an_overloaded_server_says_when_to_retry() -> None:
    async with running(max_sessions=1) as server, httpx.AsyncClient(base_url=server.http) as client:
        await client.post("/v1/sessions", json={})
        answer = await client.post("/v1/sessions", json={})
    assert (answer.status_code, refused(answer).code) == (429, "OVERLOADED")
    assert int(answer.headers["retry-after"]) >= 1


async def test_probes_tell_alive_from_ready() -> None:
    model, port = GatedModel(closed_after=1), free_port()
    server = make_server(model, http_port=port)
    starting = asyncio.create_task(server.start())
    await asyncio.to_thread(model.waiting.wait, 10)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/livez")).status_code == 200
        warming = await client.get("/readyz")
        assert (warming.status_code, refused(warming).code) == (503, "UNAVAILABLE")
        model.gate.set()
        await starting
        assert (await client.get("/readyz")).json() == {"status": "ok"}
        server.lifecycle.drain()
        draining = await client.get("/readyz")
        assert (draining.status_code, "shutting down" in refused(draining).message) == (503, True)
    await server.stop()


async def test_the_http_port_says_where_the_metrics_are(client: httpx.AsyncClient, server: Running) -> None:
    answer = await client.get("/metrics")
    assert server.metrics in answer.text
    assert answer.text.startswith("#")  # a scraper that comes here by mistake finds a comment, not an error


async def test_the_documentation_names_every_path_and_how_problems_look(client: httpx.AsyncClient) -> None:
    assert (await client.get("/docs")).status_code == 200
    document = (await client.get("/openapi.json")).json()
    operations = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert {
        ("/v1/sessions", "post"),
        ("/v1/sessions/{id}", "get"),
        ("/v1/sessions/{id}", "delete"),
        ("/v1/sessions/{id}/edits", "post"),
        ("/livez", "get"),
        ("/readyz", "get"),
        ("/metrics", "get"),
    } <= operations
    responses = document["paths"]["/v1/sessions/{id}/edits"]["post"]["responses"]
    assert list(responses["409"]["content"]) == ["application/problem+json"]
    assert document["components"]["schemas"]["EditBody"]["maxProperties"] == 1


async def test_the_documented_examples_are_accepted(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()

    def examples(path: str) -> list[Any]:
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        return [example["value"] for example in body["examples"].values()]

    for example in examples("/v1/sessions"):
        assert (await client.post("/v1/sessions", json=example)).status_code == 201
    for example in examples("/v1/sessions/{id}/edits"):
        created = await client.post("/v1/sessions", json={"text": "import os\nfor root, dirs"})
        session = created.json()["id"]
        for revision in range(1, example["revision"]):
            await client.post(f"/v1/sessions/{session}/edits", json={"revision": revision, "edits": [{"insert": "x"}]})
        answer = await client.post(f"/v1/sessions/{session}/edits", json=example)
        if "accept" in example["edits"][0]:  # its suggestion's id stands for one that was offered
            assert refused(answer).field == "edits[0].accept.suggestion"
        else:
            assert answer.status_code == 200, example


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "evil.example:8000", ""])
async def test_a_local_server_does_not_answer_to_foreign_names(client: httpx.AsyncClient, host: str) -> None:
    answer = await client.get("/livez", headers={"host": host})
    assert (answer.status_code, refused(answer).code) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "[::1]:80", "LOCALHOST"])
async def test_a_local_server_answers_to_local_names(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get("/livez", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:1", "null", "http://127.0.0.1"])
async def test_pages_from_elsewhere_are_refused(client: httpx.AsyncClient, origin: str) -> None:
    answer = await client.post("/v1/sessions", json={}, headers={"origin": origin})
    assert (answer.status_code, refused(answer).code) == (403, "PERMISSION_DENIED")


async def test_pages_of_this_server_may_call(client: httpx.AsyncClient, server: Running) -> None:
    answer = await client.post("/v1/sessions", json={}, headers={"origin": server.http})
    assert answer.status_code == 201


async def test_pages_of_allowed_origins_may_call_and_read_the_answer() -> None:
    origin = "https://editor.example"
    async with running(allowed_origins=origin) as server, httpx.AsyncClient(base_url=server.http) as client:
        asked = {"origin": origin, "access-control-request-method": "POST"}
        preflight = await client.options("/v1/sessions", headers=asked)
        assert preflight.headers["access-control-allow-origin"] == origin
        answer = await client.post("/v1/sessions", json={}, headers={"origin": origin})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (201, origin)
        other = await client.post("/v1/sessions", json={}, headers={"origin": "https://other.example"})
        assert other.status_code == 403


_JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
_KEYS = ("revision", "edit_id", "edits", "suggest", "units", "text", "id", "model")
_EDIT_KEYS = ("insert", "delete", "replace", "cursor", "undo_to", "accept")
_NEARLY_EDITS = st.lists(st.dictionaries(st.sampled_from(_EDIT_KEYS), _JSON_VALUES, max_size=2), max_size=3)
_NEARLY_RIGHT = st.dictionaries(st.sampled_from(_KEYS), _JSON_VALUES | _NEARLY_EDITS, max_size=5)
_BODIES = st.binary(max_size=200) | st.one_of(_JSON_VALUES, _NEARLY_RIGHT).map(lambda it: json.dumps(it).encode())


async def test_no_body_whatever_makes_the_server_fail(server: Running) -> None:
    """Hypothesis is synchronous, so it runs in a thread and talks to the server as any client does."""

    def search() -> None:
        with httpx.Client(base_url=server.http) as client:
            session = client.post("/v1/sessions", json={}).json()["id"]

            @settings(max_examples=100)
            @given(body=_BODIES, path=st.sampled_from(["/v1/sessions", f"/v1/sessions/{session}/edits"]))
            def check(body: bytes, path: str) -> None:
                answer = client.post(path, content=body, headers=JSON)
                assert answer.status_code < 500, answer.text
                if answer.status_code >= 400:
                    assert refused(answer).code in ("INVALID_ARGUMENT", "NOT_FOUND", "REVISION_CONFLICT")

            check()

    await asyncio.to_thread(search)


async def test_a_bug_is_logged_with_its_request_id_and_shown_as_internal_without_detail(log: io.StringIO) -> None:
    """The facade over a domain that breaks, without a socket."""
    app = create_app(
        BrokenSessions(),  # type: ignore[arg-type]  # breaks on purpose
        tenants=TenantResolver(trust_header=False),
        lifecycle=Lifecycle(),
        observer=RequestMetrics(Metrics()),
        metrics_url="",
        host="127.0.0.1",
        allowed_origins=(),
        max_request_bytes=1000,
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answer = await client.post("/v1/sessions", json={"text": "what somebody typed"})
    problem = refused(answer)
    assert (answer.status_code, problem.code) == (500, "INTERNAL")
    assert "the cause" not in answer.text
    entries = [json.loads(line) for line in log.getvalue().splitlines()]
    (entry,) = (it for it in entries if it.get("request_id") == problem.request_id and "exception" in it)
    assert entry["level"] == "error"
    assert "RuntimeError: the cause" in entry["exception"]
    assert "what somebody typed" not in log.getvalue()


class BrokenSessions:
    max_document_bytes = 0

    async def create(self, *_: object, **__: object) -> None:
        raise RuntimeError("the cause")


async def test_the_documentation_page_needs_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.status_code == 200
    wanted = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(wanted) >= 3
    for address in wanted:
        assert address.startswith("/")
        assert (await client.get(address)).status_code == 200
