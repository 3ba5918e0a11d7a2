"""What the screen shows of an editor's state, as styled pieces of text; knows no terminal."""

from __future__ import annotations

from service.terminal.editor import Editor, Ghost
from service.terminal.tally import Tally

Piece = tuple[str, str]
"""A style and a text, as prompt_toolkit takes them."""

CURSOR: Piece = ("[SetCursorPosition]", "")
STYLE = {
    "ghost": "#808080",
    "bar": "reverse",
    "panel": "#808080",
    "chosen": "bold",
}
HELP = "Tab accept  \u2192 word  \u2191\u2193 choose  Ctrl-Z undo  Ctrl-Q quit"

_LINES_ABOVE = 200  # enough for any screen; a long file is not laid out anew at every key
_LINES_BELOW = 100


def text_pieces(editor: Editor) -> list[Piece]:
    """The text around the cursor with the chosen continuation in grey after it."""
    before, after = _around(editor.text, editor.cursor)
    ghost = editor.ghost
    pieces: list[Piece] = [("", _shown(before)), CURSOR]
    if ghost is not None:
        pieces.append(("class:ghost", _shown(ghost.text)))
    pieces.append(("", _shown(after)))
    return pieces


def panel_pieces(editor: Editor) -> list[Piece]:
    """One line for each continuation: its probability and its text, the chosen one marked."""
    pieces: list[Piece] = []
    for index, ghost in enumerate(editor.ghosts):
        chosen = index == editor.chosen
        style = "class:chosen" if chosen else "class:panel"
        pieces.append((style, f" {'>' if chosen else ' '} {_percent(ghost)}  {_one_line(ghost.text)}\n"))
    return pieces


def corner_text(tally: Tally) -> str:
    """The corner: the last keystroke's latency, the median, the share of keystrokes saved."""
    if tally.last_s is None or tally.p50_s is None:
        return ""
    latency = f"{_milliseconds(tally.last_s)}  p50 {_milliseconds(tally.p50_s)}"
    saved = f"  saved {tally.saved:.0%}" if tally.saved is not None else ""
    return f"{latency}{saved} "


def _around(text: str, cursor: int) -> tuple[str, str]:
    start = cursor
    for _ in range(_LINES_ABOVE):
        start = text.rfind("\n", 0, start)
        if start < 0:
            break
    end = cursor - 1
    for _ in range(_LINES_BELOW):
        end = text.find("\n", end + 1)
        if end < 0:
            break
    return text[start + 1 : cursor], text[cursor : end if end >= 0 else len(text)]


def _shown(text: str) -> str:
    return text.replace("\t", "    ")


def _one_line(text: str) -> str:
    return text.replace("\n", "\u23ce").replace("\t", " ")


def _percent(ghost: Ghost) -> str:
    return f"{ghost.probability:6.1%}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"
