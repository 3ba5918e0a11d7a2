"""Scores of prompts and sessions: what is asked of the engine, where the model was surprised, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.requests import Complete, SuggestSpec
from service.errors import DeadlineExceeded, InvalidArgument, NotFound, Overloaded
from service.sessions.commands import (
    CompleteText,
    Insert,
    MoveCursor,
    Prompt,
    ScoreAhead,
    ScoredText,
    ScoreText,
    SessionId,
    SuggestText,
    Units,
)
from service.sessions.fake_suggester import FakePieces, fake_scored
from service.sessions.limits import Limits
from service.sessions.surprises import most_surprising
from tests.unit.sessions.rooms import TENANT, Room, now


def score(room: Room, command: ScoreText, deadline_s: float | None = None) -> ScoredText:
    return now(room.sessions.score(TENANT, command, deadline_s=deadline_s))


def test_a_prompt_is_scored_on_a_path_of_the_tenants_own_that_is_closed_again() -> None:
    room = Room()
    found = score(room, ScoreText(Prompt("héllo", "second"), top=3), deadline_s=4.0)
    (request,) = room.other_suggester.scores
    assert (request.text, request.start, request.top, request.deadline_s) == ("héllo".encode(), 0, 3, 4.0)
    assert room.other_suggester.scopes[request.path] == TENANT
    assert request.path not in room.other_suggester.paths
    assert (found.model.name, found.revision, found.start, found.length) == ("second", None, 0, 6)
    assert found.top_tokens.shape == (6, 3)
    expected = fake_scored("héllo".encode(), 3)
    assert found.log_probabilities.tobytes() == expected.log_probabilities.tobytes()
    np.testing.assert_allclose(found.surprisal_bits, -expected.log_probabilities / log(2), rtol=1e-6)
    assert found.bits_per_byte == pytest.approx(float(found.surprisal_bits.mean()), rel=1e-6)


def test_all_of_a_sessions_text_is_scored_where_it_stands() -> None:
    room = Room()
    session = room.create("left|right").id
    room.edit(session, 1, MoveCursor(5))
    found = score(room, ScoreText(session, start=4))
    request = room.suggester.scores[-1]
    assert (request.text, request.kept, request.start) == (b"left|right", 5, 4)
    assert request.path in room.suggester.paths  # its own, which stays
    assert (found.revision, len(found.log_probabilities)) == (2, 6)


@pytest.mark.parametrize(("units", "start"), [(Units.CODEPOINT, 2), (Units.UTF16, 3), (Units.UTF8, 5)])
def test_the_start_counts_in_the_units_of_the_request(units: Units, start: int) -> None:
    found = score(Room(), ScoreText(Prompt("a\U0001f600b"), start, units=units))
    assert (found.start, len(found.log_probabilities)) == (5, 1)


def test_surprises_tell_what_stands_there_and_what_the_model_would_have_said() -> None:
    room = Room()
    found = score(room, ScoreText(Prompt("the a ZQX é"), surprises=2, units=Units.CODEPOINT))
    assert len(found.surprises) == 2
    first = max(found.surprises, key=lambda one: one.text == "ZQX")
    assert (first.offset, first.length, first.text) == (6, 3, "ZQX") or first.text in ("QX", "X")
    assert first.surprisal_bits > 8
    bits = [one.surprisal_bits for one in found.surprises]
    assert bits == sorted(bits, reverse=True)
    assert {request.text for request in room.suggester.completes} == {
        "the a ZQX é"[: one.offset].encode() for one in found.surprises
    }
    said = fake_scored(found.surprises[0].expected.encode(), 0)
    assert found.surprises[0].probability == pytest.approx(exp(float(said.log_probabilities.sum())), rel=1e-5)
    assert found.top_tokens.shape[1] == 0  # what was asked for


@given(st.binary(max_size=30), st.integers(0, 5), st.data())
def test_places_are_whole_characters_one_to_a_word_and_the_least_likely_first(
    data: bytes, count: int, draw: st.DataObject
) -> None:
    first = draw.draw(st.integers(0, len(data)))
    likely = draw.draw(st.lists(st.floats(-20, 0, width=32), min_size=len(data) - first, max_size=len(data) - first))
    places = most_surprising(data, first, np.array(likely, np.float32), count)
    assert len(places) <= count
    assert [place.bits for place in places] == sorted((place.bits for place in places), reverse=True)
    taken: set[int] = set()
    for start, end, bits in places:
        assert first <= start < end <= len(data)
        assert bits > 1
        assert start == first or data[start] & 0xC0 != 0x80
        assert end == len(data) or end - start >= 60 or data[end] & 0xC0 != 0x80
        assert not taken & set(range(start, end))
        taken |= set(range(start, end))


def test_bytes_that_are_no_characters_are_scored_in_bytes() -> None:
    found = score(Room(), ScoreText(Prompt(b"a\xff\xc3"), start=1, surprises=3))
    assert len(found.log_probabilities) == 2
    assert {one.text for one in found.surprises} <= {"\ufffd", "\ufffd\ufffd"}
    with pytest.raises(InvalidArgument, match="units: codepoint cannot be counted"):
        score(Room(), ScoreText(Prompt(b"a"), units=Units.CODEPOINT))
    with pytest.raises(InvalidArgument, match="prompt: no valid UTF-8 at byte 1"):
        now(Room().sessions.complete(TENANT, CompleteText(Prompt(b"a\xff"))))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (ScoreText(Prompt("abc"), start=4), "start: 4 is outside of 0..3"),
        (ScoreText(Prompt("abc"), start=-1), "start: -1 is outside"),
        (ScoreText(Prompt(b"abc"), start=4), "start: 4 is outside of 0..3"),
        (ScoreText(Prompt("é"), start=1), "start: offset 1 lies inside a UTF-8 sequence"),
        (ScoreText(Prompt("abc"), top=17), r"top: 17 is outside of 0\.\.16"),
        (ScoreText(Prompt("abc"), surprises=65), "surprises: 65 is outside"),
        (ScoreText(Prompt("\ud800")), "text: lone surrogate"),
        (ScoreText(Prompt("x" * 101)), "text: 101 bytes, at most 100"),
        (ScoreText(Prompt("x" * 99), top=3), "start: 99 bytes are to be scored, with top 3 at most 20"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_the_field(command: ScoreText, message: str) -> None:
    room = Room(Limits(max_text_bytes=100, max_scored_values=80))
    with pytest.raises(InvalidArgument, match=message):
        score(room, command)
    assert not room.suggester.scores
    assert not room.suggester.paths


def test_an_engine_that_lets_few_in_is_asked_for_few_surprises_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ScoreText(Prompt("the a ZQX é and MNO"), surprises=5)
    at_once, room = score(Room(), command), Room()
    let_in = room.suggester.complete
    asked: list[int] = []

    def narrow(requests: Sequence[Complete]) -> FakePieces:
        if len(requests) > 2:
            raise Overloaded("full", 1.0)
        asked.append(len(requests))
        return let_in(requests)

    monkeypatch.setattr(room.suggester, "complete", narrow)
    assert score(room, command).surprises == at_once.surprises
    assert sum(asked) == len(at_once.surprises) > 2


def test_unknown_sessions_and_models_are_not_found() -> None:
    for command in (ScoreText(SessionId("nobody")), ScoreText(Prompt("a", "no model"))):
        with pytest.raises(NotFound):
            score(Room(), command)


@pytest.mark.parametrize("error", [Overloaded("full", 1.0), DeadlineExceeded("late")])
def test_what_the_engine_refuses_is_passed_on_and_nothing_stays_open(error: Overloaded | DeadlineExceeded) -> None:
    room = Room()
    session = room.create("abc").id
    before = len(room.suggester.paths)
    for name in ("refusal", "failure"):
        setattr(room.suggester, name, error)
        for command in (ScoreText(Prompt("abc")), ScoreText(session), ScoreText(session, surprises=2)):
            with pytest.raises(type(error)):
                score(room, command)
        setattr(room.suggester, name, None)
    assert len(room.suggester.paths) == before


def test_bytes_ahead_are_scored_behind_the_cursor_and_stay_untyped() -> None:
    room = Room()
    session = room.create("abc").id
    room.edit(session, 1, Insert("d"))
    found = now(room.sessions.score_ahead(TENANT, ScoreAhead(session, b"\xc3", start=0)))
    request = room.suggester.scores[-1]
    assert (request.text, request.kept, request.start) == (b"abcd\xc3", 4, 4)
    assert (found.revision, len(found.log_probabilities)) == (2, 1)
    assert room.text(session) == "abcd"
    with pytest.raises(InvalidArgument, match="start"):
        now(room.sessions.score_ahead(TENANT, ScoreAhead(session, b"\xc3", start=2)))


def test_a_prompt_is_suggested_for_without_a_session() -> None:
    room = Room()
    found = now(room.sessions.suggest(TENANT, SuggestText(Prompt("say hello"), SuggestSpec(2))))
    assert [one.text for one in found.continuations] == [b"0hello", b"1hello"]
    assert not room.suggester.paths
    with pytest.raises(InvalidArgument, match=r"suggest\.count"):
        now(room.sessions.suggest(TENANT, SuggestText(Prompt("a"), SuggestSpec(0))))


def test_a_completion_tells_how_likely_its_bytes_were() -> None:
    room = Room()

    async def pieces() -> list[object]:
        async with await room.sessions.complete(TENANT, CompleteText(Prompt("say é"), top=2)) as completion:
            return [piece async for piece in completion]

    first, last = now(pieces())
    assert first.log_probabilities.shape == (2,)  # type: ignore[attr-defined]  # a CompletedPiece
    assert first.top_tokens.shape == (2, 2)  # type: ignore[attr-defined]  # a CompletedPiece
    assert last.top_log_probabilities.shape == (0, 2)  # type: ignore[attr-defined]  # a CompletedPiece
    with pytest.raises(InvalidArgument, match=r"top: 17 is outside of 0\.\.16"):
        now(room.sessions.complete(TENANT, CompleteText(Prompt("a"), top=17)))
