"""When a call is made again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carousel_client import (
    CarouselError,
    DeadlineExceeded,
    Fenced,
    InvalidArgument,
    Overloaded,
    QuotaExceeded,
    RetryPolicy,
    Unavailable,
)
from carousel_client.retries import Attempts

GONE = Unavailable("gone")


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def attempts(clock: Clock, timeout_s: float = 60.0, **policy: float) -> Attempts:
    return Attempts(RetryPolicy(**policy), timeout_s, clock, lambda: 0.0)  # type: ignore[arg-type]  # attempts is an int among floats


def test_delays_double_up_to_the_longest() -> None:
    calls = attempts(Clock(), attempts=6, first_delay_s=0.1, max_delay_s=0.5)
    assert [calls.delay_after(GONE) for _ in range(5)] == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5])


def test_the_last_attempt_s_error_is_raised() -> None:
    calls = attempts(Clock(), attempts=2)
    calls.delay_after(GONE)
    with pytest.raises(Unavailable):
        calls.delay_after(GONE)


@pytest.mark.parametrize(
    "error",
    [InvalidArgument("no"), Overloaded("full"), QuotaExceeded("enough", retry_after_s=0.1), DeadlineExceeded("")],
)
def test_what_the_same_call_would_meet_again_is_raised(error: CarouselError) -> None:
    with pytest.raises(type(error)):
        attempts(Clock()).delay_after(error)


@pytest.mark.parametrize("error", [GONE, Fenced("taken over"), Overloaded("full", retry_after_s=0.3)])
def test_what_passes_is_waited_out_at_least_as_long_as_the_server_says(error: CarouselError) -> None:
    delay_s = attempts(Clock()).delay_after(error)
    assert delay_s == (0.3 if isinstance(error, Overloaded) else 0.05)


def test_a_delay_that_the_server_asks_for_is_kept() -> None:
    assert attempts(Clock()).delay_after(Unavailable("draining", retry_after_s=3.0)) == 3.0


def test_no_delay_outlasts_the_deadline() -> None:
    with pytest.raises(Unavailable):
        attempts(Clock(), timeout_s=2.0).delay_after(Unavailable("draining", retry_after_s=3.0))


def test_each_attempt_has_what_the_earlier_ones_left_of_the_time() -> None:
    clock = Clock()
    calls = attempts(clock, timeout_s=5.0)
    assert calls.timeout_s() == 5.0
    clock.now_s += 4.0
    assert calls.timeout_s() == 1.0
    clock.now_s += 1.0
    with pytest.raises(DeadlineExceeded):
        calls.timeout_s()


@given(failures=st.integers(1, 30), jitter=st.floats(0, 1, exclude_max=True))
def test_a_delay_lies_between_half_and_all_of_its_step(failures: int, jitter: float) -> None:
    policy = RetryPolicy(first_delay_s=0.05, max_delay_s=1.0)
    step_s = min(0.05 * 2 ** (failures - 1), 1.0)
    assert step_s / 2 <= policy.delay_s(failures, GONE, jitter) <= step_s
