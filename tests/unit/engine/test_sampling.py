"""Sampling: a draw is a function of its distribution, seed and position, and has the right frequencies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine import filters, sampling
from service.engine.requests import SamplingSpec

ALL = np.ones(8, np.bool_)
LOG_PROBABILITIES = np.log(np.array([0.30, 0.05, 0.02, 0.25, 0.08, 0.10, 0.15, 0.05])).astype(np.float32)
seeds = st.integers(0, 2**64 - 1)


@given(seeds, st.integers(0, 10**9))
def test_a_draw_lies_in_the_unit_interval_and_is_the_same_every_time(seed: int, position: int) -> None:
    at = sampling.uniform(seed, position)
    assert 0 <= at < 1
    assert sampling.uniform(seed, position) == at


def test_draws_of_a_seed_and_of_neighbouring_seeds_are_even() -> None:
    for draws in (
        [sampling.uniform(7, position) for position in range(4000)],
        [sampling.uniform(seed, 0) for seed in range(4000)],
        [sampling.uniform(sampling.seed_of_sample(3, index), 5) for index in range(4000)],
    ):
        counts, _ = np.histogram(draws, bins=10, range=(0, 1))
        assert ((counts - 400) ** 2 / 400).sum() < 35  # chi-squared with 9 degrees of freedom: p = 0.00006
        assert len(set(draws)) == len(draws)


def test_the_numbers_of_a_seed_never_change() -> None:
    assert [sampling.uniform(1, position) for position in range(3)] == NUMBERS_OF_SEED_ONE


NUMBERS_OF_SEED_ONE = [0.7497482413580301, 0.37239342287916577, 0.4382839062845528]


def test_tokens_come_as_often_as_they_are_likely() -> None:
    spec = SamplingSpec(temperature=1.0, seed=11)
    drawn = [sampling.choose(LOG_PROBABILITIES, spec, ALL, b"", position) for position in range(4000)]
    frequencies = np.bincount(drawn, minlength=8) / 4000
    assert frequencies == pytest.approx(np.exp(LOG_PROBABILITIES), abs=0.03)


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 8), st.integers(0, 7))
def test_what_is_ruled_out_is_never_drawn(at: float, k: int, forbidden: int) -> None:
    weights = filters.apply_top_k(LOG_PROBABILITIES.astype(np.float64), k)
    if k > 1:
        weights[forbidden] = -np.inf
    assert np.isfinite(weights[sampling.draw(weights, at)])


@given(seeds)
def test_at_temperature_zero_the_likeliest_is_taken_and_of_equals_the_lowest(seed: int) -> None:
    assert sampling.choose(LOG_PROBABILITIES, SamplingSpec(seed=seed), ALL, b"", 0) == 0
    assert sampling.choose(np.zeros(8, np.float32), SamplingSpec(seed=seed), ALL, b"", 0) == 0
    assert sampling.choose(LOG_PROBABILITIES, SamplingSpec(seed=seed), np.arange(8) > 0, b"", 0) == 3


def test_bias_and_penalty_count_at_temperature_zero_too() -> None:
    assert sampling.choose(LOG_PROBABILITIES, SamplingSpec(logit_bias=((2, 50.0),)), ALL, b"", 0) == 2
    assert sampling.choose(LOG_PROBABILITIES, SamplingSpec(repetition_penalty=2.0), ALL, b"\x00", 0) == 3


@given(seeds, st.integers(1, 100))
def test_further_samples_have_other_seeds_and_the_first_has_the_seed_itself(seed: int, index: int) -> None:
    assert sampling.seed_of_sample(seed, 0) == seed
    assert sampling.seed_of_sample(seed, index) != seed


@given(st.binary(min_size=1, max_size=6).map(lambda said: bytes(x % 8 for x in said)))
def test_penalties_are_of_what_was_generated_and_not_of_what_was_read(said: bytes) -> None:
    spec = SamplingSpec(presence_penalty=2.0, frequency_penalty=2.0)
    assert sampling.choose(LOG_PROBABILITIES, spec, ALL, said, len(said)) == 0
    chosen = sampling.choose(LOG_PROBABILITIES, spec, ALL, b"", len(said), said)
    unsaid = [token for token in range(8) if token not in said]
    assert chosen == max(unsaid, key=lambda token: LOG_PROBABILITIES[token])


@pytest.mark.parametrize("spec", [SamplingSpec(presence_penalty=0.1), SamplingSpec(frequency_penalty=-0.1)])
def test_greedy_with_a_penalty_looks_at_the_whole_distribution(spec: SamplingSpec) -> None:
    assert not sampling.looks_at_head_only(spec)
