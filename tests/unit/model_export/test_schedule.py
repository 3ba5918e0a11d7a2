"""How long to train, and how fast to learn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_export.errors import TrainingError
from model_export.training.schedule import Schedule


@pytest.mark.parametrize(
    "schedule",
    [
        lambda: Schedule(),
        lambda: Schedule(seconds=1.0, total_bytes=1),
        lambda: Schedule(seconds=0.0),
        lambda: Schedule(total_bytes=-5),
        lambda: Schedule(total_bytes=5, focus=1.5),
    ],
)
def test_a_schedule_without_one_positive_length_is_refused(schedule: object) -> None:
    assert callable(schedule)
    with pytest.raises(TrainingError):
        schedule()


@given(st.floats(0, 1000), st.integers(0, 10**6))
def test_progress_goes_from_zero_to_one_by_time_or_by_bytes(elapsed_s: float, bytes_seen: int) -> None:
    assert Schedule(seconds=100.0).progress(elapsed_s, bytes_seen) == min(1.0, elapsed_s / 100)
    assert Schedule(total_bytes=1000).progress(elapsed_s, bytes_seen) == min(1.0, bytes_seen / 1000)


def test_the_rate_warms_up_to_its_peak_and_falls_to_its_floor() -> None:
    schedule = Schedule(peak=1.0, warmup_steps=10, floor=0.1, total_bytes=100)
    assert [schedule.learning_rate(step, 0.0) for step in (0, 4, 9, 50)] == [0.1, 0.5, 1.0, 1.0]
    assert schedule.learning_rate(50, 0.5) == pytest.approx(0.55)
    assert schedule.learning_rate(50, 1.0) == pytest.approx(0.1)


def test_a_timed_run_warms_up_without_looking_at_the_clock() -> None:
    schedule = Schedule(warmup_steps=200, seconds=600.0)
    assert schedule.learning_rate(99, 0.02) == schedule.learning_rate(99, 0.3)
    assert schedule.learning_rate(200, 0.02) > schedule.learning_rate(200, 0.3)


def test_the_last_share_is_focused() -> None:
    schedule = Schedule(total_bytes=100, focus=0.25)
    assert [schedule.focused(progress) for progress in (0.0, 0.74, 0.75, 1.0)] == [False, False, True, True]
