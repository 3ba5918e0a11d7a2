"""The full-screen application: keys to the typist, the typist's state to the terminal. Nothing is decided here."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from prompt_toolkit.application import Application
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import (
    FormattedTextControl,
    HSplit,
    Layout,
    VSplit,
    Window,
    WindowAlign,
)
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.styles import Style

from service.terminal.editor import Change, Editor
from service.terminal.screen import HELP, STYLE, corner_text, panel_pieces, text_pieces
from service.terminal.typist import Typist

_MOVES: dict[str, Callable[[Editor], Change | None]] = {
    "left": Editor.left,
    "home": Editor.home,
    "end": Editor.end,
    "c-end": Editor.text_end,
    "backspace": Editor.backspace,
    "delete": Editor.delete,
    "c-z": Editor.undo,
    "c-up": Editor.up,
    "c-down": Editor.down,
}


def build_application(
    typist: Typist, where: str, panel_lines: int, *, input_: Input | None = None, output: Output | None = None
) -> Application[None]:
    """The application around a typist that is not started yet; `where` says in the header who suggests."""
    text = Window(
        FormattedTextControl(lambda: FormattedText(text_pieces(typist.editor)), focusable=True), wrap_lines=True
    )
    header = VSplit(
        [
            _line(lambda: f" carousel type   {typist.model}   {where}"),
            _line(lambda: corner_text(typist.tally), align=WindowAlign.RIGHT),
        ],
        style="class:bar",
    )
    panel = Window(FormattedTextControl(lambda: FormattedText(panel_pieces(typist.editor))), height=panel_lines)
    footer = _line(lambda: f" {typist.notice or HELP}")
    footer.style = "class:bar"
    return Application(
        layout=Layout(HSplit([header, text, panel, footer]), focused_element=text),
        key_bindings=_keys(typist),
        style=Style.from_dict(STYLE),
        color_depth=ColorDepth.DEPTH_8_BIT,
        full_screen=True,
        input=input_,
        output=output,
    )


def _line(text: Callable[[], str], align: WindowAlign = WindowAlign.LEFT) -> Window:
    return Window(FormattedTextControl(text), height=1, align=align)


def _keys(typist: Typist) -> KeyBindings:
    keys = KeyBindings()
    at_end = Condition(lambda: typist.editor.at_end)

    def made(change: Change | None) -> None:
        typist.press(change, made=len(change.inserted) if change else 0)

    def moving(move: Callable[[Editor], Change | None]) -> Callable[[KeyPressEvent], None]:
        return lambda _: typist.press(move(typist.editor))

    for key, move in _MOVES.items():
        keys.add(key)(moving(move))

    @keys.add(Keys.Any)
    def _type(event: KeyPressEvent) -> None:
        # Joiners and variation selectors are not "printable" and belong to emoji; keys without a character are escapes.
        if all(unicodedata.category(character) != "Cc" for character in event.data):
            made(typist.editor.type(event.data))

    @keys.add("enter")
    @keys.add("c-j")
    def _enter(_: KeyPressEvent) -> None:
        made(typist.editor.type("\n"))

    @keys.add(Keys.BracketedPaste)
    def _paste(event: KeyPressEvent) -> None:
        typist.press(typist.editor.type(event.data.replace("\r\n", "\n").replace("\r", "\n")))

    @keys.add("tab")
    def _accept(_: KeyPressEvent) -> None:
        made(typist.editor.accept())

    # At the end of the text the arrows work on the suggestions, elsewhere they move the cursor.
    @keys.add("c-right")
    @keys.add("right", filter=at_end)
    def _accept_word(_: KeyPressEvent) -> None:
        made(typist.editor.accept_word())

    @keys.add("right", filter=~at_end)
    def _right(_: KeyPressEvent) -> None:
        typist.press(typist.editor.right())

    @keys.add("up", filter=at_end)
    def _previous(_: KeyPressEvent) -> None:
        typist.editor.choose(-1)

    @keys.add("down", filter=at_end)
    def _next(_: KeyPressEvent) -> None:
        typist.editor.choose(1)

    @keys.add("up", filter=~at_end)
    def _up(_: KeyPressEvent) -> None:
        typist.press(typist.editor.up())

    @keys.add("down", filter=~at_end)
    def _down(_: KeyPressEvent) -> None:
        typist.press(typist.editor.down())

    @keys.add("c-c")
    @keys.add("c-q")
    @keys.add("<sigint>")
    def _quit(event: KeyPressEvent) -> None:
        event.app.exit()

    return keys
