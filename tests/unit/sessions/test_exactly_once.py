"""A request is applied once or not at all, however often and in whatever order it arrives."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.requests import FinishReason, SuggestSpec
from service.errors import InvalidArgument, RevisionConflict
from service.sessions.commands import (
    Accept,
    Delete,
    Edit,
    EditSession,
    ForkSession,
    Insert,
    MoveCursor,
    Replace,
    SessionId,
    SetText,
    UndoTo,
    Units,
)
from service.sessions.exactly_once import creation_digest, edit_digest, fork_digest
from service.sessions.limits import Limits
from tests.unit.sessions.rooms import Room


@given(st.lists(st.integers(0, 5), max_size=40), st.booleans())
def test_duplicated_and_reordered_requests_apply_each_edit_at_most_once(deliveries: list[int], restart: bool) -> None:
    """A client pipelines six edits; the network delivers whatever it likes, as often as it likes."""
    room = Room()
    session = room.create().id
    expected: list[str] = []
    for index in deliveries:
        deliver = partial(room.edit, session, 1 + index, Insert(f"<{index}>"), edit_id=f"id-{index}")
        if index > len(expected):
            with pytest.raises(RevisionConflict) as refused:
                deliver()
            assert refused.value.current == 1 + len(expected)
        else:
            assert deliver().revision == 2 + index
            if index == len(expected):
                expected.append(f"<{index}>")
        if restart:
            room = Room(store=room.store)
    assert room.text(session) == "".join(expected)


@given(st.lists(st.sampled_from("AB"), max_size=20))
def test_two_people_who_type_the_same_letter_lose_none(turns: list[str]) -> None:
    """Each sends from the revision that it knows, and after a conflict again from the current one, with the same id."""
    room = Room()
    session = room.create().id
    known = {"A": 1, "B": 1}
    for turn, person in enumerate(turns):
        edit_id = f"{person}-{turn}"
        try:
            view = room.edit(session, known[person], Insert("e"), edit_id=edit_id)
        except RevisionConflict as conflict:
            view = room.edit(session, conflict.current, Insert("e"), edit_id=edit_id)
        known[person] = view.revision
    assert room.text(session) == "e" * len(turns)


def test_a_retry_is_answered_as_the_first_time_although_the_session_has_moved_on() -> None:
    room = Room()
    session = room.create("a").id
    first = room.edit(session, 1, Insert("😀"), edit_id="one", units=Units.UTF16)
    room.edit(session, 2, Insert("more"))
    again = room.commit(session, 1, Insert("😀"), edit_id="one", units=Units.UTF16)
    assert again.replayed
    assert again.edit_id == "one"
    assert again.view == first
    assert (again.view.revision, again.view.length, again.view.cursor) == (2, 3, 3)
    assert room.text(session) == "a😀more"


def test_a_retry_of_the_newest_edit_gets_the_same_suggestions() -> None:
    room = Room()
    session = room.create("a b").id
    first = room.edit(session, 1, Insert("c"), edit_id="one", suggest=SuggestSpec())
    assert first.suggestions
    assert room.edit(session, 1, Insert("c"), edit_id="one", suggest=SuggestSpec()) == first


def test_a_retry_of_an_older_edit_gets_no_suggestions_for_a_text_that_is_gone() -> None:
    room = Room()
    session = room.create("a b").id
    room.edit(session, 1, Insert("c"), edit_id="one")
    room.edit(session, 2, Insert("d"))
    view = room.edit(session, 1, Insert("c"), edit_id="one", suggest=SuggestSpec())
    assert (view.suggestions, view.finish_reason) == ((), FinishReason.SUPERSEDED)


def test_a_known_id_with_other_content_is_a_conflict_that_changes_nothing() -> None:
    room = Room()
    session = room.create().id
    room.edit(session, 1, Insert("a"), edit_id="one")
    others: list[tuple[Edit, ...]] = [(Insert("b"),), (Insert("a"), Insert("")), (), (Delete(1),)]
    for edits in others:
        with pytest.raises(RevisionConflict, match="edit id 'one' was used for another request") as refused:
            room.edit(session, 2, *edits, edit_id="one")
        assert refused.value.current == 2
    assert room.text(session) == "a"


def test_a_rejected_request_leaves_its_id_free() -> None:
    room = Room()
    session = room.create().id
    with pytest.raises(RevisionConflict):
        room.edit(session, 7, Insert("a"), edit_id="one")
    with pytest.raises(InvalidArgument):
        room.edit(session, 1, Delete(1), edit_id="one")
    assert room.edit(session, 1, Insert("b"), edit_id="one").revision == 2


def test_only_the_last_ids_are_known() -> None:
    room = Room(Limits(known_edits=2))
    session = room.create().id
    for index in range(3):
        room.edit(session, 1 + index, Insert(str(index)), edit_id=f"id-{index}")
    assert room.edit(session, 2, Insert("1"), edit_id="id-1").revision == 3
    with pytest.raises(RevisionConflict):
        room.edit(session, 1, Insert("0"), edit_id="id-0")
    assert room.text(session) == "012"


@pytest.mark.parametrize("base", [0, 1, 3, 2**63])
@pytest.mark.parametrize("edits", [(), (Insert("x"),)])
def test_any_revision_but_the_current_one_is_a_conflict_even_without_edits(base: int, edits: tuple[Edit, ...]) -> None:
    room = Room()
    session = room.create().id
    room.edit(session, 1, Insert("a"))
    with pytest.raises(RevisionConflict, match=f"based on revision {base}, the session is at 2: read it") as refused:
        room.edit(session, base, *edits)
    assert refused.value.current == 2


def test_empty_edits_do_not_advance_the_revision() -> None:
    room = Room()
    session = room.create("text").id
    committed = room.commit(session, 1)
    assert committed.view.revision == 1
    assert committed.edit_id is None
    assert not committed.wants_suggestions


def test_the_server_makes_an_edit_id_that_can_be_used_for_a_retry() -> None:
    room = Room()
    session = room.create().id
    committed = room.commit(session, 1, Insert("a"))
    assert committed.edit_id is not None
    assert room.commit(session, 1, Insert("a"), edit_id=committed.edit_id).replayed
    assert room.text(session) == "a"


_REQUESTS: list[tuple[int, tuple[Edit, ...], Units]] = [
    (1, (), Units.CODEPOINT),
    (1, (), Units.UTF8),
    (2, (), Units.CODEPOINT),
    (1, (Insert("a"),), Units.CODEPOINT),
    (1, (Insert("a"), Insert("b")), Units.CODEPOINT),
    (1, (Insert("a;i1:b"),), Units.CODEPOINT),
    (1, (Delete(11),), Units.CODEPOINT),
    (1, (Delete(1), Delete(1)), Units.CODEPOINT),
    (1, (MoveCursor(1),), Units.CODEPOINT),
    (1, (UndoTo(1),), Units.CODEPOINT),
    (1, (Replace(1, 2, ""),), Units.CODEPOINT),
    (1, (Replace(1, 2, "1:"),), Units.CODEPOINT),
    (1, (Replace(12, 2, ""),), Units.CODEPOINT),
    (1, (Accept("1-0"),), Units.CODEPOINT),
    (1, (Accept("1-0", 0),), Units.CODEPOINT),
    (1, (Accept("1-0", 1),), Units.CODEPOINT),
]


def test_different_requests_have_different_digests_and_equal_ones_the_same() -> None:
    def digest(request: tuple[int, tuple[Edit, ...], Units], edit_id: str, suggest: SuggestSpec | None) -> bytes:
        revision, edits, units = request
        return edit_digest(EditSession(SessionId("s"), revision, edits, edit_id, units, suggest))

    digests = [digest(request, "one", None) for request in _REQUESTS]
    assert len(set(digests)) == len(_REQUESTS)
    assert digests == [digest(request, "two", SuggestSpec()) for request in _REQUESTS]


def test_digests_are_what_stores_have_been_keeping() -> None:
    """They are written to stores: a change here would turn every retry across an update into a conflict."""
    edits = (Insert("é"), Delete(2), Replace(0, 1, "x"), MoveCursor(0), UndoTo(3))
    command = EditSession(SessionId("s"), 7, edits, units=Units.UTF8)
    assert edit_digest(command).hex() == "49ea8ef1f575900ae1bf0fb8b148fd1e"
    assert creation_digest("model", "text").hex() == "9beba7a7554068f344bb30ede11337a3"
    text = SetText(SessionId("s"), 7, "xé")
    assert edit_digest(text).hex() == "67fb52e1f73c5a4435eaf44da5a41291"
    assert edit_digest(replace(text, cursor=3, units=Units.UTF16)).hex() == "3063b5508e5713ed692689fb69d6d878"
    assert fork_digest(ForkSession(SessionId("s"))).hex() == "35f533a322bd3d5d565e39c0f1241b0d"
    assert fork_digest(ForkSession(SessionId("s"), SessionId("t"), 4)).hex() == "ccffaac5faa0d7358243b67ec79bae6b"
