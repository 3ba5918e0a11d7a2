"""Where llama.cpp's own stop rules end a text, both at a line break: by indentation, and by time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_BLANKS: Final = " \t"


def end_by_indent(text: str, n_indent: int) -> int | None:
    """The line break after which a line is indented by fewer than `n_indent` blanks; None if there is none yet.

    Blank lines are indented like the line after them; a line whose first character has not come says nothing.
    """
    if n_indent == 0:
        return None
    end = text.find("\n")
    while end >= 0:
        begun = _past_blank_lines(text, end + 1)
        line = text[begun:]
        indent = len(line) - len(line.lstrip(_BLANKS))
        if indent < len(line) and line[indent] != "\n" and indent < n_indent:
            return end
        end = text.find("\n", begun)
    return None


def _past_blank_lines(text: str, at: int) -> int:
    """Where the first line from `at` on begins that is not blank, or the last one there is."""
    while (end := text.find("\n", at)) >= 0 and not text[at:end].strip(_BLANKS):
        at = end + 1
    return at


class Ends:
    """Where one request's texts end beside their stop strings; `clock` in seconds, and time runs from `start`."""

    def __init__(self, n_indent: int, limit_s: float | None, clock: Callable[[], float]) -> None:
        self._n_indent, self._limit_s, self._clock = n_indent, limit_s, clock
        self._until = float("inf")

    @property
    def any(self) -> bool:
        """Whether there is such a rule at all."""
        return self._n_indent > 0 or self._limit_s is not None

    def start(self) -> None:
        """Generation begins."""
        if self._limit_s is not None:
            self._until = self._clock() + self._limit_s

    def __call__(self, text: str) -> int | None:
        """The length that `text` has to have if it ends now."""
        ends = [end_by_indent(text, self._n_indent)]
        if self._clock() > self._until and "\n" in text:
            ends.append(text.rfind("\n"))
        return min((end for end in ends if end is not None), default=None)
