"""Make type.svg, the README's picture of `carousel type`, from a real run of it.

    python -m docs.pictures.make_terminal_picture [--model FOLDER]    # from the repository's root

Runs the program in a pseudo-terminal, presses keys, and draws the screen as it then is, cell by cell. The keys are
chosen here; the suggestions, their probabilities and the latency are whatever the model said on this machine.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path

from pyte.screens import Char

from tests.pty_screen import PtyScreen

OUT = Path(__file__).resolve().parent / "type.svg"
COLUMNS, LINES = 84, 15

# Each line is typed as it stands; then suggestions are waited for. A tab accepts what is shown in grey by then.
KEYS = ("import os\r", "import sys\r", "\r", "def main():\r", "    for root, dirs, files in os.wal")

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
    command = [sys.executable, "-m", "service.terminal"]
    if arguments.model is not None:
        command += ["--model", str(arguments.model)]
    # A run of its own, whatever else may be running here: the picture says "in this process".
    environment = {**os.environ, "CAROUSEL_GRPC_PORT": "1"}  # noqa: TID251  handed on, not read
    with PtyScreen(command, columns=COLUMNS, lines=LINES, environment=environment) as terminal:
        terminal.wait_for("Ctrl-Q", timeout_s=120)
        for keys in KEYS:
            for key in keys:
                terminal.press(key)
                terminal.settle()
        terminal.wait_for(lambda shown: "%" in shown and "p50" in shown)
        terminal.settle()
        arguments.out.write_text(svg_of(terminal), encoding="utf-8")
        terminal.press("\x11")
        terminal.wait_for_end()
    print(f"written: {arguments.out}")


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
        length = len(taken) * _CELL_WIDTH
        if reverse:
            yield f'<rect x="{x}" y="{y}" width="{length}" height="{_CELL_HEIGHT}" fill="{_BAR}"/>'
        text = "".join(cells[column].data for column in taken)
        blanks = len(text) - len(text.rstrip())
        length -= blanks * _CELL_WIDTH
        if text.strip():
            fill = _FOREGROUND if colour == "default" else f"#{colour}"
            weight = ' font-weight="bold"' if bold else ""
            yield (
                f'<text x="{x}" y="{y + _FONT_SIZE}" fill="{fill}"{weight} textLength="{length}" '
                f'xml:space="preserve">{escape(text.rstrip())}</text>'
            )


def _place(column: int, row: int) -> tuple[int, int]:
    return _MARGIN + column * _CELL_WIDTH, _MARGIN + row * _CELL_HEIGHT


if __name__ == "__main__":
    main()
