"""Every bad input of an edit or a create: a typed error that names the field and the way out; nothing has changed."""

from __future__ import annotations

import pytest

from service.engine.requests import SuggestSpec
from service.errors import InvalidArgument, NotFound, Overloaded
from service.sessions.commands import Delete, Edit, Insert, MoveCursor, Replace, SessionId, Tenant, UndoTo, Units
from service.sessions.limits import Limits
from tests.unit.sessions.rooms import TENANT, Room

_SMALL = Limits(max_text_bytes=20, max_inserted_bytes=10, max_edits=3, max_sessions=2)

_BAD_EDITS: list[tuple[str, tuple[Edit, ...], Units, str, str]] = [
    # name, edits on "a😀c" with the cursor at the end, units, field, part of the message
    ("delete beyond the start", (Delete(4),), Units.CODEPOINT, "edits[0].delete", "4 is beyond the start: 3 codepoint"),
    ("delete beyond, utf8", (Delete(7),), Units.UTF8, "edits[0].delete", "6 utf8 units lie left"),
    ("delete a negative count", (Delete(-1),), Units.CODEPOINT, "edits[0].delete", "negative"),
    ("delete half a pair", (Delete(2),), Units.UTF16, "edits[0].delete", "surrogate pair"),
    ("delete half a sequence", (Delete(3),), Units.UTF8, "edits[0].delete", "UTF-8 sequence"),
    ("the second edit deletes too much", (Delete(3), Delete(1)), Units.CODEPOINT, "edits[1].delete", "0 codepoint"),
    (
        "replace from before the text",
        (Replace(-1, 1, ""),),
        Units.CODEPOINT,
        "edits[0].replace.start",
        "outside of 0..3",
    ),
    ("replace to after the text", (Replace(0, 5, ""),), Units.UTF16, "edits[0].replace.end", "outside of 0..4"),
    ("replace backwards", (Replace(2, 1, ""),), Units.CODEPOINT, "edits[0].replace.end", "before start 2"),
    ("replace from inside a pair", (Replace(2, 3, ""),), Units.UTF16, "edits[0].replace.start", "surrogate pair"),
    ("replace to inside a sequence", (Replace(1, 4, ""),), Units.UTF8, "edits[0].replace.end", "UTF-8 sequence"),
    ("move before the text", (MoveCursor(-1),), Units.CODEPOINT, "edits[0].cursor", "outside of 0..3"),
    ("move behind the text", (MoveCursor(4),), Units.CODEPOINT, "edits[0].cursor", "outside of 0..3"),
    ("move into a pair", (MoveCursor(2),), Units.UTF16, "edits[0].cursor", "surrogate pair"),
    (
        "insert a lone surrogate",
        (Insert("b"), Insert("\ud83d")),
        Units.UTF16,
        "edits[1].insert",
        "lone surrogate U+D83D",
    ),
    ("replace by a lone surrogate", (Replace(0, 0, "\ude00"),), Units.UTF16, "edits[0].replace.text", "U+DE00"),
    ("insert too much at once", (Insert("é" * 6),), Units.CODEPOINT, "edits[0].insert", "12 bytes; a request inserts"),
    (
        "insert too much in sum",
        (Insert("123456"), Replace(0, 1, "12345")),
        Units.CODEPOINT,
        "edits[1].replace.text",
        "11 bytes; a request inserts at most 10: send it in several requests",
    ),
    ("too many edits", (Insert(""),) * 4, Units.CODEPOINT, "edits", "4 edits; a request holds at most 3"),
    ("two undos", (UndoTo(1), UndoTo(1)), Units.CODEPOINT, "edits[1].undo_to", "only one"),
]


@pytest.mark.parametrize(
    ("edits", "units", "field", "message"), [row[1:] for row in _BAD_EDITS], ids=[row[0] for row in _BAD_EDITS]
)
def test_an_edit_that_cannot_be_done_is_refused_by_field_and_the_session_is_unchanged(
    edits: tuple[Edit, ...], units: Units, field: str, message: str
) -> None:
    room = Room(_SMALL)
    session = room.create("a😀c").id
    before, told = room.get(session), list(room.suggester.advances)
    with pytest.raises(InvalidArgument) as refused:
        room.edit(session, 1, *edits, edit_id="once", units=units)
    assert refused.value.field == field
    assert message in refused.value.message
    assert room.get(session) == before
    assert room.suggester.advances == told
    assert room.edit(session, 1, Insert("d"), edit_id="once").revision == 2
    assert room.text(session) == "a😀cd"


def test_a_session_that_would_grow_over_its_limit_is_left_as_it_is() -> None:
    room = Room(_SMALL)
    session = room.create("x" * 15).id
    with pytest.raises(InvalidArgument) as refused:
        room.edit(session, 1, Insert("ab"), Insert("éé"))
    assert refused.value.field == "edits[1].insert"
    assert "21 bytes; it holds at most 20: delete from its start" in refused.value.message
    assert room.edit(session, 1, Insert("éé"), Insert("a")).length == 18
    with pytest.raises(InvalidArgument, match=r"edits\[0\].replace.text: brings the session to 21 bytes"):
        room.edit(session, 2, Replace(0, 1, "ab"))


@pytest.mark.parametrize("count", [-1, 0, 17])
def test_a_count_of_suggestions_out_of_range_is_refused_and_nothing_is_committed(count: int) -> None:
    room = Room()
    session = room.create().id
    message = rf"suggest.count: {count} is outside of 1..16"
    with pytest.raises(InvalidArgument, match=message):
        room.edit(session, 1, Insert("a"), suggest=SuggestSpec(count=count))
    with pytest.raises(InvalidArgument, match=message):
        room.create("a", "other", suggest=SuggestSpec(count=count))
    assert room.get(session).revision == 1
    assert room.sessions.held == 1


@pytest.mark.parametrize("max_bytes", [-1, 0, 513])
def test_a_size_of_suggestions_out_of_range_is_refused(max_bytes: int) -> None:
    room = Room()
    session = room.create().id
    with pytest.raises(InvalidArgument, match=rf"suggest.max_bytes: {max_bytes} is outside of 1..512"):
        room.edit(session, 1, suggest=SuggestSpec(max_bytes=max_bytes))


def test_the_largest_counts_and_sizes_are_served() -> None:
    room = Room()
    view = room.create("a", suggest=SuggestSpec(16, 512))
    assert len(view.suggestions or ()) == 16


@pytest.mark.parametrize("edit_id", ["", "x" * 129, "\ud800"])
def test_an_edit_id_that_cannot_be_kept_is_refused(edit_id: str) -> None:
    room = Room()
    session = room.create().id
    with pytest.raises(InvalidArgument) as refused:
        room.edit(session, 1, Insert("a"), edit_id=edit_id)
    assert refused.value.field == "edit_id"


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "x" * 129, "new\n"])
def test_a_session_id_of_other_characters_is_refused(name: str) -> None:
    room = Room()
    with pytest.raises(InvalidArgument, match="id: must be 1 to 128 of A-Z a-z 0-9"):
        room.create("", name)


def test_a_first_text_that_is_no_text_or_too_long_is_refused() -> None:
    room = Room(_SMALL)
    with pytest.raises(InvalidArgument, match="text: lone surrogate"):
        room.create("\ud83d")
    with pytest.raises(InvalidArgument, match="text: 22 bytes; a session holds at most 20"):
        room.create("é" * 11)
    assert room.sessions.held == 0


def test_an_unknown_session_or_model_is_not_found_by_kind_and_name() -> None:
    room = Room()
    nobody = SessionId("nobody")
    for act in (lambda: room.edit(nobody, 1), lambda: room.get(nobody), lambda: room.delete(nobody)):
        with pytest.raises(NotFound, match="no session 'nobody'"):
            act()
    with pytest.raises(NotFound, match="no model 'gpt'"):
        room.create(model="gpt")


def test_another_tenant_s_session_is_not_found_and_its_id_is_free() -> None:
    room, other = Room(), Tenant("other")
    session = room.create("secret", "mine").id
    for act in (
        lambda: room.get(session, tenant=other),
        lambda: room.edit(session, 1, Insert("a"), tenant=other),
        lambda: room.delete(session, tenant=other),
    ):
        with pytest.raises(NotFound):
            act()
    assert room.create("theirs", "mine", tenant=other).length == 6
    assert room.text(session) == "secret"
    assert list(room.suggester.scopes.values()) == [TENANT, other]


def test_a_full_process_refuses_new_sessions_and_serves_the_old_ones() -> None:
    room = Room(_SMALL)
    first = room.create("a", "first").id
    room.create("b", "second")
    with pytest.raises(Overloaded) as refused:
        room.create("c")
    assert refused.value.retry_after_s == 1.0
    assert room.create("a", "first").id == first
    assert room.edit(first, 1, Insert("x")).revision == 2
    room.delete(first)
    assert room.create("c").revision == 1


@pytest.mark.parametrize(
    ("strings", "at"),
    [((b"a",) * 5, ""), ((b"a", b""), "[1]"), ((b"a" * 65,), "[0]"), ((b"a", b"b", b"\xed\xa0\x80"), "[2]")],
)
def test_stop_strings_that_no_suggestion_could_be_cut_at_are_refused_and_nothing_is_committed(
    strings: tuple[bytes, ...], at: str
) -> None:
    room = Room()
    session = room.create("a").id
    with pytest.raises(InvalidArgument) as refused:
        room.edit(session, 1, Insert("a"), suggest=SuggestSpec(stop_strings=strings))
    assert refused.value.field == f"suggest.stop_strings{at}"
    assert room.get(session).revision == 1
