"""Every experiment by its name, in the order in which they are best read. Each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from model_export.errors import TrainingError
from model_export.lab.experiment import Experiment

NAMES = (
    "turnstile",
    "counting",
    "selective",
    "remember",
    "copy",
    "vanishing",
    "forget-bias",
    "gates",
    "scenes",
    "question",
    "long-gap",
    "peepholes",
    "variants",
    "depth",
    "bidirectional",
    "attention",
    "season",
    "code",
    "posts",
)


def load(name: str) -> Experiment[Any]:
    """The experiment of that name. Raises TrainingError."""
    if name not in NAMES:
        raise TrainingError(f"there is no experiment {name!r}; there are {', '.join(NAMES)}, and all of them: all")
    experiment = import_module(f"model_export.lab.experiments.{name.replace('-', '_')}").EXPERIMENT
    assert isinstance(experiment, Experiment)
    return experiment
