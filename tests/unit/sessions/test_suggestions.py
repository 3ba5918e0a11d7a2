"""What the engine is told and asked, what comes back as suggestions, and accepting them."""

from __future__ import annotations

import pytest

from service.engine.requests import FinishReason, PathId, Stop, SuggestSpec
from service.errors import CarouselError, DeadlineExceeded, InvalidArgument, Overloaded, RevisionConflict, Unavailable
from service.sessions.commands import Accept, CreateSession, Delete, EditSession, Insert, MoveCursor, Replace, Units
from tests.unit.sessions.rooms import TENANT, Room, now


def test_every_edit_moves_the_engine_s_path_to_the_text_left_of_the_cursor_even_unasked() -> None:
    room = Room()
    session = room.create("wörld").id
    room.edit(session, 1, MoveCursor(2))
    room.edit(session, 2, Insert("x"))
    room.edit(session, 3, Delete(2))
    room.edit(session, 4, Replace(2, 4, "L"))
    advances = room.suggester.advances
    assert [advance.text.decode() for advance in advances] == ["wörld", "wö", "wöx", "w", "wrL"]
    assert [advance.kept for advance in advances] == [0, 3, 3, 1, 1]
    assert all(advance.suggest is None for advance in advances)


def test_the_engine_is_asked_what_the_caller_asked_until_the_caller_s_deadline() -> None:
    room = Room()
    spec = SuggestSpec(2, 9, Stop.WORD)
    view = now(room.sessions.create(TENANT, CreateSession("a", suggest=spec), deadline_s=1.5))
    now(room.sessions.edit(TENANT, EditSession(view.id, 1, (Insert("b"),), suggest=spec), deadline_s=2.5))
    assert [(advance.suggest, advance.deadline_s) for advance in room.suggester.advances] == [(spec, 1.5), (spec, 2.5)]


def test_suggestions_come_best_first_with_their_probabilities_and_distinct_ids_of_their_revision() -> None:
    room = Room()
    view = room.create("hello", suggest=SuggestSpec(2))
    assert view.suggestions is not None
    assert [(found.text, found.finish_reason) for found in view.suggestions] == [
        ("0hello", FinishReason.STOP),
        ("1hello", FinishReason.STOP),
    ]
    assert [found.probability for found in view.suggestions] == pytest.approx([0.5, 0.25])
    first, second = (found.id for found in view.suggestions)
    assert first != second
    assert first.startswith("1-")


def test_a_commit_can_be_acknowledged_before_its_suggestions_are_there() -> None:
    room = Room()
    session = room.create().id
    committed = room.commit(session, 1, Insert("abc"), suggest=SuggestSpec(1))
    assert (committed.view.revision, committed.view.suggestions, committed.wants_suggestions) == (2, None, True)
    suggested = now(committed.suggestions())
    assert suggested is not None
    assert [found.text for found in suggested.suggestions] == ["0abc"]
    assert suggested.revision == 2


def test_suggestions_that_a_newer_edit_has_overtaken_are_empty() -> None:
    room = Room()
    session = room.create().id
    early = room.commit(session, 1, Insert("a"), suggest=SuggestSpec())
    late = room.commit(session, 2, Insert("b"), suggest=SuggestSpec())
    overtaken, current = now(early.suggestions()), now(late.suggestions())
    assert overtaken is not None
    assert (overtaken.revision, overtaken.suggestions) == (2, ())
    assert overtaken.finish_reason is FinishReason.SUPERSEDED
    assert current is not None
    assert current.suggestions


def test_suggestions_of_a_session_that_was_deleted_meanwhile_are_empty() -> None:
    room = Room()
    session = room.create().id
    committed = room.commit(session, 1, Insert("a"), suggest=SuggestSpec())
    room.delete(session)
    suggested = now(committed.suggestions())
    assert suggested is not None
    assert (suggested.suggestions, suggested.finish_reason) == ((), FinishReason.SUPERSEDED)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Overloaded("full", 1.0), FinishReason.SHED),
        (Unavailable("draining", 1.0), FinishReason.SHED),
        (CarouselError("broken"), FinishReason.SHED),
        (DeadlineExceeded("late"), FinishReason.DEADLINE),
    ],
)
def test_an_engine_that_fails_after_the_commit_costs_the_suggestions_only(
    error: CarouselError, reason: FinishReason
) -> None:
    room = Room()
    session = room.create().id
    room.suggester.failure = error
    view = room.edit(session, 1, Insert("a"), suggest=SuggestSpec())
    assert (view.revision, view.suggestions, view.finish_reason) == (2, (), reason)


def test_an_engine_that_refuses_is_told_the_whole_movement_later() -> None:
    room = Room()
    session = room.create("abcdef").id
    room.suggester.refusal = Overloaded("full", 1.0)
    shed = room.edit(session, 1, Delete(3), suggest=SuggestSpec())
    assert (shed.revision, shed.suggestions, shed.finish_reason) == (2, (), FinishReason.SHED)
    assert room.edit(session, 2, Insert("deXY")).finish_reason is None
    room.suggester.refusal = None
    view = room.edit(session, 3, suggest=SuggestSpec(1))
    assert [found.text for found in view.suggestions or ()] == ["0abcdeXY"]
    last = room.suggester.advances[-1]
    assert (last.text, last.kept) == (b"abcdeXY", 3)


def test_a_session_is_created_although_the_engine_refuses() -> None:
    room = Room()
    room.suggester.refusal = Overloaded("full", 1.0)
    view = room.create("abc", suggest=SuggestSpec())
    assert (view.suggestions, view.finish_reason) == ((), FinishReason.SHED)
    assert room.text(view.id) == "abc"


def test_a_bug_in_the_engine_is_not_taken_for_overload_and_commits_nothing() -> None:
    room = Room()
    session = room.create("abc").id
    room.suggester.paths[PathId(0)] = b"zzz"  # so that the fake finds `kept` untrue
    with pytest.raises(ValueError, match="kept=3"):
        room.edit(session, 1, Insert("d"))
    assert room.get(session).revision == 1
    assert room.text(session) == "abc"
    assert room.edit(session, 1, Insert("d")).revision == 2


def _suggested(room: Room, text: str) -> str:
    view = room.create(text, suggest=SuggestSpec(1))
    assert view.suggestions
    return view.suggestions[0].id


def test_accepting_inserts_the_suggestion_at_the_cursor() -> None:
    room = Room()
    suggestion = _suggested(room, "word")
    view = room.edit(room.newest, 1, Accept(suggestion), Insert(";"))
    assert (view.revision, view.cursor, room.text(view.id)) == (2, 10, "word0word;")


@pytest.mark.parametrize(
    ("units", "length", "expected"),
    [(Units.CODEPOINT, 2, "0😀"), (Units.UTF16, 3, "0😀"), (Units.UTF8, 5, "0😀"), (Units.UTF8, 0, "")],
)
def test_accepting_takes_the_first_units_of_a_suggestion(units: Units, length: int, expected: str) -> None:
    room = Room()
    suggestion = _suggested(room, "😀!")
    room.edit(room.newest, 1, Accept(suggestion, length), units=units)
    assert room.text(room.newest) == f"😀!{expected}"


@pytest.mark.parametrize(
    ("units", "length"), [(Units.CODEPOINT, 4), (Units.UTF16, 2), (Units.UTF8, 3), (Units.UTF8, -1)]
)
def test_accepting_a_length_outside_of_it_or_inside_a_character_is_refused(units: Units, length: int) -> None:
    room = Room()
    suggestion = _suggested(room, "😀!")
    with pytest.raises(InvalidArgument) as refused:
        room.edit(room.newest, 1, Accept(suggestion, length), units=units)
    assert refused.value.field == "edits[0].accept.length"
    assert room.text(room.newest) == "😀!"


def test_accepting_what_was_suggested_for_an_older_revision_is_a_conflict() -> None:
    room = Room()
    suggestion = _suggested(room, "word")
    room.edit(room.newest, 1, Insert("0"))
    with pytest.raises(RevisionConflict, match="made at revision 1, the session is at 2") as refused:
        room.edit(room.newest, 2, Accept(suggestion))
    assert refused.value.current == 2


@pytest.mark.parametrize("name", ["", "nonsense", "1-0000000000000000", "9-0000000000000000", "9" * 5000, "\ud800"])
def test_accepting_what_was_never_suggested_is_refused(name: str) -> None:
    room = Room()
    _suggested(room, "word")
    with pytest.raises(InvalidArgument) as refused:
        room.edit(room.newest, 1, Accept(name))
    assert refused.value.field == "edits[0].accept.suggestion"


def test_a_suggestion_of_another_session_cannot_be_accepted() -> None:
    room = Room()
    suggestion = _suggested(room, "word")
    other = room.create("other").id
    with pytest.raises(InvalidArgument):
        room.edit(other, 1, Accept(suggestion))


def test_accept_must_come_first_as_its_suggestion_continues_the_text_as_it_was() -> None:
    room = Room()
    suggestion = _suggested(room, "word")
    with pytest.raises(InvalidArgument) as refused:
        room.edit(room.newest, 1, Insert(" "), Accept(suggestion))
    assert refused.value.field == "edits[1].accept"


def test_the_same_suggestion_has_the_same_id_and_old_ones_are_forgotten_when_there_are_many() -> None:
    room = Room()
    session = room.create("a").id
    first = room.edit(session, 1, suggest=SuggestSpec(1, 1)).suggestions
    assert first
    assert room.edit(session, 1, suggest=SuggestSpec(1, 1)).suggestions == first
    for _ in range(2):
        for max_bytes in (2, 3, 4, 5, 6):
            room.edit(session, 1, suggest=SuggestSpec(16, max_bytes))
    assert room.edit(session, 1, Accept(first[0].id)).revision == 2
