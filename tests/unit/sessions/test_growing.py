"""Texts that grow by pieces of bytes: the same as the text at once, whatever the cuts, restarts and other writers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.requests import FinishReason, SuggestSpec
from service.errors import DeadlineExceeded, InvalidArgument, Overloaded
from service.sessions.commands import Insert, SessionId, Tenant
from service.sessions.growing import Asked, GrowingTexts, Told, whole_characters
from tests.unit.sessions.rooms import TENANT, Room, now

ONE = SessionId("one")
SCORE = Asked()
BOTH = Asked(suggest=SuggestSpec(count=1))


def texts_of(room: Room) -> GrowingTexts:
    return GrowingTexts(room.sessions)


def begin(room: Room, piece: bytes, asked: Asked = SCORE, tenant: Tenant = TENANT) -> Told:
    return now(texts_of(room).begin(tenant, ONE, "first", piece, asked))


def append(room: Room, piece: bytes, asked: Asked = SCORE, *, whole: bool = False, last: bool = False) -> Told | None:
    return now(texts_of(room).append(TENANT, ONE, piece, asked, whole=whole, last=last))


def scored(told: Told | None) -> list[float]:
    assert told is not None
    assert told.scored is not None
    return [float(one) for one in told.scored.log_probabilities]


@given(st.text(st.sampled_from("aé€😀\n"), max_size=12), st.lists(st.integers(0, 30), max_size=5), st.booleans())
@settings(max_examples=60)
def test_a_text_in_any_pieces_is_the_text_at_once_and_each_piece_is_scored_by_itself(
    text: str, cuts: list[int], restart: bool
) -> None:
    data = text.encode()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in pairwise(edges)] or [b""]
    room = Room()
    likelihoods = scored(begin(room, pieces[0]))
    for piece in pieces[1:]:
        if restart:
            room = Room(store=room.store)
        likelihoods += scored(append(room, piece))
    view = room.get(ONE)
    assert view.text == text
    assert view.cursor == len(text)
    assert likelihoods == scored(now(texts_of(room).read(TENANT, "first", data, SCORE)))
    assert [request.text for request in room.suggester.scores][-1] == data


def test_bytes_of_an_unfinished_character_are_kept_but_not_read_by_the_model() -> None:
    room = Room()
    begin(room, b"a\xf0\x9f\x98")
    view = room.get(ONE)
    assert (view.cursor, view.text) == (1, "a\ueff0\uef9f\uef98")
    assert room.told() == ["a"]
    restarted = Room(store=room.store)
    told = append(restarted, b"\x80b", BOTH)
    assert told is not None
    assert told.suggestion is not None
    assert restarted.text(ONE) == "a😀b"


def test_inside_a_character_there_is_no_suggestion_and_text_cannot_go_on() -> None:
    room = Room()
    told = begin(room, b"a\xc3", BOTH)
    assert told.suggestion is None
    assert told.scored is not None
    with pytest.raises(InvalidArgument, match="inside a character"):
        append(room, b"b", whole=True)
    assert append(room, b"\xa9", whole=False) is not None
    assert room.text(ONE) == "aé"


@pytest.mark.parametrize("data", [b"\xff", b"a\xc3b", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5"])
def test_what_can_be_no_utf_8_is_refused_and_changes_nothing(data: bytes) -> None:
    room = Room()
    begin(room, b"ok")
    with pytest.raises(InvalidArgument):
        append(room, data)
    with pytest.raises(InvalidArgument):
        begin(room, data)
    assert room.text(ONE) == "ok"
    assert room.get(ONE).revision == 1


@given(st.binary(max_size=6))
def test_bytes_are_characters_and_a_rest_exactly_if_more_bytes_can_make_them_whole(data: bytes) -> None:
    endings = [b"", b"\x80", b"\x80\x80", b"\x80\x80\x80", b"\xa0\x80", b"\x90\x80\x80"]
    completable = any(_decodes(data + ending) for ending in endings)
    try:
        text, rest = whole_characters(data)
    except InvalidArgument:
        assert not completable
    else:
        assert completable
        assert text.encode() + rest == data
        assert len(rest) <= 3


def _decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_beginning_anew_forgets_what_was_there_even_if_it_began_with_the_same_text() -> None:
    room = Room()
    begin(room, b"same")
    append(room, b" and more")
    begin(room, b"same")
    assert (room.text(ONE), room.get(ONE).revision) == ("same", 1)


def test_the_last_piece_is_answered_and_then_the_text_is_gone() -> None:
    room = Room()
    begin(room, b"one two")
    told = append(room, b" three", BOTH, last=True)
    assert told is not None
    assert told.suggestion is not None
    assert told.suggestion.text == "0three"
    assert append(room, b"x") is None
    begin(room, b"one")
    assert append(room, b" two", last=True) is not None
    assert append(room, b"") is None


def test_a_text_that_nobody_has_begun_is_not_there() -> None:
    assert append(Room(), b"x") is None


def test_an_empty_piece_changes_nothing_and_is_answered() -> None:
    room = Room()
    begin(room, b"one two")
    told = append(room, b"", BOTH)
    assert told is not None
    assert told.suggestion is not None
    assert told.suggestion.text == "0two"
    assert scored(told) == []
    assert room.get(ONE).revision == 1


def test_what_is_refused_or_late_has_appended_nothing_so_that_it_may_be_sent_again() -> None:
    room = Room()
    begin(room, b"one")
    room.suggester.refusal = Overloaded("full", 1.0)
    with pytest.raises(Overloaded):
        append(room, b" two")
    room.suggester.refusal = None
    room.suggester.failure = DeadlineExceeded("late")
    with pytest.raises(DeadlineExceeded):
        append(room, b" two")
    room.suggester.failure = None
    assert room.text(ONE) == "one"
    append(room, b" two")
    assert room.text(ONE) == "one two"


def test_a_suggestion_that_comes_too_late_is_empty_and_the_piece_is_there() -> None:
    room = Room()
    begin(room, b"one")
    room.suggester.failure = DeadlineExceeded("late")
    told = append(room, b" two", Asked(score=False, suggest=SuggestSpec(count=1)))
    assert told is not None
    assert told.suggestion is not None
    assert (told.suggestion.text, told.suggestion.finish) == ("", FinishReason.DEADLINE)
    assert room.text(ONE) == "one two"


def test_what_others_write_into_the_session_meanwhile_is_gone_on_from() -> None:
    room = Room()
    begin(room, b"one")
    room.edit(ONE, 1, Insert(" two"))
    append(room, b" three")
    assert room.text(ONE) == "one two three"


def test_the_same_name_of_another_tenant_is_another_text() -> None:
    room = Room()
    begin(room, b"mine")
    begin(room, b"theirs", tenant=Tenant("other"))
    assert room.text(ONE) == "mine"
