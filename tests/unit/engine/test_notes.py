"""What a completion tells of its bytes is what scoring the same bytes finds, and it changes no byte."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.engine import EngineConfig
from service.engine.fake_model import FakeModel
from service.engine.requests import Advance, Complete, CompleteSpec, PathId, Piece, SamplingSpec
from service.engine.scheduler import BatchLimits
from tests.unit.engine.test_scoring import Bench, budget, naive

specs = st.builds(
    CompleteSpec,
    st.integers(1, 40),
    st.sampled_from([(), (b"ab",), ("é".encode(), b"c")]),
    st.builds(
        SamplingSpec,
        temperature=st.sampled_from([0.0, 1.0, 3.0]),
        repetition_penalty=st.sampled_from([1.0, 1.5]),
        logit_bias=st.sampled_from([(), ((0xC3, 9.0), (0xFF, -100.0))]),
        seed=st.integers(0, 9),
    ),
    st.integers(0, 16),
)


def _complete(bench: Bench, path: PathId, text: bytes, spec: CompleteSpec) -> list[Piece]:
    ticket = bench.ask(Complete(path, text, spec=spec))
    bench.run()
    return [piece for piece in bench.answers[ticket] if isinstance(piece, Piece)]


@given(
    text=st.text("ab\x01é", max_size=9).map(str.encode),
    spec=specs,
    held=st.booleans(),
    rows=st.sampled_from([64, 100_000]),
    top_k=st.sampled_from([1, 16]),
)
@settings(max_examples=60)
def test_every_byte_is_as_likely_as_a_score_of_it_finds(
    text: bytes, spec: CompleteSpec, held: bool, rows: int, top_k: int
) -> None:
    bench = Bench(FakeModel(top_k=top_k), EngineConfig(budget(rows), BatchLimits(max_rows=4, max_chunk=5)))
    path = bench.path()
    if held:
        _complete(bench, path, text, replace(spec, top=None))
    pieces = _complete(bench, path, text, spec)
    said = b"".join(piece.text for piece in pieces)
    assert spec.top is not None
    expected = naive(text + said, len(text), spec.top, top_k)
    for name in ("log_probabilities", "top_tokens", "top_log_probabilities"):
        found = np.concatenate([getattr(piece, name) for piece in pieces])
        assert found.dtype == getattr(expected, name).dtype
        np.testing.assert_array_equal(found.reshape(-1), getattr(expected, name).reshape(-1), name)
    other = Bench(FakeModel(top_k=top_k))
    untold = _complete(other, other.path(), text, replace(spec, top=None))
    assert said == b"".join(piece.text for piece in untold)
    assert pieces[-1].finish is untold[-1].finish
    assert untold[-1].log_probabilities is None


def test_what_is_held_costs_no_step_to_tell() -> None:
    bench = Bench()
    path = bench.path()
    bench.ask(Advance(path, b"abc"))
    spec = CompleteSpec(60, top=3)
    first = _complete(bench, path, b"abc", spec)
    before = bench.model.steps
    again = _complete(bench, path, b"abc", spec)
    assert b"".join(piece.text for piece in again) == b"".join(piece.text for piece in first)
    assert bench.model.steps == before
