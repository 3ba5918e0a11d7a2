"""Filters: mass is one, the right tokens are kept, order matters only where it should, identity changes nothing."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.engine import filters
from service.engine.filters import LogWeights
from service.model.utf8 import TRANSITIONS, Utf8

SIZE = 12
Filter = Callable[[LogWeights], LogWeights]

rows = hnp.arrays(np.float64, SIZE, elements=st.floats(-30, 0, width=32)).map(lambda x: x - np.log(np.exp(x).sum()))
ks = st.integers(1, SIZE)
shares = st.floats(0.01, 0.99)
temperatures = st.floats(0.05, 5)


def kept(weights: LogWeights) -> set[int]:
    return set(np.flatnonzero(np.isfinite(weights)).tolist())


IDENTITIES: list[tuple[str, Filter]] = [
    ("temperature", lambda x: filters.apply_temperature(x, 1.0)),
    ("top-k", lambda x: filters.apply_top_k(x, 0)),
    ("top-k of all", lambda x: filters.apply_top_k(x, SIZE)),
    ("top-p", lambda x: filters.apply_top_p(x, 1.0)),
    ("min-p", lambda x: filters.apply_min_p(x, 0.0)),
    ("repetition penalty", lambda x: filters.apply_repetition_penalty(x, b"\x01\x02", 1.0)),
    ("repetition penalty of nothing", lambda x: filters.apply_repetition_penalty(x, b"", 1.5)),
    ("no presence, no frequency", lambda x: filters.apply_presence_and_frequency_penalties(x, b"\x01", 0.0, 0.0)),
    ("presence of nothing", lambda x: filters.apply_presence_and_frequency_penalties(x, b"", 1.0, 2.0)),
    ("logit bias", lambda x: filters.apply_logit_bias(x, ())),
    ("everything allowed", lambda x: filters.apply_allowed(x, np.ones(SIZE, np.bool_))),
]


@pytest.mark.parametrize("identity", [row[1] for row in IDENTITIES], ids=[row[0] for row in IDENTITIES])
@given(rows)
@settings(max_examples=20)
def test_a_filter_at_its_identity_setting_changes_nothing(identity: Filter, row: LogWeights) -> None:
    assert np.array_equal(identity(row), row)


@given(
    rows,
    temperatures,
    ks,
    shares,
    shares,
    st.floats(1, 2),
    st.binary(max_size=5).map(lambda b: bytes(x % SIZE for x in b)),
)
def test_mass_is_one_whatever_was_filtered(
    row: LogWeights, temperature: float, k: int, p: float, least: float, penalty: float, recent: bytes
) -> None:
    row = filters.apply_repetition_penalty(row, recent, penalty)
    row = filters.apply_temperature(row, temperature)
    row = filters.apply_min_p(filters.apply_top_p(filters.apply_top_k(row, k), p), least)
    mass = filters.probabilities(row)
    assert mass.sum() == pytest.approx(1)
    assert {int(token) for token in np.flatnonzero(mass)} <= kept(row)
    assert kept(row)


@given(rows, ks)
def test_top_k_keeps_the_k_best_and_of_equals_the_lower(row: LogWeights, k: int) -> None:
    best = sorted(range(SIZE), key=lambda token: (-row[token], token))[:k]
    assert kept(filters.apply_top_k(row, k)) == set(best)


@given(rows, shares)
def test_top_p_keeps_the_fewest_best_tokens_that_reach_it(row: LogWeights, p: float) -> None:
    nucleus = filters.apply_top_p(row, p)
    mass = np.exp(row)
    inside = kept(nucleus)
    assert mass[sorted(inside)].sum() >= p - 1e-9
    assert mass[sorted(inside)].sum() - min(mass[token] for token in inside) < p + 1e-9
    assert all(row[a] >= row[b] for a in inside for b in set(range(SIZE)) - inside)


@given(rows, shares)
def test_min_p_keeps_what_is_near_enough_to_the_best(row: LogWeights, p: float) -> None:
    inside = kept(filters.apply_min_p(row, p))
    ratio = np.exp(row - row.max())
    assert all(ratio[token] >= p - 1e-9 for token in inside)
    assert all(ratio[token] <= p + 1e-9 for token in set(range(SIZE)) - inside)


@given(rows, ks, shares, shares)
def test_what_is_kept_keeps_its_weight(row: LogWeights, k: int, p: float, least: float) -> None:
    for filtered in (filters.apply_top_k(row, k), filters.apply_top_p(row, p), filters.apply_min_p(row, least)):
        inside = sorted(kept(filtered))
        assert np.array_equal(filtered[inside], row[inside])


@given(rows, ks, shares)
def test_top_k_and_min_p_commute(row: LogWeights, k: int, p: float) -> None:
    one = filters.apply_min_p(filters.apply_top_k(row, k), p)
    other = filters.apply_top_k(filters.apply_min_p(row, p), k)
    assert np.array_equal(one, other)


@given(rows, ks, temperatures)
def test_top_k_and_temperature_commute_where_no_two_weights_are_as_good_as_equal(
    row: LogWeights, k: int, temperature: float
) -> None:
    row = np.round(row, 6) + 1e-3 * np.arange(SIZE)
    row = row[np.unique(np.round(row, 5), return_index=True)[1]]
    k = min(k, len(row))
    one = filters.apply_temperature(filters.apply_top_k(row, k), temperature)
    other = filters.apply_top_k(filters.apply_temperature(row, temperature), k)
    assert np.array_equal(one, other)


@given(rows, st.lists(st.tuples(st.integers(0, SIZE + 3), st.floats(-100, 100)), max_size=4))
def test_ruling_out_and_biasing_commute(row: LogWeights, bias: list[tuple[int, float]]) -> None:
    allowed = np.arange(SIZE) % 2 == 0
    one = filters.apply_allowed(filters.apply_logit_bias(row, bias), allowed)
    other = filters.apply_logit_bias(filters.apply_allowed(row, allowed), bias)
    assert np.array_equal(one, other)


generated = st.binary(max_size=9).map(lambda b: bytes(x % (SIZE + 4) for x in b))
strengths = st.floats(-2, 2)


@given(rows, generated, strengths, strengths)
def test_presence_counts_once_and_frequency_every_time(
    row: LogWeights, said: bytes, presence: float, frequency: float
) -> None:
    taken = row - filters.apply_presence_and_frequency_penalties(row, said, presence, frequency)
    for token in range(SIZE):
        times = said.count(token)
        assert taken[token] == pytest.approx(presence * (times > 0) + frequency * times, abs=1e-9)


@given(rows, generated, strengths, strengths, st.randoms())
def test_penalties_of_presence_and_frequency_forget_the_order(
    row: LogWeights, said: bytes, presence: float, frequency: float, chance: random.Random
) -> None:
    shuffled = bytes(chance.sample(said, len(said)))
    one = filters.apply_presence_and_frequency_penalties(row, said, presence, frequency)
    assert np.array_equal(one, filters.apply_presence_and_frequency_penalties(row, shuffled, presence, frequency))


@given(rows, generated, st.integers(0, SIZE - 1), st.floats(0.01, 2), st.floats(0.01, 2))
def test_what_is_said_once_more_becomes_rarer_and_nothing_else_does(
    row: LogWeights, said: bytes, again: int, presence: float, frequency: float
) -> None:
    before = filters.apply_presence_and_frequency_penalties(row, said, presence, frequency)
    after = filters.apply_presence_and_frequency_penalties(row, said + bytes((again,)), presence, frequency)
    assert after[again] < before[again]
    others = np.arange(SIZE) != again
    assert np.array_equal(after[others], before[others])


@given(rows, generated, strengths, st.lists(st.tuples(st.integers(0, SIZE - 1), st.floats(-9, 9)), max_size=3))
def test_a_penalty_is_a_bias_of_what_was_said(
    row: LogWeights, said: bytes, frequency: float, bias: list[tuple[int, float]]
) -> None:
    penalized = filters.apply_presence_and_frequency_penalties(row, said, 0.0, frequency)
    by_hand = [(token, -frequency * said.count(token)) for token in range(SIZE)]
    one, other = filters.apply_logit_bias(penalized, bias), filters.apply_logit_bias(row, by_hand + bias)
    assert one == pytest.approx(other, abs=1e-9)


@given(hnp.arrays(np.float64, (5, SIZE), elements=st.floats(-30, 0)), ks, shares, temperatures)
def test_a_row_gives_the_same_bits_alone_and_among_others(
    batch: LogWeights, k: int, p: float, temperature: float
) -> None:
    def all_of_them(x: LogWeights) -> LogWeights:
        x = filters.apply_presence_and_frequency_penalties(x, b"\x01\x02\x01", p, temperature)
        x = filters.apply_temperature(x, temperature)
        return filters.probabilities(filters.apply_min_p(filters.apply_top_p(filters.apply_top_k(x, k), p), 1 - p))

    together = all_of_them(np.asfortranarray(batch))
    assert all(np.array_equal(together[index], all_of_them(batch[index])) for index in range(len(batch)))


@given(rows, st.floats(1.01, 2), st.integers(0, SIZE - 1))
def test_a_repetition_makes_a_token_rarer_and_no_other(row: LogWeights, penalty: float, token: int) -> None:
    shifted = filters.apply_repetition_penalty(row, bytes([token, token]), penalty)
    assert shifted[token] == row[token] * penalty
    assert np.array_equal(np.delete(shifted, token), np.delete(row, token))


@given(rows, st.floats(1e-300, 0.01))
def test_the_least_temperature_leaves_the_best_token(row: LogWeights, temperature: float) -> None:
    assert filters.probabilities(filters.apply_temperature(row, temperature))[row.argmax()] > 0


@pytest.mark.parametrize("state", [state for state in Utf8 if state is not Utf8.REJECT])
def test_only_what_keeps_the_text_valid_is_allowed_and_its_end_only_between_characters(state: Utf8) -> None:
    allowed = filters.allowed_tokens(state, 256, 0xFF)
    for token in range(255):
        assert allowed[token] == (TRANSITIONS[state][token] is not Utf8.REJECT)
    assert allowed[0xFF] == (state is Utf8.COMPLETE)
