"""The forget gate's bias: 0 or 1 at the start (Gers et al. 2000; Jozefowicz, Zaremba & Sutskever 2015).

    dc_T / dc_t  =  f_{t+1} * f_{t+2} * ... * f_T      along the memory, the gates held as they are

At bias 0 a new gate is half open, and after ten steps a thousandth is left; at bias 1 it is 0.73 open, and a twentieth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model_export.cells.lstm import Lstm
from model_export.lab import pictures
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim
from model_export.lab.experiment import Experiment, Finding, Picture
from model_export.lab.experiments import copy, counting, remember, selective
from model_export.lab.gradients import MemoryPath, memory_path
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.sequences import Batch, batch_of
from model_export.lab.symbols import Symbols
from model_export.lab.training import Recipe, fit, new_network
from service.model.checked import Between, Checked

_BACK = 60  # steps that the gradient is followed for
_UNITS, _INPUTS, _ROWS = 32, 8, 8
_BIASES = (0, 1)
_FAR = 30  # x's of the task whose letter must be kept for long
_SELECTED = 5  # a's at most, and X's, of the task in which some letters are passed over


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """seeds: trainings of each task with each bias.  steps: each of them at most; looked at every `every`."""

    seeds: Annotated[int, Between(1, 50)] = 6
    steps: Annotated[int, Between(1, 20_000)] = 2_500
    every: Annotated[int, Between(1, 1_000)] = 100


@dataclass(frozen=True, slots=True)
class Task:
    """What is learned: batches to train on, and whether a network does it without a mistake."""

    symbols: Symbols
    layers: int
    draw: Callable[[np.random.Generator], Batch]
    share_right: Callable[[Network], float]


def tasks() -> dict[str, Task]:
    """Counting to ten, counting and passing over, remembering a letter for a while and for long, copying three."""
    tests = [remember.draw_sequence(np.random.default_rng(seed), 6) for seed in range(60)]
    far = [remember.draw_round(np.random.default_rng(seed), 6, _FAR) for seed in range(60)]
    passing = [selective.draw_sequence(np.random.default_rng(seed), _SELECTED) for seed in range(60)]
    triples = batch_of([copy.sequence(one) for one in copy.TRIPLES], [copy.foreseeable()] * len(copy.TRIPLES))

    def counts(network: Network) -> float:
        return float(np.mean([counting.is_exact(network, n) for n in range(1, 11)]))

    return {
        "counting": Task(
            counting.LETTERS,
            1,
            lambda generator: batch_of([counting.sequence(int(n)) for n in generator.integers(1, 11, 32)]),
            counts,
        ),
        "selective": Task(
            selective.LETTERS,
            1,
            lambda generator: batch_of([selective.draw_sequence(generator, _SELECTED) for _ in range(32)]),
            lambda network: selective.exact_share(network, passing),
        ),
        "remember": Task(
            remember.LETTERS,
            1,
            lambda generator: batch_of([remember.draw_sequence(generator, 6) for _ in range(24)]),
            lambda network: remember.answered_right(network, tests),
        ),
        "remember far": Task(
            remember.LETTERS,
            1,
            lambda generator: batch_of([remember.draw_round(generator, 6, _FAR) for _ in range(24)]),
            lambda network: remember.answered_right(network, far),
        ),
        "copy": Task(copy.LETTERS, 2, lambda generator: triples, copy.copied),
    }


REMEMBER = Claim(
    "remember_sooner",
    "With the bias at 1 a network sooner learns to remember a letter.",
    "mean steps until all is right, bias 1 over bias 0",
    1.0,
    sense="at most",
)
FAR = Claim(
    "far_sooner",
    "It sooner learns to remember a letter over 30 x's.",
    "mean steps until all is right, bias 1 over bias 0",
    1.0,
    sense="at most",
)
COUNTING = Claim(
    "counting_sooner",
    "It sooner learns to count.",
    "mean steps until all is right, bias 1 over bias 0",
    1.0,
    sense="at most",
)
SELECTIVE = Claim(
    "selective_sooner",
    "It sooner learns to count some letters and to pass over others.",
    "mean steps until all is right, bias 1 over bias 0",
    1.0,
    sense="at most",
)
COPY = Claim(
    "copy_sooner",
    "It sooner learns to copy.",
    "mean steps until all is right, bias 1 over bias 0",
    1.0,
    sense="at most",
)
FOLLOWS = Claim(
    "gradient_follows_gates",
    "The gradient of the memory falls as the product of the forget gates does.",
    "correlation of the logarithms of |dc| and of the product of f over 60 steps back, the lesser of both biases",
    0.95,
)
REACHES = Claim(
    "reaches_further",
    "At the start of training, the gradient reaches further back with the bias at 1.",
    "log10 of |dL/dc| 30 steps back over that at the last step, bias 1 less bias 0",
    3,
    digits=1,
)


OF_TASKS = (
    (REMEMBER, "remember"),
    (FAR, "remember far"),
    (COUNTING, "counting"),
    (SELECTIVE, "selective"),
    (COPY, "copy"),
)


def steps_needed(task: Task, bias: int, seed: int, settings: Settings, bench: Bench, what: str) -> int:
    """Training steps until everything is right; the most there are if it never is."""
    network = new_network(NetworkConfig(task.symbols, layers=task.layers), seed)
    for layer in network.stack.layers:
        assert isinstance(layer, Lstm)
        with torch.no_grad():
            layer.b[layer.units : 2 * layer.units] = float(bias)
    generator = np.random.default_rng(seed)
    learned = Watcher(task, network, settings.every)
    recipe = Recipe(settings.steps, rate=0.01)
    fit(network, lambda step: task.draw(generator), recipe, bench, what, stop=learned)
    return learned.steps


class Watcher:
    """Counts steps and looks every so often whether all is right; then the training may stop."""

    def __init__(self, task: Task, network: Network, every: int) -> None:
        self._task, self._network, self._every = task, network, every
        self.steps = 0

    def __call__(self) -> bool:
        """Called after each step."""
        self.steps += 1
        return self.steps % self._every == 0 and self._task.share_right(self._network) >= 1.0


def measure(bench: Bench, settings: Settings) -> dict[str, Any]:
    """The steps that each training needed: by task, by bias, a list over the seeds."""

    def needed(name: str, task: Task, bias: int, seed: int) -> Any:
        what = f"{name}, bias {bias}, seed {seed}"
        each = {"steps": settings.steps, "every": settings.every}
        return bench.part(each, what, lambda: steps_needed(task, bias, seed, settings, bench, what))

    return {
        name: {str(bias): [needed(name, task, bias, seed) for seed in range(settings.seeds)] for bias in _BIASES}
        for name, task in tasks().items()
    }


def look_back(bias: int, seed: int) -> MemoryPath:
    """The gradient along the memory of a new cell that reads noise."""
    torch.manual_seed(seed)
    cell = Lstm(_INPUTS, _UNITS, forget_bias=bias)
    xs = torch.randn(_BACK + 1, _ROWS, _INPUTS)
    return memory_path(cell, xs, lambda h: h.sum())


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims: trainings are kept measurements, gradients are computed now."""
    needed = bench.measured(settings.as_document(), lambda: measure(bench, settings))
    paths = {bias: look_back(bias, bench.seed) for bias in _BIASES}
    together = min(_correlation(np.log(path.gradient), np.log(path.gates)) for path in paths.values())
    verdicts = (
        *(claim.verdict(_ratio(needed[name]), _told(needed[name], settings)) for claim, name in OF_TASKS),
        FOLLOWS.verdict(together),
        REACHES.verdict(_left(paths[1], 30) - _left(paths[0], 30)),
    )
    made = (
        Picture("steps", _draw_steps(needed, settings), _STEPS_CAPTION.format(seeds=settings.seeds)),
        Picture("gradient", _draw_paths(paths), _PATHS_CAPTION),
    )
    return Finding(verdicts, made, _STORY, {"steps_needed": needed})


def _ratio(needed: Mapping[str, Sequence[int]]) -> float:
    return float(np.mean(needed["1"]) / np.mean(needed["0"]))


def _told(needed: Mapping[str, Sequence[int]], settings: Settings) -> str:
    means = {bias: np.mean(steps) for bias, steps in needed.items()}
    never = {bias: sum(step >= settings.steps for step in steps) for bias, steps in needed.items()}
    failed = f"not learned in {settings.steps} steps: {never['1']} and {never['0']}"
    return f"{means['1']:.0f} against {means['0']:.0f}; {failed}"


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def _left(path: MemoryPath, back: int) -> float:
    return float(np.log10(path.gradient[-1 - back] / path.gradient[-1]))


_STORY = (
    "Before it has learned anything, an LSTM should rather remember than forget, since what is forgotten leaves "
    "no trace "
    "from which to learn that it was needed. So the forget gate's bias is set to 1 at the start, and the gate is "
    "nearly "
    "three quarters open.",
)
_STEPS_CAPTION = (
    "Training steps until a task is done without a mistake, for {seeds} seeds with each bias; the bar is their mean."
)
_PATHS_CAPTION = (
    "New cells reading noise: the gradient of the output by the memory of so many steps ago (lines), beside the "
    "product of "
    "the forget gates in between (dashed)."
)


def _draw_steps(needed: Mapping[str, Mapping[str, Sequence[int]]], settings: Settings) -> Figure:
    figure, axes = pictures.new_figure(width=9, height=4)
    for offset, bias, colour in ((-0.18, "0", pictures.GREY), (0.18, "1", pictures.BLUE)):
        places = np.arange(len(needed)) + offset
        axes[0].bar(places, [np.mean(one[bias]) for one in needed.values()], 0.34, color=colour, label=f"bias {bias}")
        for place, one in zip(places, needed.values(), strict=True):
            axes[0].plot([place] * len(one[bias]), one[bias], ".", color="black")
    axes[0].axhline(settings.steps, color=pictures.RED, lw=0.8, ls="--")
    axes[0].set_xticks(range(len(needed)), list(needed))
    axes[0].set(title="steps until nothing is wrong", ylabel="training steps")
    axes[0].legend()
    return figure


def _draw_paths(paths: Mapping[int, MemoryPath]) -> Figure:
    figure, axes = pictures.new_figure(width=9, height=4)
    for (bias, path), colour in zip(paths.items(), (pictures.GREY, pictures.BLUE), strict=True):
        axes[0].semilogy(path.gradient[::-1] / path.gradient[-1], color=colour, label=f"gradient, bias {bias}")
        axes[0].semilogy(path.gates[::-1], color=colour, ls="--", label=f"product of f, bias {bias}")
    axes[0].set(title="along the memory", xlabel="steps back", ylabel="share that is left")
    axes[0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


EXPERIMENT = Experiment(
    name="forget-bias",
    title="The forget gate's bias",
    question="Why does everybody start the forget gate's bias at 1?",
    source="Gers, Schmidhuber & Cummins (2000); Jozefowicz, Zaremba & Sutskever (2015).",
    settings=Settings(),
    claims=(*(claim for claim, _ in OF_TASKS), FOLLOWS, REACHES),
    run=run,
)
