"""The editor against a naive text: whatever is pressed, it shows what a server would hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carousel_client import Accept, Delete, Edit, FinishReason, Insert, MoveCursor, Replace, Suggestion, UndoTo
from service.terminal.editor import Change, Editor


def suggestion(text: str, probability: float = 0.5) -> Suggestion:
    return Suggestion(f"id-{text}", text, probability, FinishReason.STOP)


def pressed(editor: Editor, change: Change | None) -> Edit:
    assert change is not None
    editor.apply(change)
    return change.edit


def at_end(text: str, *suggested: str) -> Editor:
    editor = Editor(text, len(text), 1)
    assert editor.suggested(1, [suggestion(one) for one in suggested])
    return editor


class NaiveServer:
    """Applies edits to a string and keeps every revision."""

    def __init__(self, text: str) -> None:
        self.revisions = [(text, len(text))]
        self.offered: dict[str, str] = {}

    def apply(self, edit: Edit) -> None:
        text, cursor = self.revisions[-1]
        match edit:
            case Insert(inserted):
                text, cursor = text[:cursor] + inserted + text[cursor:], cursor + len(inserted)
            case Delete(count):
                text, cursor = text[: cursor - count] + text[cursor:], cursor - count
            case Replace(start, end, inserted):
                text, cursor = text[:start] + inserted + text[end:], start + len(inserted)
            case MoveCursor(position):
                cursor = position
            case UndoTo(revision):
                text, cursor = self.revisions[revision - 1]
            case Accept(id_, length):
                taken = self.offered[id_][:length]
                text, cursor = text[:cursor] + taken + text[cursor:], cursor + len(taken)
        self.revisions.append((text, cursor))
        self.offered = {}


KEYS: dict[str, Callable[[Editor], Change | None]] = {
    "a": lambda editor: editor.type("a"),
    "日": lambda editor: editor.type("日"),
    "👍🏽": lambda editor: editor.type("👍🏽"),
    "enter": lambda editor: editor.type("\n"),
    "backspace": Editor.backspace,
    "delete": Editor.delete,
    "tab": Editor.accept,
    "word": Editor.accept_word,
    "undo": Editor.undo,
    "left": Editor.left,
    "right": Editor.right,
    "up": Editor.up,
    "down": Editor.down,
    "home": Editor.home,
    "end": Editor.end,
    "text end": Editor.text_end,
}


@given(
    text=st.text(alphabet="ab\n日", max_size=12),
    keys=st.lists(st.sampled_from([*KEYS, "suggest", "choose"]), max_size=40),
)
def test_the_screen_shows_what_the_server_holds_after_any_keys(text: str, keys: list[str]) -> None:
    editor, server = Editor(text, len(text), 1), NaiveServer(text)
    for key in keys:
        if key == "suggest":
            found = [suggestion("a 日b"), suggestion("\n  x"), suggestion("日a")]
            server.offered = {one.id: one.text for one in found}
            assert editor.suggested(len(server.revisions), found)
        elif key == "choose":
            editor.choose(1)
        else:
            change = KEYS[key](editor)
            if change is not None:
                editor.apply(change)
                server.apply(change.edit)
        assert (editor.text, editor.cursor) == server.revisions[-1]
        assert editor.revision == len(server.revisions)


def test_undo_goes_all_the_way_back_over_moves_and_ends() -> None:
    editor = at_end("ab")
    for key in ("a", "left", "日", "home", "delete"):
        pressed(editor, KEYS[key](editor))
    assert editor.text == "b日a"
    texts = []
    while (change := editor.undo()) is not None:
        editor.apply(change)
        texts.append(editor.text)
    assert texts == ["ab日a", "aba", "ab"]


def test_tab_accepts_the_suggestion_by_its_id() -> None:
    editor = at_end("os.", "walk(", "path")
    assert pressed(editor, editor.accept()) == Accept("id-walk(")
    assert (editor.text, editor.ghost) == ("os.walk(", None)


def test_the_arrow_takes_a_word_and_the_rest_stays_in_grey() -> None:
    editor = at_end("os.", "walk(path):")
    assert pressed(editor, editor.accept_word()) == Accept("id-walk(path):", 4)
    assert editor.text == "os.walk"
    assert editor.ghost is not None
    assert editor.ghost.text == "(path):"
    assert pressed(editor, editor.accept_word()) == Insert("(")  # what was suggested belongs to an older revision


def test_typing_what_is_shown_keeps_the_rest_of_it_and_drops_what_disagrees() -> None:
    editor = at_end("os.", "path", "walk(", "wait")
    editor.choose(1)
    pressed(editor, editor.type("w"))
    assert [ghost.text for ghost in editor.ghosts] == ["alk(", "ait"]
    assert editor.chosen == 0
    assert pressed(editor, editor.accept()) == Insert("alk(")


def test_typing_the_last_character_that_was_suggested_leaves_nothing_in_grey() -> None:
    editor = at_end("o", "s")
    pressed(editor, editor.type("s"))
    assert editor.ghost is None


@pytest.mark.parametrize("key", ["backspace", "left", "undo"])
def test_what_was_suggested_for_another_text_is_not_shown(key: str) -> None:
    editor = at_end("")
    pressed(editor, editor.type("a"))
    editor.suggested(editor.revision, [suggestion("b")])
    pressed(editor, KEYS[key](editor))
    assert editor.ghost is None


def test_suggestions_of_an_older_revision_are_passed_over() -> None:
    editor = at_end("a")
    pressed(editor, editor.type("b"))
    assert not editor.suggested(1, [suggestion("x")])
    assert editor.ghost is None


def test_a_choice_stays_while_newer_suggestions_still_hold_it() -> None:
    editor = at_end("", "aa", "ba", "bc")
    editor.choose(2)
    pressed(editor, editor.type("b"))
    editor.choose(0)
    editor.suggested(editor.revision, [suggestion("x"), suggestion("c")])
    assert editor.ghost is not None
    assert editor.ghost.text == "c"


def test_choosing_goes_around() -> None:
    editor = at_end("", "a", "b", "c")
    editor.choose(-1)
    assert editor.chosen == 2
    editor.choose(1)
    assert editor.chosen == 0


def test_up_and_down_keep_to_the_column_where_the_line_is_long_enough() -> None:
    editor = Editor("abc\nd\nefg", 9, 1)
    positions = []
    for key in ("up", "up", "down", "down", "down"):
        pressed(editor, KEYS[key](editor))
        positions.append(editor.cursor)
    assert positions == [5, 1, 5, 7, 9]


@pytest.mark.parametrize("key", ["backspace", "left", "up", "home", "undo", "tab", "word", "right", "down", "delete"])
def test_a_key_that_can_do_nothing_sends_nothing(key: str) -> None:
    assert KEYS[key](Editor("", 0, 1)) is None
