"""`carousel serve` in every respect but its model, which is tiny and slow: overload without heating the processor.

`python -m benchmarks.slow_server MS_PER_STEP [FLAG=VALUE ...]` sleeps for so long in every step, for each of its rows,
with the interpreter lock released: as a model does whose time goes with the rows of a batch.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray

from service import bootstrap
from service.engine.fake_model import FakeModel
from service.engine.ports import States, StepResult
from service.engine.requests import ModelIdentity
from service.settings import load_settings
from service.storing import Opening
from service.telemetry.logs import configure_logs

_PORTS = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}


class SlowModel(FakeModel):
    """A FakeModel whose steps take time in proportion to their rows and tokens."""

    def __init__(self, seconds_per_step: float) -> None:
        super().__init__()
        self._seconds_per_step = seconds_per_step

    def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
        """As FakeModel, but later."""
        time.sleep(self._seconds_per_step * tokens.size)
        return super().step(tokens, states, all_probabilities=all_probabilities)


def main() -> None:
    """Serve until a signal comes."""
    flags = dict(argument.split("=", 1) for argument in sys.argv[2:])
    settings = load_settings({**_PORTS, "store": "memory:", "log_format": "json", "log_level": "warning", **flags})
    configure_logs("info", "json")
    bootstrap.run(
        settings,
        [(SlowModel(float(sys.argv[1]) / 1e3), ModelIdentity("slow", "0" * 64, "slow"))],
        Opening(settings.storing()),
    )


if __name__ == "__main__":
    main()
