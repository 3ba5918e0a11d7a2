"""Make type.svg, the README's picture of `carousel type`, from a real run of it.

    python -m docs.pictures.make_terminal_picture [--model FOLDER]    # from the repository's root

Runs the program in a pseudo-terminal, types the text below, and draws the screen as it then is, cell by cell. The text
is chosen here; what is in grey, the probabilities, the latency and the share of keystrokes saved are whatever the model
and this machine gave. The typist is that of `carousel bench replay`: Tab where the grey text is right, the right arrow
where its first word is.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from html import escape
from itertools import groupby, takewhile
from pathlib import Path

from pyte.screens import Char

from benchmarks.replay.typist import Key, next_keystroke
from carousel_client import Suggestion
from tests.pty_screen import PtyScreen

OUT = Path(__file__).resolve().parent / "type.svg"
COLUMNS, LINES = 84, 15

TEXT = """\
import os
import sys


def main():
    for root, dirs, files in os.walk(sys.argv[1]):
        for name in files:
            print(os.path.jo"""

_TAB, _RIGHT, _ENTER, _CTRL_Q = "\t", "\x1b[C", "\r", "\x11"
_GREY = "808080"
_CELL_WIDTH, _CELL_HEIGHT, _FONT_SIZE = 9, 20, 15
_MARGIN = 16
_BACKGROUND, _FOREGROUND, _BAR = "#1c1f26", "#e6e6e6", "#39414f"
_FONT = "'DejaVu Sans Mono', Menlo, Consolas, monospace"
_CURSOR = "#7aa2f7"


def main() -> None:
    """Run, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, help="a model folder; the shipped one if not given")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "service.terminal", "type"]
    if arguments.model is not None:
        command += ["--model", str(arguments.model)]
    # A run of its own, whatever else may be running here: the picture says "in this process".
    environment = {**os.environ, "CAROUSEL_GRPC_PORT": "1"}  # noqa: TID251  handed on, not read
    with PtyScreen(command, columns=COLUMNS, lines=LINES, environment=environment) as terminal:
        terminal.wait_for("Ctrl-Q", timeout_s=120)
        terminal.settle()
        typed = 0
        while typed < len(TEXT):
            key, length = next_key(TEXT[typed:], grey_text(terminal))
            terminal.press(key)
            terminal.settle()
            typed += length
        arguments.out.write_text(svg_of(terminal), encoding="utf-8")
        terminal.press(_CTRL_Q)
        terminal.wait_for_end()
    print(f"written: {arguments.out}")


def next_key(coming: str, grey: str) -> tuple[str, int]:
    """The key that the typist presses, and how many characters it makes."""
    keystroke = next_keystroke(coming, [Suggestion("", grey, 0.0, None)] if grey else [])
    match keystroke.key:
        case Key.WHOLE:
            return _TAB, keystroke.length
        case Key.WORD:
            return _RIGHT, keystroke.length
        case Key.CHARACTER:
            return _ENTER if coming[0] == "\n" else coming[0], 1


def grey_text(terminal: PtyScreen) -> str:
    """The suggestion after the cursor, as far as it stands on the cursor's line."""
    screen = terminal.screen
    cells = (screen.buffer[screen.cursor.y][column] for column in range(screen.cursor.x, screen.columns))
    return "".join(cell.data for cell in takewhile(lambda cell: cell.fg == _GREY, cells))


def svg_of(terminal: PtyScreen) -> str:
    """The screen as SVG: one rectangle for each coloured run of cells, one text for each run of one style."""
    screen = terminal.screen
    width = screen.columns * _CELL_WIDTH + 2 * _MARGIN
    height = screen.lines * _CELL_HEIGHT + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="{_FONT}" font-size="{_FONT_SIZE}" role="img" '
        'aria-label="carousel type: code being typed, its continuation in grey after the cursor">',
        f'<rect width="{width}" height="{height}" rx="10" fill="{_BACKGROUND}"/>',
    ]
    for row in range(screen.lines):
        parts += _row(screen.buffer[row], row, screen.columns)
    cursor_x, cursor_y = _place(screen.cursor.x, screen.cursor.y)
    parts.append(f'<rect x="{cursor_x}" y="{cursor_y}" width="2" height="{_CELL_HEIGHT}" fill="{_CURSOR}"/>')
    return "\n".join([*parts, "</svg>", ""])


def _row(cells: dict[int, Char], row: int, columns: int) -> Iterator[str]:
    def style(column: int) -> tuple[bool, str, bool]:
        cell = cells[column]
        return cell.reverse, cell.fg, cell.bold

    for (reverse, colour, bold), run in groupby(range(columns), key=style):
        taken = list(run)
        x, y = _place(taken[0], row)
        if reverse:
            length = len(taken) * _CELL_WIDTH
            yield f'<rect x="{x}" y="{y}" width="{length}" height="{_CELL_HEIGHT}" fill="{_BAR}"/>'
        text = "".join(cells[column].data for column in taken).rstrip()
        if text:
            fill = _FOREGROUND if colour == "default" else f"#{colour}"
            weight = ' font-weight="bold"' if bold else ""
            # A place for every code point: no font's own widths move the columns, and wide characters keep two.
            places = [_place(column, row)[0] for column in taken for _ in cells[column].data][: len(text)]
            yield (
                f'<text x="{" ".join(map(str, places))}" y="{y + _FONT_SIZE}" fill="{fill}"{weight} '
                f'xml:space="preserve">{escape(text)}</text>'
            )


def _place(column: int, row: int) -> tuple[int, int]:
    return _MARGIN + column * _CELL_WIDTH, _MARGIN + row * _CELL_HEIGHT


if __name__ == "__main__":
    main()
