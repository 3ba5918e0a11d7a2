"""Peepholes: counting and timing with gates that see the memory, and without (Gers & Schmidhuber 2000).

Timing: a tick, a pause of k dots, and again and again, with another k in each sequence. After two ticks the third can
be foretold to the dot. Counting is that of `counting`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model_export.lab import pictures
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim
from model_export.lab.experiment import Experiment, Finding, Looked, Picture, Served
from model_export.lab.experiments import counting
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.sequences import Batch, batch_of
from model_export.lab.symbols import Symbols
from model_export.lab.training import Recipe, fit, new_network
from service.model.checked import Between, Checked

PEEPHOLES = "peephole-lstm"
CELLS = ("lstm", PEEPHOLES)
TIMER, COUNTER = "peepholes-timer", "peepholes-counter"  # the models that are kept, with peepholes
TICKS = Symbols.letters("T.")
_TICK, _DOT = (TICKS.number(letter) for letter in "T.")
_ROUNDS = 4  # pauses in a sequence
_SHORTEST = 2
_COUNTED_TO = 60  # a's at most, beyond the ten that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """seeds: networks of each cell on each task.  longest: the longest pause, in dots."""

    units: Annotated[int, Between(2, 128)] = 10
    seeds: Annotated[int, Between(1, 20)] = 3
    longest: Annotated[int, Between(3, 40)] = 8
    steps: Annotated[int, Between(1, 20_000)] = 1_000


TIMED = Claim(
    "peephole_timing",
    "With peepholes a network foretells the tick.",
    "mean share of sequences foretold to the dot from the second tick on",
    0.9,
    percent=True,
)
TIMING_BETTER = Claim(
    "timing_better",
    "It does so at least as well as without.",
    "mean share with peepholes less that without",
    0.0,
    digits=3,
)
COUNTED = Claim(
    "peephole_counting",
    "With peepholes a network counts all that it was shown.",
    "mean share of N from 1 to 10 continued without a mistake",
    0.95,
    percent=True,
)
COUNTING_FARTHER = Claim(
    "counting_farther",
    "It counts at least as far beyond as without.",
    "mean first N that fails with peepholes, over that without",
    1.0,
)


def ticking(pause: int) -> NDArray[np.int64]:
    """A tick and a pause, several times, and a tick."""
    return np.array([_TICK, *[_DOT] * pause] * _ROUNDS + [_TICK], np.int64)


def foretellable(pause: int) -> NDArray[np.bool_]:
    """What follows the second tick, but for the end: bool [length + 1]."""
    places = np.arange(len(ticking(pause)) + 1)
    return np.asarray((places > pause + 1) & (places < len(places) - 1))


def foretold(network: Network, pauses: Sequence[int]) -> float:
    """The share of pauses all of whose dots and ticks after the second tick are the likeliest symbols."""
    batch = _timed(pauses)
    right = network.watch(batch.inputs).scores.argmax(dim=-1) == batch.targets
    return float((right | ~batch.counted).all(dim=0).double().mean())


def _timed(pauses: Sequence[int]) -> Batch:
    return batch_of([ticking(pause) for pause in pauses], [foretellable(pause) for pause in pauses])


def measure(bench: Bench, settings: Settings) -> dict[str, Any]:
    """By cell, lists over the seeds: timing, the share foretold; exact, the share counted; fails_at, the first N.

    Of the timers and the counters with peepholes the one with the least loss is exported.
    """
    pauses = range(_SHORTEST, settings.longest + 1)

    def ticks(generator: np.random.Generator) -> Batch:
        return batch_of([ticking(int(pause)) for pause in generator.integers(pauses.start, pauses.stop, 16)])

    def counts(generator: np.random.Generator) -> Batch:
        return batch_of([counting.sequence(int(n)) for n in generator.integers(1, 11, 16)])

    def times(network: Network) -> dict[str, float]:
        return {"timing": foretold(network, pauses)}

    def counted(network: Network) -> dict[str, float]:
        exact = float(np.mean([counting.is_exact(network, n) for n in range(1, 11)]))
        return {"exact": exact, "fails_at": float(counting.first_failure(network, _COUNTED_TO))}

    learned = (_Learned(TIMER, TICKS, ticks, times), _Learned(COUNTER, counting.LETTERS, counts, counted))
    found: dict[str, Any] = {}
    for cell in CELLS:
        by_task = [_over_seeds(cell, one, settings, bench) for one in learned]
        found[cell] = {name: values for of in by_task for name, values in of.items()}
    return found


@dataclass(frozen=True, slots=True)
class _Learned:
    """A task: the model that is kept of it, what it is trained on, and what is measured then."""

    name: str
    symbols: Symbols
    draw: Callable[[np.random.Generator], Batch]
    measure: Callable[[Network], dict[str, float]]


def _over_seeds(cell: str, task: _Learned, settings: Settings, bench: Bench) -> dict[str, list[float]]:
    """What was measured, a list over the seeds."""
    each = {name: value for name, value in settings.as_document().items() if name != "seeds"}
    trained: list[dict[str, float]] = []
    for seed in range(settings.seeds):
        what = f"{cell}, {task.name}, seed {seed}"
        beat = min((one["loss"] for one in trained), default=math.inf)
        trained.append(bench.part(each, what, partial(_trained, cell, task, seed, settings, bench, what, beat)))
    return {name: [one[name] for one in trained] for name in trained[0] if name != "loss"}


def _trained(
    cell: str, task: _Learned, seed: int, settings: Settings, bench: Bench, what: str, beat: float
) -> dict[str, float]:
    """One training; a network with peepholes is exported if its loss is below `beat`."""
    network = new_network(NetworkConfig(task.symbols, cell=cell, units=settings.units), seed)
    generator = np.random.default_rng(seed)
    loss = fit(network, lambda step: task.draw(generator), Recipe(settings.steps, rate=0.02), bench, what)
    if cell == PEEPHOLES and loss < beat:
        bench.keep(task.name, network)
    return {**task.measure(network), "loss": loss}


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims from trainings that were kept, or new ones."""
    found = bench.measured(settings.as_document(), lambda: measure(bench, settings))
    without, with_peepholes = (found[cell] for cell in CELLS)

    def mean(of: Mapping[str, Sequence[float]], what: str) -> float:
        return float(np.mean(of[what]))

    verdicts = (
        TIMED.verdict(mean(with_peepholes, "timing"), _seeds(with_peepholes["timing"])),
        TIMING_BETTER.verdict(
            mean(with_peepholes, "timing") - mean(without, "timing"), f"without {mean(without, 'timing'):.0%}"
        ),
        COUNTED.verdict(mean(with_peepholes, "exact"), f"without {mean(without, 'exact'):.0%}"),
        COUNTING_FARTHER.verdict(
            mean(with_peepholes, "fails_at") / mean(without, "fails_at"),
            f"{mean(with_peepholes, 'fails_at'):.1f} and {mean(without, 'fails_at'):.1f}",
        ),
    )
    return Finding(verdicts, (Picture("tasks", _draw(found), _CAPTION),), _STORY, {"measured": found})


def _seeds(shares: Sequence[float]) -> str:
    return "by seed " + ", ".join(f"{share:.0%}" for share in shares)


_STORY = (
    "A gate of the usual LSTM sees what is read and what was shown, but not the memory that it guards; while the "
    "output gate is shut it cannot know how far a count has got. A peephole lets it look.",
)
_CAPTION = "Both tasks, without peepholes and with; dots are seeds, bars their means."


def _draw(found: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    figure, axes = pictures.new_figure(1, 2, width=9, height=4)
    for place, what, title in (
        (axes[0], "timing", "share of pauses foretold"),
        (axes[1], "fails_at", "first N that fails"),
    ):
        place.bar(list(found), [float(np.mean(one[what])) for one in found.values()], color=pictures.BLUE)
        for number, one in enumerate(found.values()):
            place.plot([number] * len(one[what]), one[what], ".", color="black")
        place.set_title(title)
    return figure


EXPERIMENT = Experiment(
    name="peepholes",
    title="Peepholes: counting and timing",
    question="What does a gate gain from seeing the memory that it guards?",
    source="Gers & Schmidhuber (2000), Recurrent nets that time and count.",
    settings=Settings(),
    claims=(TIMED, TIMING_BETTER, COUNTED, COUNTING_FARTHER),
    run=run,
    looked=Looked(
        TIMER,
        "T...T...T...T",
        lambda settings: (settings.units,),
        cell=PEEPHOLES,
        tests=lambda settings: _timed(range(_SHORTEST, settings.longest + 1)),
    ),
    serves=(
        Served(TIMER, "T....T", "it suggests .... and the tick"),
        Served(COUNTER, "aaaX", "it suggests bbb"),
    ),
)
