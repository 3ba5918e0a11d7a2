"""Texts that break careless counting, and edits of which some can be done and some cannot."""

from __future__ import annotations

from hypothesis import strategies as st

from service.sessions.commands import Delete, Insert, MoveCursor, Replace, Units
from service.sessions.edits import PlainEdit

# One, two, three and four bytes of UTF-8; one and two UTF-16 units; combining marks; an emoji joined of several.
_ALPHABET = [
    "a",
    "b",
    "\n",
    "\x00",
    "é",
    "e\u0301",
    "ß",
    "漢",
    "\ufeff",
    "😀",
    "\U0001d518",
    "👩\u200d🚀",
    "🏳\ufe0f\u200d🌈",
]

texts = st.lists(st.sampled_from(_ALPHABET) | st.characters(exclude_categories=["Cs"]), max_size=12).map("".join)
surrogates = st.sampled_from(["\ud83d", "\ude00", "a\ud800", "\udfff😀"])
units = st.sampled_from(list(Units))
offsets = st.integers(-1, 40)


def edits(inserted: st.SearchStrategy[str] = texts) -> st.SearchStrategy[PlainEdit]:
    return st.one_of(
        st.builds(Insert, inserted),
        st.builds(Delete, st.integers(-1, 12)),
        st.builds(Replace, offsets, offsets, inserted),
        st.builds(
            lambda start, length, text: Replace(start, start + length, text), offsets, st.integers(0, 9), inserted
        ),
        st.builds(MoveCursor, offsets),
    )


edits_with_surrogates = edits(texts | surrogates)
