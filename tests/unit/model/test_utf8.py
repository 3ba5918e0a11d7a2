"""The UTF-8 automaton agrees with Python's own decoder."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from service.model.utf8 import TRANSITIONS, Utf8


def accepts(data: bytes) -> bool:
    state = Utf8.COMPLETE
    for byte in data:
        state = TRANSITIONS[state][byte]
    return state is Utf8.COMPLETE


@given(st.one_of(st.binary(max_size=6), st.text(max_size=4).map(lambda t: t.encode("utf-8", "surrogatepass"))))
@example(b"\xed\xa0\x80")
@example(b"\xf4\x90\x80\x80")
@example(b"\xc0\x80")
@example(b"\xff")
def test_it_accepts_exactly_what_python_decodes(data: bytes) -> None:
    try:
        data.decode("utf-8")
        valid = True
    except UnicodeDecodeError:
        valid = False
    assert accepts(data) == valid


@given(st.text(min_size=1, max_size=6))
def test_every_prefix_of_valid_text_is_a_live_state(text: str) -> None:
    state = Utf8.COMPLETE
    for byte in text.encode("utf-8", "ignore"):
        state = TRANSITIONS[state][byte]
        assert state is not Utf8.REJECT


def test_the_separator_never_occurs_in_text() -> None:
    assert all(TRANSITIONS[state][0xFF] is Utf8.REJECT for state in Utf8)
