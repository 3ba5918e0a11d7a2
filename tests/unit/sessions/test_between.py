"""Where a candidate may end, and which fits best."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.sessions import between

texts = st.text("ab)\n é", max_size=40)


@given(texts, texts)
def test_cuts_are_the_candidate_and_beginnings_of_it_longest_first(candidate: str, suffix: str) -> None:
    cuts = between.cuts(candidate, suffix)
    assert cuts[0] == candidate
    assert all(candidate.startswith(cut) for cut in cuts)
    assert sorted(map(len, cuts), reverse=True) == [*map(len, cuts)]
    assert len(set(cuts)) == len(cuts) <= 9
    assert all(cuts[1:])


def test_a_candidate_is_cut_where_it_runs_into_what_comes_after() -> None:
    assert between.cuts("x, y)\n    return x", ")\n    return x\n") == ("x, y)\n    return x", "x, y)", "x, y")


def test_a_candidate_is_cut_at_its_line_breaks() -> None:
    assert between.cuts("1\n2\n3", "zzz") == ("1\n2\n3", "1\n2", "1")


@given(texts)
def test_what_is_weighed_is_a_beginning_of_whole_characters(suffix: str) -> None:
    weighed = between.weighed(suffix * 10)
    assert (suffix * 10).startswith(weighed)
    assert len(weighed.encode()) <= 64


def test_of_equals_the_first_is_best() -> None:
    assert between.best_cut([-2.0, -1.0, -1.0]) == 1
    assert between.best_first([-2.0, -1.0, -2.0], ["a", "b", "c"]) == [1, 0, 2]


def test_what_says_the_same_again_comes_last() -> None:
    assert between.best_first([-3.0, -1.0, -2.0, -4.0], ["a", "b", "b", "c"]) == [1, 0, 3, 2]


def test_more_candidates_are_made_than_are_told() -> None:
    assert [between.candidates_for(wanted) for wanted in (1, 2, 3, 8, 16)] == [4, 4, 6, 16, 16]
