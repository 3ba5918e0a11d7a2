"""Every sequence of every model has a session of its own, whatever it is called."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from service.transport.kserve.sequence_ids import session_of

MODELS = st.text(st.sampled_from("ab.1is"), min_size=1, max_size=6)
SEQUENCES = st.integers(0, 2**64 - 1) | st.text(max_size=8) | st.text(st.sampled_from(".is1"), max_size=6)


@given(MODELS, SEQUENCES, MODELS, SEQUENCES)
def test_two_sequences_never_share_a_session(
    model: str, sequence: int | str, other_model: str, other: int | str
) -> None:
    same = (model, type(sequence), sequence) == (other_model, type(other), other)
    assert (session_of(model, sequence) == session_of(other_model, other)) == same


@given(MODELS, SEQUENCES | st.text(min_size=100, max_size=128))
def test_every_sequence_has_an_id_that_sessions_take(model: str, sequence: int | str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", session_of(model, sequence))


def test_a_short_name_can_be_read() -> None:
    assert session_of("python", 42) == "sequence.6.python.i.42"
    assert session_of("python", "tab-1") == "sequence.6.python.s.tab-1"
