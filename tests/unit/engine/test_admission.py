"""What the engine takes on follows from what it has measured."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.engine.admission import Admission

costs = st.floats(1e-6, 0.05)


def learned(base_s: float, row_s: float, rows_per_request: int, *, ticks: list[int] | None = None) -> Admission:
    """One that has seen ticks of some sizes on a machine whose ticks cost `base_s` and `row_s` for each row."""
    admission = Admission(max_rows=64, max_wait_s=0.25, max_waiting=4096)
    for rows in ticks or [1, 3, 64, 20, 7, 64]:
        admission.ticked(rows, base_s + row_s * rows)
    for _ in range(5):
        admission.answered(rows_per_request)
    admission.ticked(64, base_s + row_s * 64)
    return admission


def test_before_anything_is_known_only_the_number_is_bounded() -> None:
    assert Admission(max_rows=64, max_wait_s=0.25, max_waiting=100).most == 100


@given(base_s=costs, row_s=costs, rows_per_request=st.integers(1, 300))
def test_as_many_are_taken_as_are_answered_in_time(base_s: float, row_s: float, rows_per_request: int) -> None:
    def seconds_for(requests: int) -> float:
        """On that machine, by its true costs."""
        full_batches = max(requests / 64, 1.0)
        return rows_per_request * full_batches * (base_s + row_s * min(requests, 64))

    allowed_s = max(0.25, 4 * seconds_for(1))
    most = learned(base_s, row_s, rows_per_request).most
    assert 4 <= most <= 4096
    assert seconds_for(most) <= allowed_s * 1.01
    if most < 4096:
        assert seconds_for(most + 1) > allowed_s * 0.99


def test_a_slow_model_that_does_two_hundred_requests_a_second_takes_fifty() -> None:
    assert 49 <= learned(0.0, 1 / (200 * 9), 9).most <= 51


def test_one_typist_at_a_time_tells_nothing_about_a_crowd_so_the_crowd_is_let_in() -> None:
    admission = learned(0.002, 0.0, 16, ticks=[1] * 50)
    assert admission.most > 64, "sixty-four share each tick, so they wait no longer than one"


def test_a_model_that_becomes_slow_is_noticed_within_a_few_ticks() -> None:
    admission = learned(0.0001, 0.00001, 9)
    assert admission.most > 2000
    for rows in (64, 60, 64, 64, 50, 64, 64, 64):
        admission.ticked(rows, 0.04)
    assert admission.most < 256


def test_where_one_alone_takes_long_a_few_may_share() -> None:
    assert learned(0.0, 1.0, 100).most == 4
    assert learned(1.0, 0.0, 100).most == 4 * 64
