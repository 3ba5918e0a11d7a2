"""Completions of prompts and of sessions: what the engine is asked, what comes back, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from service.engine.requests import FinishReason, SamplingSpec
from service.engine.sampling import seed_of_sample
from service.errors import InvalidArgument, NotFound, Overloaded, Unavailable
from service.sessions.commands import CompletedPiece, CompleteText, Insert, MoveCursor, Prompt, SessionId, Tenant
from service.sessions.completions import Completion
from tests.unit.sessions.rooms import TENANT, Room, now


def complete(room: Room, command: CompleteText, deadline_s: float | None = None) -> Completion:
    return now(room.sessions.complete(TENANT, command, deadline_s=deadline_s))


def pieces(completion: AsyncIterator[CompletedPiece]) -> list[CompletedPiece]:
    async def collected() -> list[CompletedPiece]:
        return [piece async for piece in completion]

    return now(collected())


def test_a_prompt_is_completed_on_a_path_of_the_tenant_s_own_that_closes_with_it() -> None:
    room = Room()
    completion = complete(room, CompleteText(Prompt("hello wörld")), deadline_s=7.0)
    (request,) = room.suggester.completes
    assert room.suggester.scopes[request.path] == TENANT
    assert (request.text.decode(), request.kept, request.deadline_s) == ("hello wörld", 0, 7.0)
    assert pieces(completion) == [CompletedPiece(0, "wörld"), CompletedPiece(0, "", FinishReason.END)]
    assert request.path in room.suggester.paths
    completion.close()
    completion.close()
    assert not room.suggester.paths
    assert room.suggester.pieces.cancelled == 1


def test_a_session_is_completed_at_its_cursor_and_nothing_of_it_changes() -> None:
    room = Room()
    session = room.create("one two").id
    room.edit(session, 1, MoveCursor(3))
    before = room.told()
    completion = complete(room, CompleteText(session))
    (request,) = room.suggester.completes
    assert (request.text, request.kept, completion.revision) == (b"one", 3, 2)
    assert pieces(completion)[0].text == "one"
    completion.close()
    assert room.told() == before
    room.edit(session, 2, Insert("x"))
    assert room.text(session) == "onex two"


def test_every_continuation_has_a_seed_of_its_own_and_the_answer_says_from_which() -> None:
    room = Room()
    sampling = SamplingSpec(temperature=0.7, top_k=9)
    completion = complete(room, CompleteText(Prompt("a"), count=3, stop=("é", "\n"), sampling=sampling, seed=5))
    assert completion.seed == 5
    assert [one.spec.sampling for one in room.suggester.completes] == [
        replace(sampling, seed=seed_of_sample(5, index)) for index in range(3)
    ]
    assert {one.spec.stop for one in room.suggester.completes} == {("é".encode(), b"\n")}
    assert {piece.index for piece in pieces(completion)} == {0, 1, 2}


def test_a_seed_that_the_server_chooses_is_new_every_time_and_said() -> None:
    room = Room()
    seeds = {complete(room, CompleteText(Prompt("a"))).seed for _ in range(3)}
    assert len(seeds) == 3
    assert seeds == {one.spec.sampling.seed for one in room.suggester.completes}


def test_a_prompt_may_name_its_model() -> None:
    room = Room()
    assert complete(room, CompleteText(Prompt("a", "second"))).model.name == "second"
    assert len(room.other_suggester.completes) == 1
    with pytest.raises(NotFound):
        complete(room, CompleteText(Prompt("a", "third")))


def test_a_session_that_is_not_there_or_of_another_tenant_is_not_found() -> None:
    room = Room()
    session = room.create("a").id
    for tenant, name in ((TENANT, SessionId("none")), (Tenant("other"), session)):
        with pytest.raises(NotFound):
            now(room.sessions.complete(tenant, CompleteText(name)))


def test_an_engine_that_refuses_leaves_no_path_behind() -> None:
    room = Room()
    room.suggester.refusal = Overloaded("full", 1.0)
    with pytest.raises(Overloaded):
        complete(room, CompleteText(Prompt("a")))
    assert not room.suggester.paths


def test_an_engine_that_fails_half_way_raises_after_what_it_said() -> None:
    room = Room()
    room.suggester.failure = Unavailable("down", 1.0)
    completion = complete(room, CompleteText(Prompt("a")))
    assert now(anext(completion)).text == "a"
    with pytest.raises(Unavailable):
        now(anext(completion))


def bias(token: int, added: float) -> SamplingSpec:
    return SamplingSpec(logit_bias=((token, added),))


GOOD = CompleteText(Prompt("a"))
NAN = float("nan")
REFUSED: list[tuple[CompleteText, str]] = [
    (replace(GOOD, source=Prompt("\ud800")), "prompt"),
    (replace(GOOD, source=Prompt("x" * (1024 * 1024 + 1))), "prompt"),
    (replace(GOOD, max_bytes=0), "max_bytes"),
    (replace(GOOD, max_bytes=4097), "max_bytes"),
    (replace(GOOD, count=0), "count"),
    (replace(GOOD, count=17), "count"),
    (replace(GOOD, seed=-1), "seed"),
    (replace(GOOD, seed=2**64), "seed"),
    (replace(GOOD, stop=("a",) * 5), "stop"),
    (replace(GOOD, stop=("a", "")), "stop[1]"),
    (replace(GOOD, stop=("é" * 33,)), "stop[0]"),
    (replace(GOOD, stop=("\udfff",)), "stop[0]"),
    (replace(GOOD, sampling=SamplingSpec(temperature=-0.1)), "temperature"),
    (replace(GOOD, sampling=SamplingSpec(temperature=5.1)), "temperature"),
    (replace(GOOD, sampling=SamplingSpec(temperature=NAN)), "temperature"),
    (replace(GOOD, sampling=SamplingSpec(top_k=-1)), "top_k"),
    (replace(GOOD, sampling=SamplingSpec(top_k=257)), "top_k"),
    (replace(GOOD, sampling=SamplingSpec(top_p=0.0)), "top_p"),
    (replace(GOOD, sampling=SamplingSpec(top_p=1.1)), "top_p"),
    (replace(GOOD, sampling=SamplingSpec(min_p=-0.1)), "min_p"),
    (replace(GOOD, sampling=SamplingSpec(min_p=1.1)), "min_p"),
    (replace(GOOD, sampling=SamplingSpec(repetition_penalty=0.9)), "repetition_penalty"),
    (replace(GOOD, sampling=SamplingSpec(repetition_penalty=float("inf"))), "repetition_penalty"),
    (replace(GOOD, sampling=bias(-1, 0.0)), "logit_bias.-1"),
    (replace(GOOD, sampling=bias(256, 0.0)), "logit_bias.256"),
    (replace(GOOD, sampling=bias(7, 101.0)), "logit_bias.7"),
    (replace(GOOD, sampling=bias(7, NAN)), "logit_bias.7"),
]


@pytest.mark.parametrize(("command", "field"), REFUSED, ids=[f"{field} {i}" for i, (_, field) in enumerate(REFUSED)])
def test_what_is_out_of_range_is_refused_by_name(command: CompleteText, field: str) -> None:
    room = Room()
    with pytest.raises(InvalidArgument) as refused:
        complete(room, command)
    assert refused.value.field == field
    assert not room.suggester.completes
