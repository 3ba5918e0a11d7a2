"""`Type` over a real WebSocket: what it shares with gRPC's, and what only a WebSocket has."""

from __future__ import annotations

import asyncio
import json
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.typing import Origin
from websockets.uri import parse_uri

from tests.integration.servers import GatedModel, Running, running
from tests.integration.sockets import Talk, address, events_in, talking
from tests.integration.test_process import Process, process

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_pipelined_edits_are_acknowledged_in_order(server: Running) -> None:
    async with talking(server) as talk:
        for letter in "hello":
            await talk.type(letter)
        events = await talk.read_all(5)
        assert [kind for kind, _ in events] == ["acknowledged"] * 5
        assert [event["edit_id"] for _, event in events] == ["e1", "e2", "e3", "e4", "e5"]
        assert [event["session"]["revision"] for _, event in events] == [2, 3, 4, 5, 6]
        assert await talk.text() == "hello"


async def test_events_have_the_keys_of_rest(server: Running) -> None:
    async with talking(server) as talk:
        await talk.type("import os", suggest=True)
        (_, acknowledged), (_, suggested) = await talk.read_all(2)
        path, edit = f"/v1/sessions/{talk.session}/edits", {"revision": 2, "edits": [{"insert": "."}]}
        edited = (await talk.http.post(path, json=edit)).json()
        assert set(acknowledged) == {"edit_id", "session"}
        assert acknowledged["session"] == {**edited, "revision": 2, "length": 9, "cursor": 9}
        assert (
            {"edit_id", "revision", "suggestions"}
            <= set(suggested)
            <= {
                "edit_id",
                "revision",
                "suggestions",
                "acknowledged",
            }
        )
        assert set(suggested["suggestions"][0]) == {"id", "text", "probability", "finish_reason"}


async def test_suggestions_are_those_of_rest(server: Running) -> None:
    async with talking(server) as talk:
        await talk.type("import os", suggest=True)
        suggested = (await talk.read_all(2))[1][1]
        fresh = await talk.http.post("/v1/sessions", json={"text": "import os", "suggest": {"count": 2}})

        def bits(suggestions: list[dict[str, Any]]) -> list[tuple[str, float]]:
            return [(one["text"], one["probability"]) for one in suggestions]

        assert bits(suggested["suggestions"]) == bits(fresh.json()["suggestions"])


async def test_a_rejected_edit_leaves_the_stream_open_and_its_dependents_are_rejected_too(server: Running) -> None:
    async with talking(server, "ab") as talk:
        await talk.type("c")
        await talk.type("x", revision=7)
        await talk.type("y")  # based on what the rejected edit would have made
        await talk.type("d", revision=2)
        events = await talk.read_all(4)
        assert [kind for kind, _ in events] == ["acknowledged", "rejected", "rejected", "acknowledged"]
        for number, (_, rejected) in zip((2, 3), events[1:3], strict=True):
            assert rejected["edit_id"] == f"e{number}"
            assert (rejected["error"]["code"], rejected["error"]["revision"]) == ("REVISION_CONFLICT", 2)
        assert await talk.text() == "abcd"


async def test_what_was_sent_behind_a_rejected_edit_builds_on_nothing_that_somebody_else_has_made(
    server: Running,
) -> None:
    async with talking(server, "ab") as talk:
        url = f"{server.http}/v1/sessions/{talk.session}/edits"
        (await talk.http.post(url, json={"revision": 1, "edits": [{"insert": "X"}]})).raise_for_status()
        for number, (revision, after) in enumerate([(1, None), (2, "e0"), (3, "e1"), (2, None)]):
            message = {"revision": revision, "edit_id": f"e{number}", "edits": [{"insert": "y"}]}
            await talk.send(message if after is None else {**message, "after": after})
        events = await talk.read_all(4)
        assert [kind for kind, _ in events] == ["rejected"] * 3 + ["acknowledged"]
        assert {rejected["error"]["revision"] for _, rejected in events[:3]} == {2}
        assert await talk.text() == "abXy"


MALFORMED: list[tuple[str, str | bytes, str, str | None]] = [
    ("not JSON", "hello", "message", None),
    ("nothing", "", "message", None),
    ("a list", "[]", "message", None),
    ("far too deep", "[" * 100_000, "message", None),
    ("a number of 5,000 digits", '{"revision": ' + "9" * 5_000 + "}", "message", None),
    ("a key twice", '{"revision": 1, "revision": 1, "edits": []}', "message", None),
    ("a lone surrogate", '{"revision": 1, "edit_id": "a", "edits": [{"insert": "\\ud800"}]}', "edits[0].insert", "a"),
    ("a lone surrogate as id", '{"revision": 1, "edit_id": "\\ud800", "edits": []}', "edit_id", None),
    ("binary", b'{"revision": 1, "edits": []}', "message", None),
    ("over the limit", json.dumps({"revision": 1, "edits": [{"insert": "x" * (1 << 20)}]}), "message", None),
    ("over the limit in bytes alone", '{"x": "' + "é" * (1 << 19) + '"}', "message", None),
    ("a wrong field", '{"revision": 1, "edit_id": "b", "edit": []}', "edit", "b"),
    ("a session", '{"session": "x", "revision": 1, "edits": []}', "session", None),
    ("a missing field", '{"edit_id": "c"}', "revision", "c"),
    ("an id that is a number", '{"revision": 1, "edits": [], "edit_id": 7}', "edit_id", None),
    ("two keys in an edit", '{"revision": 1, "edits": [{"insert": "x", "delete": 1}]}', "edits[0]", None),
    ("out of range", '{"revision": 1, "edit_id": "d", "edits": [{"delete": 3}]}', "edits[0].delete", "d"),
    ("unknown units", '{"revision": 1, "edits": [], "units": "bytes"}', "units", None),
]


@pytest.mark.parametrize(
    ("message", "field", "edit_id"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED]
)
async def test_a_bad_message_is_rejected_by_name_and_the_stream_stays_open(
    server: Running, message: str | bytes, field: str, edit_id: str | None
) -> None:
    async with talking(server) as talk:
        await talk.send(message)
        kind, rejected = await talk.read()
        assert (kind, rejected.get("edit_id")) == ("rejected", edit_id)
        error = rejected["error"]
        assert (error["status"], error["code"], error["field"]) == (422, "INVALID_ARGUMENT", field)
        assert talk.socket.response is not None
        assert error["request_id"] == talk.socket.response.headers["x-request-id"]
        await talk.type("still open")
        assert (await talk.read())[0] == "acknowledged"


async def test_a_message_far_over_the_limit_ends_the_connection(server: Running) -> None:
    async with talking(server) as talk:
        await talk.send(" " * (3 << 20))
        assert await talk.close_code() == 1009


async def test_text_that_is_not_utf_8_ends_the_connection(server: Running) -> None:
    async with talking(server) as talk:
        await talk.socket.send(b'"\xff"', text=True)
        assert await talk.close_code() == 1007


async def test_a_browser_names_its_units_once(server: Running) -> None:
    async with talking(server, "🎠", query="?units=utf16") as talk:
        await talk.send({"revision": 1, "edits": [{"cursor": 2}, {"insert": "🎠"}]})
        assert (await talk.read())[1]["session"]["length"] == 4
        await talk.send({"revision": 2, "edits": [{"insert": "!"}], "units": "codepoint"})
        assert (await talk.read())[1]["session"]["length"] == 3


async def test_an_edit_without_an_id_is_given_one(server: Running) -> None:
    async with talking(server) as talk:
        await talk.send({"revision": 1, "edits": [{"insert": "a"}]})
        assert (await talk.read())[1]["edit_id"]


async def test_what_a_session_is_comes_first_so_that_a_caller_who_comes_back_can_go_on(server: Running) -> None:
    async with talking(server) as talk:
        await talk.type("a")
        await talk.read()
        async with connect(address(server, talk.session)) as again:
            opened = json.loads(await again.recv())["opened"]["session"]
            assert (opened["revision"], opened["length"]) == (2, 1)


async def test_a_session_that_is_not_there_is_told_in_a_way_that_a_browser_can_read(server: Running) -> None:
    async with httpx.AsyncClient() as http, connect(address(server, "none")) as socket_:
        talk = Talk(http, "none", socket_)
        kind, rejected = await talk.read()
        assert (kind, rejected["error"]["code"]) == ("rejected", "NOT_FOUND")
        assert await talk.close_code() == 4404


async def test_a_session_that_is_deleted_meanwhile_rejects_and_does_not_end_the_stream(server: Running) -> None:
    async with talking(server) as talk:
        await talk.http.delete(f"/v1/sessions/{talk.session}")
        for _ in range(2):
            await talk.type("x", revision=1)
            kind, rejected = await talk.read()
            assert (kind, rejected["error"]["code"]) == ("rejected", "NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "options", "status", "code"),
    [
        ("/v1/sessions/x/type", {"origin": "https://evil.example"}, 403, "PERMISSION_DENIED"),
        ("/v1/sessions/x/type", {"origin": "null"}, 403, "PERMISSION_DENIED"),
        ("/v1/sessions/x/type", {"origin": "http://localhost:1"}, 403, "PERMISSION_DENIED"),
        ("/v1/sessions/x/type?unit=utf8", {}, 422, "INVALID_ARGUMENT"),
        ("/v1/sessions/x/type?units=bytes", {}, 422, "INVALID_ARGUMENT"),
        ("/v1/sessions/x", {}, 404, "NOT_FOUND"),
        ("/nothing", {}, 404, "NOT_FOUND"),
        ("/docs", {"origin": "https://evil.example"}, 403, "PERMISSION_DENIED"),
    ],
)
async def test_a_handshake_is_refused_with_a_problem(
    server: Running, path: str, options: dict[str, Any], status: int, code: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(server.http.replace("http", "ws", 1) + path, **options)
    answer = refused.value.response
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(bytes(answer.body or b""))
    assert (problem["code"], problem["request_id"]) == (code, answer.headers["x-request-id"])


async def test_a_handshake_under_a_foreign_name_is_refused(server: Running) -> None:
    """As after DNS rebinding: the page's own name, pointed at this machine."""
    port = server.addresses.http_port
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://evil.example:{port}/v1/sessions/x/type", host="127.0.0.1", port=port)
    assert refused.value.response.status_code == 403


async def test_pages_of_this_server_and_of_allowed_origins_may_connect(server: Running) -> None:
    async with talking(server, origin=server.http) as talk:
        await talk.type("x")
        assert (await talk.read())[0] == "acknowledged"
    origin = "https://editor.example"
    async with running(allowed_origins=origin) as other:
        async with talking(other, origin=origin) as talk:
            await talk.type("x")
            assert (await talk.read())[0] == "acknowledged"
        with pytest.raises(InvalidStatus):
            await connect(address(other, "x"), origin=Origin("https://other.example"))


async def test_a_trusted_gateway_names_the_tenant_at_the_handshake() -> None:
    async with running(trust_tenant_header=True) as server, httpx.AsyncClient(base_url=server.http) as http:
        blue = {"x-carousel-tenant": "blue"}
        session = (await http.post("/v1/sessions", json={}, headers=blue)).json()["id"]
        async with connect(address(server, session), additional_headers=blue) as mine:
            assert "opened" in json.loads(await mine.recv())
        async with connect(address(server, session), additional_headers={"x-carousel-tenant": "green"}) as other:
            assert json.loads(await other.recv())["rejected"]["error"]["code"] == "NOT_FOUND"
        with pytest.raises(InvalidStatus) as refused:
            await connect(address(server, session), additional_headers={"x-carousel-tenant": "no/such/name"})
        assert refused.value.response.status_code == 422


async def test_the_subprotocol_is_chosen_if_it_is_offered_and_not_needed(server: Running) -> None:
    async with talking(server, subprotocols=["other", "carousel.v1"]) as talk:
        assert talk.socket.subprotocol == "carousel.v1"
    async with talking(server, subprotocols=["other"]) as talk:
        assert talk.socket.subprotocol is None


async def test_without_a_websocket_the_path_says_what_it_speaks(server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.http) as http:
        answer = await http.get("/v1/sessions/any/type")
        assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
        assert answer.json()["code"] == "INVALID_ARGUMENT"
        document = (await http.get("/openapi.json")).json()
    described = document["paths"]["/v1/sessions/{id}/type"]["get"]
    assert set(described["responses"]) >= {"101", "426"}
    assert set(document["components"]["schemas"]["TypeEvent"]["properties"]) == {
        "opened",
        "acknowledged",
        "suggested",
        "rejected",
        "ended",
    }


async def test_edits_that_arrived_before_the_close_are_committed(server: Running) -> None:
    async with talking(server) as talk:
        for letter in "abc":
            await talk.type(letter, suggest=True)
        await talk.socket.close()
        assert await talk.text() == "abc"


async def test_a_connection_that_breaks_leaves_its_edits_and_the_server_whole(server: Running) -> None:
    async with talking(server) as talk:
        await talk.type("kept", suggest=True)
        assert (await talk.read())[0] == "acknowledged"
        talk.socket.transport.abort()
        assert await talk.text() == "kept"


async def test_acknowledgements_come_while_the_model_is_busy_and_overtaken_suggestions_are_dropped() -> None:
    model = GatedModel()
    async with running(model) as server, talking(server) as talk:
        model.gate.clear()
        await talk.type("a", suggest=True)
        kind, acknowledged = await talk.read()
        assert (kind, acknowledged["session"]["revision"]) == ("acknowledged", 2)
        await asyncio.to_thread(model.waiting.wait, 10)
        newest = await talk.type("b", suggest=True)
        assert (await talk.read())[0] == "acknowledged"
        model.gate.set()
        kind, suggested = await talk.read()
        assert (kind, suggested["edit_id"], suggested["revision"]) == ("suggested", newest, 3)


async def test_a_caller_is_told_where_to_go_on_when_the_server_ends() -> None:
    model = GatedModel()
    async with running(model) as server, talking(server) as talk:
        model.gate.clear()
        await talk.type("a", suggest=True)
        assert (await talk.read())[0] == "acknowledged"
        stopping = asyncio.create_task(server.server.stop())
        await server.server.lifecycle.wait_draining()
        model.gate.set()
        assert (await talk.read())[0] == "suggested"
        kind, ended = await talk.read()
        assert (kind, ended["revision"], ended["error"]["code"]) == ("ended", 2, "UNAVAILABLE")
        assert await talk.close_code() == 1012
        await stopping


async def test_a_conversation_that_comes_to_its_age_is_told_where_to_go_on() -> None:
    async with running(max_stream_age="0.1") as server, talking(server) as talk:
        await talk.type("a")
        assert (await talk.read())[0] == "acknowledged"
        kind, ended = await talk.read()
        assert (kind, ended["revision"], ended["error"]["code"]) == ("ended", 2, "UNAVAILABLE")
        assert "come to its age" in ended["error"]["detail"]
        assert await talk.close_code() == 1012


async def test_edits_and_refused_handshakes_are_counted(server: Running) -> None:
    async with talking(server) as talk, httpx.AsyncClient() as http:
        await talk.type("x")
        await talk.read()
        counted = (await http.get(server.metrics)).text
    assert 'carousel_requests_total{code="OK",facade="websocket",operation="Type"}' in counted


# What follows speaks to a process of its own, over a socket of which the test alone decides when it is read.


@contextmanager
def server_process(*flags: str) -> Iterator[tuple[Process, int]]:
    with process("log_format=json", *flags) as server:
        yield server, int(json.loads(server.lines[-1])["http_port"])


def resident_bytes(server: Process) -> int:
    return int(Path(f"/proc/{server.popen.pid}/statm").read_text().split()[1]) * 4096


class UnreadSocket:
    """A WebSocket whose peer reads only when told to, with a receive buffer that is soon full."""

    def __init__(self, port: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
            self.session = http.post("/v1/sessions", json={}).json()["id"]
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(1.0)
        self._protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}/v1/sessions/{self.session}/type"))
        self._protocol.send_request(self._protocol.connect())
        self.frames: list[Frame] = []
        self._unsent = b""
        assert self.flush()
        while not self.frames:
            self.read_some()

    def send(self, *frames: Frame) -> bool:
        """False if the server does not take them; the rest goes out with the next `flush`."""
        for frame in frames:
            self._protocol.send_frame(frame)
        return self.flush()

    def flush(self) -> bool:
        data = memoryview(self._unsent + b"".join(self._protocol.data_to_send()))
        try:
            while data:
                data = data[self._socket.send(data) :]
        except TimeoutError:
            return False
        finally:
            self._unsent = bytes(data)
        return True

    def read_some(self) -> bool:
        """False at the end."""
        data = self._socket.recv(1 << 20)
        self._protocol.receive_data(data) if data else self._protocol.receive_eof()
        self.frames += [it for it in self._protocol.events_received() if isinstance(it, Frame)]
        return bool(data)

    def begin_to_read(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.settimeout(20.0)

    def may_send(self) -> bool:
        return bool(select.select((), (self._socket,), (), 0)[1])

    def close(self) -> None:
        self._socket.close()


def _asking(number: int) -> bytes:
    """A request that changes nothing, so that all the memory it costs is that of its answer; padded, as is its id."""
    edit = {"revision": 1, "edit_id": f"{number:0120}", "edits": [], "suggest": {"count": 1}}
    return (json.dumps(edit) + " " * 3000).encode()


async def test_a_caller_who_does_not_read_gets_every_acknowledgement_and_the_newest_suggestions_at_no_cost() -> None:
    """Once some answers wait, nothing more of it is read; what it sends waits at its own side then."""
    with server_process() as (server, port):
        caller = UnreadSocket(port)
        before = resident_bytes(server)
        sent = 0
        while caller.send(Frame(Opcode.TEXT, _asking(sent))) and sent < 30_000:
            sent += 1
        assert sent < 30_000, "everything was taken"
        assert resident_bytes(server) - before < 2 << 20
        caller.begin_to_read()
        acknowledged: list[int] = []
        suggested: list[int] = []
        while not suggested or suggested[-1] < sent:
            if caller.may_send():
                caller.flush()
            assert caller.read_some()
            for frame in caller.frames:
                for kind, event in events_in(json.loads(bytes(frame.data))) if frame.opcode is Opcode.TEXT else ():
                    if kind != "opened":
                        (acknowledged if kind == "acknowledged" else suggested).append(int(event["edit_id"]))
            caller.frames.clear()
        assert acknowledged == list(range(sent + 1))
        assert suggested == sorted(suggested)
        caller.close()


async def test_pings_of_a_caller_who_does_not_read_cost_nothing_and_the_newest_is_answered() -> None:
    with server_process() as (server, port):
        caller = UnreadSocket(port)
        before = resident_bytes(server)
        for number in range(50_000):
            assert caller.send(Frame(Opcode.PING, b"%0100d" % number)), "pings are always read"
        assert resident_bytes(server) - before < 4 << 20
        caller.begin_to_read()
        while not (caller.frames and bytes(caller.frames[-1].data) == b"%0100d" % 49_999):
            assert caller.read_some()
        caller.close()


async def test_a_message_of_endless_empty_fragments_ends_the_connection() -> None:
    with server_process() as (_, port):
        caller = UnreadSocket(port)
        fragments = [Frame(Opcode.TEXT, b"", fin=False)] + [Frame(Opcode.CONT, b"", fin=False)] * 1100
        assert caller.send(*fragments)
        while caller.frames[-1].opcode is not Opcode.CLOSE:
            assert caller.read_some()
        assert int.from_bytes(bytes(caller.frames[-1].data)[:2], "big") == 1009
        caller.close()


async def test_a_signal_ends_a_process_whose_callers_do_not_answer_the_close() -> None:
    with server_process() as (server, port):
        caller = UnreadSocket(port)
        assert server.end() == 0
        while caller.read_some():
            pass
        events = [json.loads(bytes(frame.data)) for frame in caller.frames if frame.opcode is Opcode.TEXT]
        assert [next(iter(event)) for event in events] == ["opened", "ended"]
        assert int.from_bytes(bytes(caller.frames[-1].data)[:2], "big") == 1012
        caller.close()


@pytest.mark.slow
async def test_a_caller_who_never_reads_does_not_outlast_the_grace() -> None:
    with server_process("grace_s=1") as (server, port):
        caller = UnreadSocket(port)
        number = 0
        while caller.send(Frame(Opcode.TEXT, _asking(number))) and number < 30_000:
            number += 1
        assert server.end() == 0
        log = "".join(server.lines)
        assert "a conversation was cut off" in log
        assert "Traceback" not in log
        caller.close()
