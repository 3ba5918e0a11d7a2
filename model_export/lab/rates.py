"""Learning rates: networks that are compared are each trained with the rate that suits it (Greff et al. 2017).

Chosen by what a network was trained on alone: never by what is measured afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from model_export.lab.bench import Bench
from model_export.lab.training import Recipe

RATES = (0.01, 0.003)


@dataclass(frozen=True, slots=True)
class Training:
    """One of the trainings of a network. what: its name.  beat: the loss, in nats, below which it is worth keeping."""

    what: str
    seed: int
    recipe: Recipe
    beat: float


def at_the_better_rate(
    bench: Bench,
    asked: Mapping[str, Any],
    name: str,
    train: Callable[[Training], dict[str, Any]],
    *,
    steps: int,
    seeds: int,
) -> tuple[float, list[dict[str, Any]]]:
    """The rate with the least training loss, and what the trainings of all seeds gave with it, the first seed's first.

    asked: what each of them depends on (`Bench.part`).  train: gives `loss`, in nats, and what was measured. The first
    seed is trained with every rate; a network of another seed is never worth keeping.
    """

    def one(seed: int, rate: float, beat: float) -> dict[str, Any]:
        training = Training(f"{name}, seed {seed}, rate {rate}", seed, Recipe(steps, rate=rate), beat)
        found: dict[str, Any] = bench.part(asked, training.what, partial(train, training))
        return found

    first: dict[float, dict[str, Any]] = {}
    for rate in RATES:
        first[rate] = one(0, rate, min((of["loss"] for of in first.values()), default=math.inf))
    best = min(first, key=lambda rate: float(first[rate]["loss"]))
    return best, [first[best], *(one(seed, best, -math.inf) for seed in range(1, seeds))]
