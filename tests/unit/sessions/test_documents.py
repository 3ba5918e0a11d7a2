"""Export and import: a session goes on elsewhere as if nothing had happened; what was tampered with is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import CarouselError, InvalidArgument, NotFound, RevisionConflict
from service.sessions.commands import (
    Delete,
    Edit,
    ExportSession,
    ImportSession,
    Insert,
    MoveCursor,
    Replace,
    SessionId,
    SessionView,
    UndoTo,
)
from service.sessions.documents import _digest, read_document
from service.sessions.limits import Limits
from tests.unit.sessions.rooms import TENANT, Room, now

ID = SessionId("s")


def export(room: Room) -> bytes:
    return now(room.sessions.export(TENANT, ExportSession(ID)))


def import_(room: Room, document: bytes, id_: str | None = None, model: str | None = None) -> SessionView:
    return now(room.sessions.import_(TENANT, ImportSession(document, None if id_ is None else SessionId(id_), model)))


edits = st.one_of(
    st.builds(Insert, st.text("ab é\U0001f600\n", min_size=1, max_size=4)),
    st.builds(Delete, st.integers(1, 3)),
    st.builds(MoveCursor, st.integers(0, 9)),
    st.builds(Replace, st.integers(0, 4), st.integers(0, 6), st.text("xy", max_size=2)),
    st.builds(UndoTo, st.integers(1, 6)),
)


def written(room: Room, requests: list[list[Edit]]) -> int:
    """Make a session and apply what can be applied; its revision."""
    revision = room.create("start é", "s").revision
    for index, request in enumerate(requests):
        try:
            revision = room.edit(ID, revision, *request, edit_id=f"id {index}").revision
        except CarouselError:
            continue  # outside of the text
    return revision


@given(st.lists(st.lists(edits, min_size=1, max_size=3), max_size=12), st.integers(1, 4))
@settings(max_examples=60)
def test_an_imported_session_answers_everything_as_the_exported_one(requests: list[list[Edit]], known: int) -> None:
    limits = Limits(known_edits=known, history_revisions=6)
    room = Room(limits)
    revision = written(room, requests)
    document = export(room)
    other = Room(limits)
    view = import_(other, document)
    assert view == room.get(ID)._replace(text=None)
    assert export(other) == document
    assert other.text(ID) == room.text(ID)
    for index, request in enumerate(requests):  # a retry finds what was committed before the move
        assert _outcome(room, revision, request, f"id {index}") == _outcome(other, revision, request, f"id {index}")
    for target in range(revision + 1):
        assert _outcome(room, room.get(ID).revision, [UndoTo(target)], None) == _outcome(
            other, other.get(ID).revision, [UndoTo(target)], None
        )
        assert other.text(ID) == room.text(ID)


def _outcome(room: Room, revision: int, request: list[Edit], edit_id: str | None) -> object:
    try:
        return room.edit(ID, revision, *request, edit_id=edit_id)
    except CarouselError as error:
        return str(error)


def test_importing_again_answers_the_session_as_it_has_grown_since() -> None:
    room = Room()
    written(room, [[Insert("a")], [Insert("b")]])
    document = export(room)
    other = Room()
    assert import_(other, document).revision == 3
    assert import_(other, document).revision == 3
    other.edit(ID, 3, Insert("c"))
    assert import_(other, document).revision == 4
    assert import_(room, document).revision == 3  # where it came from, too
    assert other.text(ID) == "start éabc"


def test_another_session_of_that_id_is_not_overwritten() -> None:
    room = Room()
    written(room, [[Insert("a")]])
    document = export(room)
    for text in ("start é", "other"):
        other = Room()
        other.create(text, "s")
        other.edit(ID, 1, Insert("b"))
        with pytest.raises(RevisionConflict, match="has not grown out of this document"):
            import_(other, document)
        assert import_(other, document, "mine").id == "mine"


def test_the_model_is_that_of_then_or_the_one_that_is_named() -> None:
    room = Room()
    room.create("x", "s", model="second")
    document = export(room)
    with pytest.raises(NotFound, match="no model 'second'"):
        import_(Room(models=1), document)
    assert import_(Room(models=1), document, model="first").model.name == "first"
    assert import_(Room(), document).model.name == "second"


def test_a_create_of_then_is_still_known() -> None:
    room = Room()
    written(room, [[Insert("a")]])
    other = Room()
    import_(other, export(room))
    assert other.create("start é", "s").revision == 2


Change = Callable[[dict[str, Any]], object]
CHANGES: dict[str, tuple[Change, str]] = {
    "another version": (lambda d: d.update(carousel_session=2), r"document.carousel_session: version 2"),
    "no text": (lambda d: d.pop("text"), r"document.text: is missing"),
    "a text that is a number": (lambda d: d.update(text=3), r"document.text: must be a string"),
    "a surrogate": (lambda d: d.update(text="\ud800"), r"document.text: lone surrogate"),
    "another text": (lambda d: d.update(text="start éZ"), r"document.digest|document.history"),
    "a text that the history does not make": (lambda d: d.update(text="x", cursor=1), r"document.digest|history"),
    "a cursor outside": (lambda d: d.update(cursor=99), r"document.cursor: 99 is outside"),
    "revision 0": (lambda d: d.update(revision=0), r"document.revision: must be a whole number"),
    "a revision that is true": (lambda d: d.update(revision=True), r"document.revision"),
    "a gap": (lambda d: d["history"].pop(0), r"document"),
    "an unknown field": (lambda d: d.update(more=1), r"document.more: is not known"),
    "an edit twice": (lambda d: d["history"][1]["edit"].__setitem__(0, "id 0"), r"stands there twice"),
    "half a splice": (lambda d: d["history"][0]["splices"][0].pop(), r"document.history\[0\].splices\[0\]: has 4"),
    "no splices": (lambda d: d["history"][0].update(splices=[]), r"splices: is empty"),
    "a digest that is none": (lambda d: d.update(creation="zz"), r"document.creation: must be 32 hexadecimal"),
    "a bad id": (lambda d: d.update(id="no id!"), r"document.digest|id: must be 1 to 128"),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("signed", [False, True], ids=["digest of then", "digest anew"])
def test_what_was_changed_is_refused_with_its_place(name: str, signed: bool) -> None:
    room = Room()
    written(room, [[Insert("a")], [Insert("b"), Delete(1)]])
    content = json.loads(export(room))
    change, message = CHANGES[name]
    change(content)
    if signed:
        content.pop("digest", None)
        try:
            content["digest"] = _digest(content)
        except UnicodeEncodeError:
            content["digest"] = ""
    data = json.dumps(content).encode()
    other = Room()
    with pytest.raises(InvalidArgument, match=message):
        import_(other, data)
    assert other.sessions.held == 0


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"null", b"{", b"[" * 100_000, b'{"a":' + b"1" * 5000 + b"}"])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="document"):
        import_(Room(), data)


def test_splices_that_lie_outside_are_refused_and_change_nothing() -> None:
    room = Room()
    written(room, [[Insert("a")]])
    for splice in (
        [99, "", "", 7, 8],
        [7, "", "a", 99, 8],
        [7, "", "b", 7, 8],
        [0, "", "", 0, 3],
        [9, "", "", 0, 8],
    ):
        content = json.loads(export(room))
        content["history"][0]["splices"] = [splice]
        content.pop("digest")
        content["digest"] = _digest(content)
        with pytest.raises(InvalidArgument, match=r"document.history, revision 2"):
            import_(Room(), json.dumps(content).encode())


def test_no_more_of_the_past_is_kept_than_a_session_here_keeps() -> None:
    room = Room()
    written(room, [[Insert(str(index))] for index in range(30)])
    other = Room(Limits(history_revisions=5, known_edits=3))
    import_(other, export(room))
    with pytest.raises(InvalidArgument, match=r"26 is the oldest"):
        other.edit(ID, 31, UndoTo(1))
    with pytest.raises(RevisionConflict):
        other.edit(ID, 1, Insert("0"), edit_id="id 0")


def test_a_document_that_is_too_large_is_refused() -> None:
    room = Room()
    written(room, [])
    with pytest.raises(InvalidArgument, match=r"document: .* bytes, at most 10 are taken"):
        read_document(export(room), Limits(max_document_bytes=10))
    with pytest.raises(InvalidArgument, match=r"document.text: 8 bytes; a session holds at most 5"):
        read_document(export(room), Limits(max_text_bytes=5))
