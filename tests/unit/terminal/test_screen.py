"""What is shown, as styled text."""

from __future__ import annotations

from carousel_client import FinishReason, Suggestion
from service.terminal.editor import Editor
from service.terminal.screen import CURSOR, corner_text, panel_pieces, text_pieces
from service.terminal.tally import Tally


def editor_with(text: str, cursor: int, *suggested: tuple[str, float]) -> Editor:
    editor = Editor(text, cursor, 1)
    editor.suggested(1, [Suggestion(one, one, probability, FinishReason.STOP) for one, probability in suggested])
    return editor


def test_the_suggestion_is_grey_between_the_cursor_and_the_rest_of_the_text() -> None:
    editor = editor_with("os.\nend", 3, ("walk", 0.5))
    assert text_pieces(editor) == [("", "os."), CURSOR, ("class:ghost", "walk"), ("", "\nend")]


def test_without_suggestions_nothing_is_grey() -> None:
    assert text_pieces(editor_with("日", 1)) == [("", "日"), CURSOR, ("", "")]


def test_a_tab_is_shown_as_blanks() -> None:
    assert text_pieces(editor_with("\tx", 2))[0] == ("", "    x")


def test_of_a_long_text_only_the_lines_around_the_cursor_are_laid_out() -> None:
    lines = [f"{number}\n" for number in range(10_000)]
    cursor = len("".join(lines[:5000]))
    before, _, after = text_pieces(Editor("".join(lines), cursor, 1))
    assert before[1].startswith("4801\n")
    assert before[1].endswith("4999\n")
    assert after[1].startswith("5000\n")
    assert after[1].count("\n") < 200


def test_the_panel_lists_every_alternative_with_its_probability_on_one_line() -> None:
    editor = editor_with("", 0, ("walk(\n    x", 0.25), ("path", 0.125))
    editor.choose(1)
    shown = "".join(text for _, text in panel_pieces(editor))
    assert shown == "    25.0%  walk(⏎    x\n >  12.5%  path\n"
    assert [style for style, _ in panel_pieces(editor)] == ["class:panel", "class:chosen"]


def test_the_corner_is_empty_until_something_was_measured() -> None:
    assert corner_text(Tally()) == ""


def test_the_corner_shows_last_and_median_latency_and_what_was_saved() -> None:
    tally = Tally()
    for latency_s in (0.001, 0.002, 0.004):
        tally.made(1)
        tally.suggested(latency_s)
    tally.made(7)
    assert corner_text(tally) == "4.0 ms  p50 2.0 ms  saved 60% "
