"""Scores, forks, documents, lists and whole texts over both facades: the same bits and the same refusals."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict

from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from tests.integration.callers import Caller, GrpcCaller, Refused, RestCaller, calling, refused, refused_call
from tests.integration.servers import IDENTITY, GatedModel, Running, running
from tests.unit.engine.test_scoring import naive

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "for root, dirs in os."


async def ask(caller: Caller, method: str, **asked: Any) -> dict[str, Any]:
    """Call one of the methods, spelled as REST spells it; the answer as a dictionary, spelled alike for both."""
    if isinstance(caller, RestCaller):
        return await _ask_rest(caller.client, method, asked)
    return await _ask_grpc(caller, method, asked)


async def _ask_rest(client: httpx.AsyncClient, method: str, asked: dict[str, Any]) -> dict[str, Any]:
    timeout = {"timeout": asked.pop("timeout_s")} if "timeout_s" in asked else {}
    headers = {"x-carousel-timeout-ms": str(int(timeout["timeout"] * 1000))} if timeout else {}
    session = asked.pop("session_id", "")
    match method:
        case "Score":
            if session:
                asked["session"] = session
            answer = await client.post("/v1/score", json=asked, headers=headers)
        case "ForkSession":
            answer = await client.post(f"/v1/sessions/{session}/fork", json=asked)
        case "ExportSession":
            answer = await client.get(f"/v1/sessions/{session}/export")
        case "ImportSession":
            answer = await client.post("/v1/sessions/import", content=asked.pop("document"), params=asked)
        case _:
            answer = await client.get("/v1/sessions", params=asked)
    if answer.status_code not in (200, 201):
        raise refused(answer)
    if method == "ExportSession":
        return {"document": answer.content}
    told: dict[str, Any] = answer.json()
    return told


async def _ask_grpc(caller: GrpcCaller, method: str, asked: dict[str, Any]) -> dict[str, Any]:
    timeout = asked.pop("timeout_s", None)
    if "units" in asked:
        asked["units"] = f"UNITS_{asked['units'].upper()}"
    document = asked.pop("document", None)
    request = ParseDict(asked, getattr(pb, f"{method}Request")())
    if document is not None:
        request.document = document
    try:
        answer = await getattr(caller.stub, method)(request, timeout=timeout)
    except grpc.aio.AioRpcError as error:
        raise refused_call(error) from error
    if method == "ExportSession":
        return {"document": answer.document}
    told = MessageToDict(answer, preserving_proto_field_name=True)
    told = {**told.get("session", {}), **{name: value for name, value in told.items() if name != "session"}}
    for one in (told, *told.get("sessions", ()), *told.get("surprises", ())):
        for name in ("revision", "length", "cursor", "start", "offset", "text_bytes", "written_s"):
            if name in one:
                one[name] = int(one[name])  # JSON of protobuf says them as strings
    return told


async def test_every_byte_of_a_prompt_is_as_likely_as_a_naive_loop_finds(caller: Caller) -> None:
    found = await ask(caller, "Score", text=TEXT + "é\x01", top=3, start=4)
    data = (TEXT + "é\x01").encode()
    expected = naive(data, 4, 3)
    assert np.array(found["log_probabilities"], np.float32).tobytes() == expected.log_probabilities.tobytes()
    assert [one["tokens"] for one in found["alternatives"]] == expected.top_tokens.tolist()
    told = [one["log_probabilities"] for one in found["alternatives"]]
    assert np.array(told, np.float32).tobytes() == expected.top_log_probabilities.tobytes()
    np.testing.assert_allclose(found["surprisal_bits"], expected.log_probabilities / -np.log(2), rtol=1e-5)
    assert found["bits_per_byte"] == pytest.approx(np.mean(found["surprisal_bits"]), rel=1e-5)
    assert (found["start"], found["model"]["numerics_id"]) == (4, IDENTITY.numerics_id)


async def test_the_greatest_surprise_is_told_with_what_was_expected(caller: Caller) -> None:
    found = await ask(caller, "Score", text="abc é ZQX de", surprises=2, units="utf16")
    first = found["surprises"][0]
    assert 6 <= first["offset"] < 9
    assert "ZQX".endswith(first["text"])
    assert first["length"] == len(first["text"])
    assert first["surprisal_bits"] > 10
    prefix = "abc é ZQX de"[: first["offset"]]
    greedy = await caller.create(text=prefix)
    completed = await caller.complete(greedy.id, max_bytes=32)
    assert completed.texts[0].startswith(first["expected"])
    assert 0 < first["probability"] <= 1
    assert len((await ask(caller, "Score", text=TEXT)).get("surprises", ())) <= 10


async def test_a_session_is_scored_whole_and_not_changed(caller: Caller) -> None:
    session = await caller.create(text=TEXT)
    await caller.edit(session.id, 1, [{"cursor": 3}])
    found = await ask(caller, "Score", session_id=session.id, surprises=0)
    assert (found["revision"], len(found["log_probabilities"])) == (2, len(TEXT))
    same = await ask(caller, "Score", text=TEXT)
    assert same["log_probabilities"] == found["log_probabilities"]
    assert (await caller.get(session.id)).revision == 2


@pytest.mark.parametrize(
    ("asked", "code", "field"),
    [
        ({"text": "abc", "start": 4}, "INVALID_ARGUMENT", "start"),
        ({"text": "é", "start": 1, "units": "utf8"}, "INVALID_ARGUMENT", "start"),
        ({"text": "abc", "top": 17}, "INVALID_ARGUMENT", "top"),
        ({"text": "abc", "surprises": 65}, "INVALID_ARGUMENT", "surprises"),
        ({"text": "abc" * 100_000}, "INVALID_ARGUMENT", "start"),
        ({"session_id": "nobody"}, "NOT_FOUND", None),
        ({"text": "abc", "model": "nobody"}, "NOT_FOUND", None),
        ({"session_id": "nobody", "model": "fake"}, "INVALID_ARGUMENT", "model"),
    ],
)
async def test_what_cannot_be_scored_is_refused_alike(
    caller: Caller, asked: dict[str, Any], code: str, field: str | None
) -> None:
    with pytest.raises(Refused) as error:
        await ask(caller, "Score", **asked)
    assert (error.value.code, error.value.field) == (code, field)


async def test_bytes_that_are_no_characters_are_scored_over_grpc(server: Running) -> None:
    async with calling("grpc", server) as caller:
        assert isinstance(caller, GrpcCaller)
        found = await caller.stub.Score(pb.ScoreRequest(text_bytes=b"ab\xff\xc3"))
        assert list(found.log_probabilities) == pytest.approx(naive(b"ab\xff\xc3", 0, 0).log_probabilities.tolist())
        with pytest.raises(grpc.aio.AioRpcError, match="units"):
            await caller.stub.Score(pb.ScoreRequest(text_bytes=b"ab", units=pb.UNITS_UTF16))


@pytest.mark.parametrize("facade", ["rest", "grpc"])
async def test_a_score_that_comes_too_late_is_a_deadline_and_stops(facade: Any) -> None:
    model = GatedModel()
    async with running(model) as server, calling(facade, server) as caller:
        await caller.create(text="x")
        model.gate.clear()
        scoring = asyncio.ensure_future(ask(caller, "Score", text="a" * 4000, timeout_s=0.3))
        await asyncio.to_thread(model.waiting.wait, 10)
        await asyncio.sleep(0.35)  # the deadline itself is what is waited for
        model.gate.set()
        if facade == "rest":
            with pytest.raises(Refused) as error:
                await scoring
            assert (error.value.code, error.value.status) == ("DEADLINE", 504)
        else:
            with pytest.raises((Refused, KeyError)):  # the client's own clock may be first, without details
                await scoring
        before = model.steps
        assert (await caller.create(text="y")).revision == 1
        assert model.steps - before < 200


async def test_who_leaves_is_not_scored_for(server: Running) -> None:
    model = GatedModel()
    async with running(model) as server, httpx.AsyncClient(base_url=server.http) as client:
        await client.post("/v1/sessions", json={"text": "x"})
        model.gate.clear()
        scoring = asyncio.ensure_future(client.post("/v1/score", json={"text": "a" * 4000}))
        await asyncio.to_thread(model.waiting.wait, 10)
        scoring.cancel()
        await asyncio.wait((scoring,))
        async with httpx.AsyncClient(
            base_url=server.http
        ) as other:  # the server has seen it leave when this is answered
            await other.get("/livez")
        model.gate.set()
        before = model.steps
        assert (await client.post("/v1/sessions", json={"text": "y"})).status_code == 201
        assert model.steps - before < 200


async def test_a_fork_goes_its_own_way_and_is_made_once(caller: Caller) -> None:
    session = await caller.create(text="a\U0001f600")
    await caller.edit(session.id, 1, [{"insert": "b"}])
    chosen = f"{session.id}-fork"
    forked = await ask(caller, "ForkSession", session_id=session.id, id=chosen, units="utf16")
    assert (forked["id"], forked["revision"], forked["length"], forked["cursor"]) == (chosen, 2, 4, 4)
    await caller.edit(chosen, 2, [{"undo_to": 1}])
    assert (await ask(caller, "ForkSession", session_id=session.id, id=chosen))["revision"] == 3
    assert (await caller.get(session.id)).text == "a\U0001f600b"
    earlier = await ask(caller, "ForkSession", session_id=session.id, revision=1)
    assert (await caller.get(earlier["id"])).text == "a\U0001f600"
    for asked, code in (
        ({"session_id": session.id, "id": session.id}, "REVISION_CONFLICT"),
        ({"session_id": session.id, "revision": 9}, "INVALID_ARGUMENT"),
        ({"session_id": "nobody"}, "NOT_FOUND"),
    ):
        with pytest.raises(Refused) as error:
            await ask(caller, "ForkSession", **asked)
        assert error.value.code == code


async def test_a_session_moves_to_another_server_with_its_retries_and_its_past(caller: Caller) -> None:
    session = await caller.create(text="abc")
    await caller.edit(session.id, 1, [{"insert": "d"}], edit_id="one")
    document = (await ask(caller, "ExportSession", session_id=session.id))["document"]
    assert json.loads(document)["text"] == "abcd"
    async with running() as elsewhere, calling(caller.name, elsewhere) as other:  # type: ignore[arg-type]  # one of both
        moved = await ask(other, "ImportSession", document=document)
        assert (moved["id"], moved["revision"]) == (session.id, 2)
        again = await other.edit(session.id, 1, [{"insert": "d"}], edit_id="one")
        assert again.revision == 2
        await other.edit(session.id, 2, [{"undo_to": 1}])
        assert (await other.get(session.id)).text == "abc"
        assert (await ask(other, "ImportSession", document=document))["revision"] == 3
        copy = await ask(other, "ImportSession", document=document, id="copy", model="fake")
        assert (copy["id"], copy["revision"]) == ("copy", 2)
    changed = document.replace(b"abcd", b"abce")
    with pytest.raises(Refused) as error:
        await ask(caller, "ImportSession", document=changed)
    assert (error.value.code, error.value.field) == ("INVALID_ARGUMENT", "document.digest")


async def test_a_whole_session_fits_into_an_import(caller: Caller) -> None:
    if isinstance(caller, RestCaller):
        session = await caller.create()
        put = {"revision": 1, "text": "\x01" * 1000 + "x" * 900_000}
        assert (await caller.client.put(f"/v1/sessions/{session.id}/text", json=put)).status_code == 200
        text = {"revision": 2, "text": "y" * 1_000_000}
        assert (await caller.client.put(f"/v1/sessions/{session.id}/text", json=text)).status_code == 200
    else:
        session = await caller.create(text="y" * 1_000_000)
    document = (await ask(caller, "ExportSession", session_id=session.id))["document"]
    assert len(document) > 1_000_000
    moved = await ask(caller, "ImportSession", document=document, id=f"{session.id}-moved")
    assert moved["length"] == 1_000_000
    with pytest.raises(Refused) as error:
        await ask(caller, "ImportSession", document=b" " * (4 * 1024 * 1024 + 1))
    assert error.value.code == "INVALID_ARGUMENT"


async def test_sessions_are_listed_a_part_at_a_time() -> None:
    async with running() as server:
        for facade in ("rest", "grpc"):
            async with calling(facade, server) as caller:
                for name in ("b", "a", "c"):
                    await caller.create(id=name, text="é")
                first = await ask(caller, "ListSessions", limit=2)
                assert [one["id"] for one in first["sessions"]] == ["a", "b"]
                assert first["sessions"][0]["text_bytes"] == 2
                rest = await ask(caller, "ListSessions", after=first["after"])
                assert [one["id"] for one in rest["sessions"]] == ["c"]
                assert not rest.get("after")
                with pytest.raises(Refused) as error:
                    await ask(caller, "ListSessions", limit=0)
                assert error.value.field == "limit"


async def test_a_text_is_put_as_the_smallest_edit(server: Running) -> None:
    async with calling("rest", server) as caller:
        assert isinstance(caller, RestCaller)
        session = await caller.create(text="def f(x):\n    return x\n")
        path = f"/v1/sessions/{session.id}/text"
        put = {"revision": 1, "text": "def f(y):\n    return x\n", "edit_id": "save", "suggest": {"count": 1}}
        answer = (await caller.client.put(path, json=put)).json()
        assert (answer["revision"], answer["cursor"]) == (2, 7)
        assert len(answer["suggestions"]) == 1
        assert (await caller.client.put(path, json=put)).json()["revision"] == 2
        same = {"revision": 2, "text": "def f(y):\n    return x\n", "cursor": 7}
        assert (await caller.client.put(path, json=same)).json()["revision"] == 2
        for body, status, field in (
            ({"revision": 1, "text": "z"}, 409, None),
            ({"revision": 2, "text": "z", "cursor": 2}, 422, "cursor"),
            ({"revision": 2}, 422, "text"),
            ({"revision": 2, "text": "z", "more": 1}, 422, "more"),
        ):
            refusal = await caller.client.put(path, json=body)
            assert (refusal.status_code, refusal.json().get("field")) == (status, field)


async def test_a_prompt_is_completed_over_rest_as_over_grpc(server: Running) -> None:
    asked = {"prompt": TEXT, "max_bytes": 20, "temperature": 1.0, "count": 2, "seed": 3, "top": 2}
    async with calling("rest", server) as rest, calling("grpc", server) as grpc_:
        assert isinstance(rest, RestCaller)
        assert isinstance(grpc_, GrpcCaller)
        answer = (await rest.client.post("/v1/complete", json=asked)).json()
        said = await grpc_.complete_request(asked)
        assert tuple(one["text"] for one in answer["completions"]) == said.texts
        for one in answer["completions"]:
            data = TEXT.encode() + one["text"].encode()
            expected = naive(data, len(TEXT), 2)
            assert np.array(one["log_probabilities"], np.float32).tobytes() == expected.log_probabilities.tobytes()
            assert [other["tokens"] for other in one["alternatives"]] == expected.top_tokens.tolist()
        likely: dict[int, list[float]] = {}
        async for response in grpc_.stub.Complete(ParseDict(asked, pb.CompleteRequest())):
            likely.setdefault(response.index, []).extend(response.log_probabilities)
            assert len(response.alternatives) == len(response.log_probabilities) == len(response.text.encode())
        assert [likely[index] for index in (0, 1)] == [one["log_probabilities"] for one in answer["completions"]]


@pytest.mark.parametrize("path", ["/v1/complete", "/v1/sessions/{id}/complete"])
async def test_a_stream_with_a_seed_of_the_servers_goes_on_behind_any_of_its_events(server: Running, path: str) -> None:
    async with calling("rest", server) as caller:
        assert isinstance(caller, RestCaller)
        asked: dict[str, Any] = {"max_bytes": 90, "temperature": 1.5, "count": 2, "top": 1, "logit_bias": {"255": -100}}
        if "{id}" in path:
            path = path.format(id=(await caller.create(text=TEXT + "é")).id)
        else:
            asked["prompt"] = TEXT + "é"
        headers = {"accept": "text/event-stream"}
        events = _events(await caller.client.post(path, json=asked, headers=headers))
        whole = _joined(event for _, event in events)
        for number in range(0, len(events), max(len(events) // 4, 1)):
            resumed = _events(
                await caller.client.post(path, json=asked, headers={**headers, "last-event-id": events[number][0]})
            )
            before = _joined(event for _, event in events[: number + 1])
            after = _joined(event for _, event in resumed)
            assert {index: _add(before.get(index), after.get(index)) for index in whole} == whole


Joined = dict[int, tuple[str, list[float]]]


def _events(answer: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    assert answer.status_code == 200, answer.text
    events = []
    for block in answer.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        events.append((fields["id"], json.loads(fields["data"])))
    return events


def _joined(events: Any) -> Joined:
    joined: Joined = {}
    for event in events:
        joined[event["index"]] = _add(joined.get(event["index"]), (event["text"], event["log_probabilities"]))
    return joined


def _add(one: tuple[str, list[float]] | None, other: tuple[str, list[float]] | None) -> tuple[str, list[float]]:
    one, other = one or ("", []), other or ("", [])
    return one[0] + other[0], one[1] + other[1]


@pytest.mark.parametrize("value", ["0", "-1", "soon", "1.5", "86400001"])
async def test_a_time_that_cannot_be_is_refused_with_its_header(server: Running, value: str) -> None:
    async with httpx.AsyncClient(base_url=server.http) as client:
        answer = await client.post("/v1/sessions", json={}, headers={"x-carousel-timeout-ms": value})
        assert (answer.status_code, answer.json()["field"]) == (422, "x-carousel-timeout-ms")


async def test_suggestions_that_come_too_late_are_left_out_over_rest() -> None:
    model = GatedModel()
    async with running(model) as server, httpx.AsyncClient(base_url=server.http) as client:
        session = (await client.post("/v1/sessions", json={"text": "x"})).json()["id"]
        model.gate.clear()
        body = {"revision": 1, "edits": [{"insert": "yz"}], "suggest": {"count": 1}}
        headers = {"x-carousel-timeout-ms": "200"}
        editing = asyncio.ensure_future(client.post(f"/v1/sessions/{session}/edits", json=body, headers=headers))
        await asyncio.to_thread(model.waiting.wait, 10)
        await asyncio.sleep(0.25)  # the deadline itself is what is waited for
        model.gate.set()
        answer = (await editing).json()
        assert (answer["revision"], answer["suggestions"], answer["finish_reason"]) == (2, [], "deadline")


async def test_forks_and_imports_outlive_a_restart_with_their_past(tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'sessions.sqlite'}"
    async with running(store=store) as server, calling("grpc", server) as caller:
        await caller.create(id="source", text="ab")
        await caller.edit("source", 1, [{"insert": "c"}], edit_id="one")
        await ask(caller, "ForkSession", session_id="source", id="fork")
        document = (await ask(caller, "ExportSession", session_id="source"))["document"]
        await ask(caller, "ImportSession", document=document, id="import")
        await caller.edit("import", 2, [{"insert": "d"}])
    async with running(store=store) as server, calling("rest", server) as caller:
        for name, revision, text in (("fork", 2, "abc"), ("import", 3, "abcd")):
            found = await caller.get(name)
            assert (found.revision, found.text) == (revision, text)
            await caller.edit(name, revision, [{"undo_to": 1}])
            assert (await caller.get(name)).text == "ab"
        assert (await caller.edit("import", 1, [{"insert": "c"}], edit_id="one")).revision == 2
        assert (await ask(caller, "ForkSession", session_id="source", id="fork"))["revision"] == 3
        assert (await ask(caller, "ImportSession", document=document, id="import"))["revision"] == 4
