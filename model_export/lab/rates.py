"""Learning rates: networks that are compared are each trained with the rate that suits it (Greff et al. 2017).

Chosen by what a network was trained on alone: never by what is measured afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

RATES = (0.01, 0.003)


def at_the_better_rate(
    train: Callable[[int, float, float], dict[str, Any]], seeds: int, rates: Sequence[float] = RATES
) -> tuple[float, list[dict[str, Any]]]:
    """The rate with the least training loss, and what the trainings of all seeds gave with it, the first seed's first.

    train: given a seed, a rate, and the loss below which the network is worth keeping; gives `loss`, in nats, and what
    was measured. The first seed is trained with every rate; a network of another seed is never kept.
    """
    first: list[dict[str, Any]] = []
    least = math.inf
    for rate in rates:
        first.append(train(0, rate, least))
        least = min(least, float(first[-1]["loss"]))
    best = min(range(len(rates)), key=lambda number: float(first[number]["loss"]))
    return rates[best], [first[best], *(train(seed, rates[best], -math.inf) for seed in range(1, seeds))]
