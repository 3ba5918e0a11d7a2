"""The end of a long text that is read: bounded, whole characters, and the same while the text grows."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from service.sessions.window import readable_end

lines = st.lists(st.text("abcé()", max_size=12), max_size=60).map("\n".join)


@given(lines | st.text("é字", max_size=200))
def test_it_is_an_end_of_the_text_within_its_bounds(text: str) -> None:
    end = readable_end(text, 64, 128)
    assert text.endswith(end)
    size = len(text.encode())
    assert len(end.encode()) == size if size <= 128 else 60 <= len(end.encode()) <= 128


@given(lines)
def test_it_depends_on_the_window_alone(text: str) -> None:
    end = readable_end(text, 64, 128)
    if len(text.encode()) > 128:
        cut = text.encode()[-128:].decode(errors="ignore")
        assert readable_end("x" * 200 + "\n" + text, 64, 128) == readable_end("y" * 200 + "\n" + text, 64, 128)
        assert cut.endswith(end)


def test_a_long_text_that_grows_begins_elsewhere_but_rarely() -> None:
    chosen = random.Random(5)
    text = "\n".join("".join(chosen.choices("abcdef (.)", k=chosen.randrange(5, 60))) for _ in range(400))
    starts = set()
    for grown in range(8192, len(text)):
        starts.add(grown - len(readable_end(text[:grown])))
    assert len(text) > 12_000
    assert len(starts) <= (len(text) - 8192) / 1000


def test_an_editors_window_of_lines_that_slides_is_read_from_the_same_line() -> None:
    chosen = random.Random(6)
    typed = ["".join(chosen.choices("abcdef (.)", k=chosen.randrange(20, 60))) for _ in range(300)]
    ends = [readable_end("\n".join(typed[first : first + 256])) for first in range(40)]
    joined = "\n".join(typed)
    starts = {joined.index(end[:100]) for end in ends}
    assert len(starts) <= 4
