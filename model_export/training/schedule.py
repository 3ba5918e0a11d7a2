"""How long to train and how fast to learn at each moment of it."""

from __future__ import annotations

from dataclasses import dataclass

from model_export.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Schedule:
    """Training ends after `seconds` of training or `total_bytes` read, whichever is given; one of them must be.

    The learning rate warms up linearly over the first `warmup_steps` and then falls linearly with progress to
    `floor` of its peak (linear decay to near zero: Defazio et al. 2023). In a run limited by time the warm-up does not
    look at the clock, so that the same seed gives the same first losses. The last `focus` of the training reads the
    first corpus alone.
    """

    peak: float = 3e-3
    warmup_steps: int = 200
    floor: float = 0.01
    seconds: float | None = None
    total_bytes: int | None = None
    focus: float = 0.35

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.total_bytes is None):
            raise TrainingError("give either --minutes or --megabytes: training has to end somewhere")
        limit = self.seconds if self.seconds is not None else self.total_bytes
        if limit is None or limit <= 0:
            raise TrainingError(f"the length of training must be positive, not {limit}")
        if not 0 <= self.focus <= 1:
            raise TrainingError(f"focus is a share of the training, in [0, 1], not {self.focus}")

    def progress(self, elapsed_s: float, bytes_seen: int) -> float:
        """The share of the training that is done, in [0, 1]."""
        if self.total_bytes is not None:
            return min(1.0, bytes_seen / self.total_bytes)
        if self.seconds is None:
            raise TrainingError("a schedule has a length by construction")
        return min(1.0, elapsed_s / self.seconds)

    def learning_rate(self, step: int, progress: float) -> float:
        """The rate for this step."""
        clocked = self.seconds is not None and step < self.warmup_steps
        decay = 1.0 if clocked else self.floor + (1 - self.floor) * (1 - progress)
        return self.peak * min(1.0, (step + 1) / self.warmup_steps) * decay

    def focused(self, progress: float) -> bool:
        """Whether only the first corpus is read from here on."""
        return progress >= 1 - self.focus
