"""`Complete` over both facades: the same text from either, every refusal, and an end whenever the caller wants one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from numpy.typing import NDArray

from service.engine.ports import States, StepResult
from service.engine.requests import CompleteSpec, SamplingSpec
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteStub
from tests.integration.callers import Caller, GrpcCaller, Refused, calling, refused
from tests.integration.servers import IDENTITY, GatedModel, Running, running
from tests.unit.engine.test_completing import naive

if TYPE_CHECKING:  # a class for type checkers alone
    from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "for root, dirs in os."
ENDLESS = {"255": -100}  # the end of the text is biased away
SSE = {"accept": "text/event-stream"}


@pytest.mark.parametrize(
    ("asked", "spec"),
    [
        ({}, CompleteSpec()),
        ({"max_bytes": 33, "stop": ["a"]}, CompleteSpec(33, (b"a",))),
        (
            {"max_bytes": 40, "temperature": 1.5, "top_k": 9, "top_p": 0.9, "min_p": 0.01, "seed": 12},
            CompleteSpec(40, (), SamplingSpec(1.5, 9, 0.9, 0.01, seed=12)),
        ),
        (
            {"max_bytes": 9, "repetition_penalty": 1.5, "logit_bias": {"97": 2.5, "255": -100.0}},
            CompleteSpec(9, (), SamplingSpec(repetition_penalty=1.5, logit_bias=((97, 2.5), (255, -100.0)))),
        ),
    ],
    ids=["greedy", "stop", "sampled", "shifted"],
)
async def test_both_facades_say_what_a_naive_loop_says(
    caller: Caller, asked: dict[str, Any], spec: CompleteSpec
) -> None:
    session = await caller.create(text=TEXT + "x")
    await caller.edit(session.id, 1, [{"delete": 1}])
    shown = await caller.complete(session.id, **asked)
    text, reason = naive(TEXT.encode(), spec)
    assert (shown.texts, shown.finish_reasons) == ((text.decode(),), (reason,))
    assert (shown.revision, shown.model) == (2, (IDENTITY.name, IDENTITY.digest, IDENTITY.numerics_id))
    after = await caller.get(session.id)
    assert (after.revision, after.text) == (2, TEXT)


async def test_it_goes_on_from_the_cursor(caller: Caller) -> None:
    session = await caller.create(text="abc def")
    await caller.edit(session.id, 1, [{"cursor": 3}])
    shown = await caller.complete(session.id, max_bytes=20)
    assert shown.texts[0].encode() == naive(b"abc", CompleteSpec(20))[0]


async def test_a_seed_that_was_told_gives_the_same_completions_again(caller: Caller) -> None:
    session = await caller.create(text=TEXT)
    asked = {"count": 3, "max_bytes": 30, "temperature": 2.0, "logit_bias": ENDLESS}
    first = await caller.complete(session.id, **asked)
    assert len(set(first.texts)) == 3
    assert (await caller.complete(session.id, **asked, seed=first.seed)).texts == first.texts
    assert (await caller.complete(session.id, **asked)).texts != first.texts


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("no bytes", {"max_bytes": 0}, "max_bytes"),
    ("too many bytes", {"max_bytes": 4097}, "max_bytes"),
    ("too many", {"count": 17}, "count"),
    ("too hot", {"temperature": 5.5}, "temperature"),
    ("below zero", {"temperature": -1.0}, "temperature"),
    ("top-k", {"top_k": 257}, "top_k"),
    ("top-p", {"top_p": 0.0}, "top_p"),
    ("min-p", {"min_p": 1.5}, "min_p"),
    ("penalty", {"repetition_penalty": 0.5}, "repetition_penalty"),
    ("bias of no byte", {"logit_bias": {"256": 1.0}}, "logit_bias.256"),
    ("too much bias", {"logit_bias": {"10": 101.0}}, "logit_bias.10"),
    ("too many stops", {"stop": ["a"] * 5}, "stop"),
    ("an empty stop", {"stop": [""]}, "stop[0]"),
]


@pytest.mark.parametrize(("bad", "field"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
async def test_what_is_out_of_range_is_refused_by_name(caller: Caller, bad: dict[str, Any], field: str) -> None:
    session = await caller.create(text="a")
    with pytest.raises(Refused) as refusal:
        await caller.complete(session.id, **bad)
    assert (refusal.value.code, refusal.value.field) == ("INVALID_ARGUMENT", field)


async def test_an_unknown_session_is_not_found(caller: Caller) -> None:
    with pytest.raises(Refused) as refusal:
        await caller.complete("none")
    assert refusal.value.code == "NOT_FOUND"
    assert refusal.value.status in (404, grpc.StatusCode.NOT_FOUND)


@pytest.mark.parametrize("facade", ["rest", "grpc"])
async def test_a_full_engine_refuses(facade: Any) -> None:
    async with running(max_queued=3) as server, calling(facade, server) as caller:
        session = await caller.create(text="a")
        with pytest.raises(Refused) as refusal:
            await caller.complete(session.id, count=9)
        assert refusal.value.code == "OVERLOADED"
        assert (await caller.complete(session.id, max_bytes=5)).texts


class CountedModel(GatedModel):
    """A GatedModel whose gate can be told to close at a step to come; steps after the warm-up are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.close_at: int | None = None

    def step(self, tokens: NDArray[Any], states: States, *, all_probabilities: bool = False) -> StepResult:
        if self.close_at is not None and len(self.calls) >= self.close_at:
            self.gate.clear()
            self.close_at = None
        return super().step(tokens, states, all_probabilities=all_probabilities)


@asynccontextmanager
async def held_half_way(**flags: Any) -> AsyncIterator[tuple[CountedModel, Running]]:
    """A server whose model will stand still some steps into the next completion."""
    model = CountedModel()
    async with running(model, **flags) as server:
        yield model, server
        model.gate.set()


async def until_still(model: CountedModel) -> None:
    """Wait until the engine stands at the gate."""
    assert await asyncio.to_thread(model.waiting.wait, 30)


async def until_idle(model: CountedModel, server: Running) -> int:
    """Open the gate, and go through the engine once; how often the model was run meanwhile, for that request too."""
    before = len(model.calls)
    model.gate.set()
    async with calling("grpc", server) as caller:
        await caller.create(text="\u00e9", suggest={"count": 1, "max_bytes": 1})
    return len(model.calls) - before


async def test_a_grpc_caller_who_cancels_stops_the_work() -> None:
    async with held_half_way() as (model, server), grpc.aio.insecure_channel(server.grpc) as channel:
        stub: AutocompleteAsyncStub = AutocompleteStub(channel)
        model.close_at = len(model.calls) + 40
        call = stub.Complete(pb.CompleteRequest(prompt="ab", max_bytes=4096, logit_bias={255: -100}))
        assert isinstance(await call.read(), pb.CompleteResponse)
        await until_still(model)
        call.cancel()
        await gone(server)
        assert await until_idle(model, server) <= 10


@pytest.mark.parametrize("headers", [{}, SSE], ids=["json", "events"])
async def test_a_rest_caller_who_goes_away_stops_the_work(headers: dict[str, str]) -> None:
    async with held_half_way() as (model, server):
        async with httpx.AsyncClient(base_url=server.http) as client:
            session = (await client.post("/v1/sessions", json={"text": "ab"})).json()["id"]
            model.close_at = len(model.calls) + 40
            body = {"max_bytes": 4096, "logit_bias": ENDLESS}
            asked = asyncio.create_task(client.post(f"/v1/sessions/{session}/complete", json=body, headers=headers))
            await until_still(model)
            asked.cancel()
            await asyncio.wait([asked])
        await gone(server)
        assert await until_idle(model, server) <= 10


async def gone(server: Running) -> None:
    """Wait until the server has noticed that nobody is there any more: nothing is in flight."""
    assert await server.server.lifecycle.wait_idle(30)


async def test_at_the_callers_deadline_the_text_is_as_far_as_it_came(server: Running) -> None:
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub: AutocompleteAsyncStub = AutocompleteStub(channel)
        request = pb.CompleteRequest(  # seconds of work, most of it Python's
            prompt="ab", max_bytes=4096, count=16, temperature=1.0, top_p=0.9, seed=3, logit_bias={255: -100}
        )
        call = stub.Complete(request, timeout=0.5)
        text, ends = "", []
        try:
            while isinstance(response := await call.read(), pb.CompleteResponse):
                text += response.text if response.index == 0 else ""
                ends.append(response.finish_reason)
        except grpc.aio.AioRpcError as error:
            late = error.code()  # a machine that pauses: the last messages were on their way
        else:
            late = grpc.StatusCode.DEADLINE_EXCEEDED
            assert ends.count(pb.FINISH_REASON_DEADLINE) == 16
        assert late is grpc.StatusCode.DEADLINE_EXCEEDED
        sampling = SamplingSpec(1.0, top_p=0.9, seed=3, logit_bias=((255, -100.0),))
        assert naive(b"ab", CompleteSpec(len(text.encode()) + 4, sampling=sampling))[0].startswith(text.encode())


async def test_a_newer_edit_supersedes_a_completion_of_the_session() -> None:
    async with held_half_way() as (model, server), calling("grpc", server) as caller:
        session = await caller.create(text="ab")
        model.close_at = len(model.calls) + 40
        completing = asyncio.create_task(caller.complete(session.id, max_bytes=4096, logit_bias=ENDLESS))
        await until_still(model)
        editing = asyncio.create_task(caller.edit(session.id, 1, [{"insert": "c"}], suggest={"count": 1}))
        await asyncio.sleep(0)
        while server.server.lifecycle.ready and not editing.done() and not completing.done():
            model.gate.set()
            await asyncio.wait([editing, completing], return_when=asyncio.FIRST_COMPLETED)
        shown = await completing
        assert shown.finish_reasons == ("superseded",)
        assert len(shown.texts[0]) >= 20
        assert (await editing).suggestions


async def test_grpc_completes_a_prompt_without_a_session_and_tells_it_in_pieces(server: Running) -> None:
    async with calling("grpc", server) as caller:
        assert isinstance(caller, GrpcCaller)
        asked = {"prompt": TEXT, "max_bytes": 300, "logit_bias": ENDLESS}
        shown = await caller.complete_request(asked)
        endless = CompleteSpec(300, sampling=SamplingSpec(logit_bias=((255, -100.0),)))
        assert shown.texts[0].encode() == naive(TEXT.encode(), endless)[0]
        assert (shown.revision, shown.finish_reasons) == (None, ("length",))
        assert 2 <= shown.pieces <= 15


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "source"), ({"session_id": "a", "model": "fake"}, "model"), ({"prompt": "x" * 1_000_000}, None)],
)
async def test_grpc_refuses_what_has_no_source_and_takes_a_long_prompt(
    server: Running, body: dict[str, Any], field: str | None
) -> None:
    async with calling("grpc", server) as caller:
        assert isinstance(caller, GrpcCaller)
        if field is None:
            assert (await caller.complete_request({**body, "max_bytes": 1})).texts
            return
        with pytest.raises(Refused) as refusal:
            await caller.complete_request(body)
        assert (refusal.value.code, refusal.value.field) == ("INVALID_ARGUMENT", field)


def events(answer: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    """(id, data) of every event of a stream."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields["id"], json.loads(fields["data"])))
    return found


async def test_events_tell_the_text_and_the_first_one_what_it_depends_on(server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.http) as client:
        path = f"/v1/sessions/{(await client.post('/v1/sessions', json={'text': TEXT})).json()['id']}/complete"
        body = {"max_bytes": 200, "count": 2, "temperature": 1.0, "logit_bias": ENDLESS, "seed": 4}
        whole = (await client.post(path, json=body)).json()
        told = events(await client.post(path, json=body, headers=SSE))
        for index, completion in enumerate(whole["completions"]):
            mine = [data for _, data in told if data["index"] == index]
            assert "".join(data["text"] for data in mine) == completion["text"]
            assert [data.get("finish_reason") for data in mine] == [None] * (len(mine) - 1) + ["length"]
        assert [data["completion"] for _, data in told if "completion" in data] == [
            {key: whole[key] for key in ("model", "seed", "revision")}
        ]


async def test_a_broken_stream_goes_on_behind_any_event_even_without_a_seed(server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.http) as client:
        path = f"/v1/sessions/{(await client.post('/v1/sessions', json={'text': TEXT})).json()['id']}/complete"
        body = {"max_bytes": 100, "count": 2, "temperature": 1.0, "logit_bias": {**ENDLESS, "195": 3}}
        told = events(await client.post(path, json=body, headers=SSE))
        for cut, (last_id, _) in enumerate(told):
            rest = events(await client.post(path, json=body, headers={**SSE, "last-event-id": last_id}))
            for index in range(2):
                expected = "".join(data["text"] for _, data in told if data["index"] == index)
                joined = "".join(data["text"] for _, data in told[: cut + 1] + rest if data["index"] == index)
                assert joined == expected


async def test_a_stream_is_not_resumed_into_another_text(server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.http) as client:
        session = (await client.post("/v1/sessions", json={"text": TEXT})).json()["id"]
        path = f"/v1/sessions/{session}/complete"
        ((last_id, _), *_) = events(await client.post(path, json={"max_bytes": 9}, headers=SSE))
        back = {**SSE, "last-event-id": last_id}
        for bad, field in (({**SSE, "last-event-id": "x"}, {}), (back, {"count": 2}), (back, {"seed": 1})):
            answer = await client.post(path, json={"max_bytes": 9, **field}, headers=bad)
            assert (refused(answer).code, refused(answer).field) == ("INVALID_ARGUMENT", "last-event-id")
        await client.post(f"/v1/sessions/{session}/edits", json={"revision": 1, "edits": [{"insert": "x"}]})
        answer = await client.post(path, json={"max_bytes": 9}, headers=back)
        assert (answer.status_code, refused(answer).code, refused(answer).revision) == (409, "REVISION_CONFLICT", 2)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"max_byte": 3}', "max_byte"),
        ('{"logit_bias": {"x": 1}}', "logit_bias.x"),
        ('{"logit_bias": {"07": 1}}', "logit_bias.07"),
        ('{"temperature": NaN}', "temperature"),
        ('{"temperature": "hot"}', "temperature"),
        ('{"stop": ["\\ud800"]}', "stop[0]"),
        ('{"seed": -1}', "seed"),
    ],
)
async def test_a_malformed_body_is_refused_by_name(server: Running, body: str, field: str) -> None:
    async with httpx.AsyncClient(base_url=server.http, headers={"content-type": "application/json"}) as client:
        session = (await client.post("/v1/sessions", json={})).json()["id"]
        answer = await client.post(f"/v1/sessions/{session}/complete", content=body)
        assert (answer.status_code, refused(answer).code, refused(answer).field) == (422, "INVALID_ARGUMENT", field)


async def test_the_documented_examples_run(server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.http) as client:
        document = (await client.get("/openapi.json")).json()
        operation = document["paths"]["/v1/sessions/{id}/complete"]["post"]
        assert set(operation["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
        session = (await client.post("/v1/sessions", json={"text": TEXT})).json()["id"]
        for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
            answer = await client.post(f"/v1/sessions/{session}/complete", json=example["value"])
            assert answer.status_code == 200
            assert answer.json()["completions"]
