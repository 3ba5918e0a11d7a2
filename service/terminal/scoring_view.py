"""A score as a person sees it: the text with its surprising characters in colours, and the places in words."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.text import Text

from service.terminal.scoring import FileScore, Place

# In bits: one chance in 16, 128, 2048.
_LEVELS = ((11.0, "bold white on red"), (7.0, "black on dark_orange"), (4.0, "yellow"))


def coloured(content: bytes, score: FileScore) -> Iterator[Text]:
    """The text line by line; the rarer a character is after what is before it, the more it stands out."""
    at = 0
    for line in content.splitlines(keepends=True):
        text = line.decode()
        shown = Text()
        for style, characters in groupby(_styles(text, at, score), key=lambda one: one[1]):
            shown.append("".join(character for character, _ in characters), style)
        shown.rstrip()
        yield shown
        at += len(line)


def described(place: Place, name: str) -> str:
    """A place in one line, beginning as compilers do, so that editors jump there."""
    after = f" after {place.after!r}" if place.after else ""
    expected = repr(place.expected) if place.expected else "the end"
    return (
        f"{name}:{place.line}:{place.column}: {place.bits:.1f} bits: {place.text!r}{after}, "
        f"expected {expected} ({place.probability:.0%})"
    )


def summary(content: bytes, score: FileScore, name: str) -> str:
    """The whole file in one line."""
    return f"{name}: {score.bits_per_byte:.3f} bits per byte, {len(content):,} bytes, model {score.model.name}"


def _styles(text: str, at: int, score: FileScore) -> Iterator[tuple[str, str]]:
    for character in text:
        end = at + len(character.encode())
        yield character, style_of(sum(score.bits[at:end]))
        at = end


def style_of(bits: float) -> str:
    """How a character that took so many bits is shown; empty for one that was expected."""
    return next((style for level, style in _LEVELS if bits >= level), "")
