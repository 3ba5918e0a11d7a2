"""How a typist divides text: characters as they are seen, and words."""

from __future__ import annotations

import re

from wcwidth import iter_graphemes, iter_graphemes_reverse

# White space before a word belongs to it; a run of signs is a word too: every suggestion can be taken in pieces.
_WORD = re.compile(r"\s*(?:\w+|[^\w\s]+|$)")
_LOOK = 64  # code points looked at for one seen character; longer clusters are nobody's language


def first_word(text: str) -> str:
    """The shortest beginning of `text` that is a word, with the white space before it."""
    found = _WORD.match(text)
    return found.group() if found else text


def length_before(text: str, cursor: int) -> int:
    """Code points of the character, as it is seen, that ends at `cursor`; 0 at the start.

    An emoji of several code points, or a letter with combining marks, is one character.
    """
    return len(next(iter_graphemes_reverse(text[max(0, cursor - _LOOK) : cursor]), ""))


def length_after(text: str, cursor: int) -> int:
    """Code points of the character, as it is seen, that begins at `cursor`; 0 at the end."""
    return len(next(iter_graphemes(text[cursor : cursor + _LOOK]), ""))
