"""Source code character by character: what is comment, what is string, and how deep.

Pygments reads the text, because its lexers get through any text, broken ones and unfinished ones too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, String

INDENT = 4
"""Spaces from one tab stop to the next."""

Flags = NDArray[np.bool_]
_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Share:
    """How many of something were right; `of` may be zero, and then there is no share."""

    right: int
    of: int

    @property
    def value(self) -> float:
        """The share, or NaN where there was nothing."""
        return self.right / self.of if self.of else float("nan")

    def __add__(self, other: Share) -> Share:
        return Share(self.right + other.right, self.of + other.of)

    def __str__(self) -> str:
        return f"{self.right:,} of {self.of:,}"


@dataclass(frozen=True)
class Lexed:
    """A text of ASCII in a language that Pygments knows by this name; one flag for each character."""

    text: str
    language: str = "java"

    @cached_property
    def _kinds(self) -> tuple[Flags, Flags]:
        comment, string = (np.zeros(len(self.text), np.bool_) for _ in range(2))
        lexer = get_lexer_by_name(self.language, stripnl=False, ensurenl=False)
        for start, kind, value in lexer.get_tokens_unprocessed(self.text):
            family = kind.split()
            if Comment in family and Comment.Preproc not in family:
                comment[start : start + len(value)] = True
            elif String in family:
                string[start : start + len(value)] = True
        return comment, string

    @property
    def comment(self) -> Flags:
        """Whether each character is part of a comment, its marks included."""
        return self._kinds[0]

    @property
    def string(self) -> Flags:
        """Whether each character is part of a string or character literal, its quotes included."""
        return self._kinds[1]

    @cached_property
    def code(self) -> str:
        """The text with spaces where comments and strings stand; lines stay lines."""
        hidden = self.comment | self.string
        pairs = zip(self.text, hidden.tolist(), strict=True)
        return "".join(" " if hide and one != "\n" else one for one, hide in pairs)


@lru_cache(maxsize=512)
def lexed(text: str, language: str = "java") -> Lexed:
    """The text read once, however much is then measured on it."""
    return Lexed(text, language)


def brackets(code: str) -> Share:
    """Of the closing brackets, how many close the one that was opened last. A wrong one closes nothing."""
    open_, right, closing = [], 0, 0
    for one in code:
        if one in _OPENING:
            open_.append(one)
        elif one in _CLOSING:
            closing += 1
            if open_ and _OPENING.index(open_[-1]) == _CLOSING.index(one):
                open_.pop()
                right += 1
    return Share(right, closing)


def blocks(code: str, *, slack: int) -> Share:
    """Of the braces opened inside of another at least `slack` characters before the end, how many are closed."""
    open_: list[int] = []
    counted, closed = 0, 0
    for place, one in enumerate(code):
        if one == "{":
            inside = bool(open_) and place < len(code) - slack
            counted += inside
            open_.append(place if inside else -1)
        elif one == "}" and open_:
            closed += open_.pop() >= 0
    return Share(closed, counted)


def depth(code: str) -> NDArray[np.int64]:
    """How many braces are open after each character."""
    letters = np.frombuffer(code.encode("ascii", errors="replace"), np.uint8)
    steps = (letters == ord("{")).astype(np.int64) - (letters == ord("}")).astype(np.int64)
    return np.asarray(np.maximum(np.cumsum(steps), 0), np.int64)


def line_depth(text: str) -> NDArray[np.int64]:
    """The tab stops that each character's line is indented by; a blank line has that of the line before it."""
    found, last = [], 0
    for line in text.splitlines(keepends=True):
        if line.strip():
            last = (len(line) - len(line.lstrip(" "))) // INDENT
        found += [last] * len(line)
    return np.array(found, np.int64)


def leading(text: str) -> Flags:
    """Whether each character is a space with nothing but spaces before it on its line."""
    found, only_spaces = [], True
    for one in text:
        only_spaces = one == "\n" or (only_spaces and one == " ")
        found.append(only_spaces and one == " ")
    return np.array(found, np.bool_)


def to_tab_stop(text: str) -> NDArray[np.int64]:
    """How many columns are left to the next tab stop after each character, 0 where it is reached."""
    found, column = [], 0
    for one in text:
        column = 0 if one == "\n" else column + 1
        found.append(-column % INDENT)
    return np.array(found, np.int64)
