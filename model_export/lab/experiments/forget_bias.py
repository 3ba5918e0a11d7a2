"""The forget gate's bias: 0 or 1 at the start (Gers et al. 2000; Jozefowicz, Zaremba & Sutskever 2015).

    dc_T / dc_t  =  f_{t+1} * f_{t+2} * ... * f_T      along the memory, the gates held as they are

At bias 0 a new gate is half open, and after ten steps a thousandth is left; at bias 1 it is 0.73 open, and a twentieth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from matplotlib.figure import Figure

from model_export.cells.lstm import Lstm
from model_export.lab import pictures
from model_export.lab.bench import Bench
from model_export.lab.bias_tasks import UNITS, Task, answers_after_x, new_with_bias, path_of, tasks
from model_export.lab.claims import Claim
from model_export.lab.experiment import Experiment, Finding, Looked, Picture, Served
from model_export.lab.gradients import MemoryPath, memory_path
from model_export.lab.network import Network
from model_export.lab.training import Recipe, fit
from service.model.checked import Between, Checked, NotAccepted

_BACK = 60  # steps that the gradient is followed for
_UNITS, _INPUTS, _ROWS = 32, 8, 8
_BIASES = (0, 1)
_SERVED = "remember"  # the task whose networks are kept: there the biases differ most
_SOONER = 0.8  # which six seeds of each reach by chance once in twenty times: 29 of 36 pairs (Mann & Whitney 1947)

Needed = Mapping[str, Sequence[int | None]]
"""Of one task, by bias: the steps that each seed needed, None if it was not done when the training ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """seeds: trainings of each task with each bias.  steps: each of them at most; looked at every `every`."""

    seeds: Annotated[int, Between(1, 50)] = 6
    steps: Annotated[int, Between(1, 20_000)] = 2_500
    every: Annotated[int, Between(1, 1_000)] = 10

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.every > self.steps:
            raise NotAccepted(f"every {self.every} steps is never, of {self.steps}; at most as many as steps", "every")


_PAIRS = (
    "share of all pairs of a seed with bias 1 and one with bias 0 in which the former is done first; as good as each "
    "other, or both not done in {steps:,} steps, is a half"
)
REMEMBER = Claim(
    "remember_sooner",
    "With the bias at 1 a network sooner learns to remember a letter.",
    _PAIRS,
    _SOONER,
)
FAR = Claim(
    "far_sooner",
    "It sooner learns to remember a letter over 30 x's.",
    _PAIRS,
    _SOONER,
)
COUNTING = Claim(
    "counting_sooner",
    "It sooner learns to count.",
    _PAIRS,
    _SOONER,
)
SELECTIVE = Claim(
    "selective_sooner",
    "It sooner learns to count some letters and to pass over others.",
    _PAIRS,
    _SOONER,
)
COPY = Claim(
    "copy_sooner",
    "It sooner learns to copy.",
    _PAIRS,
    _SOONER,
)
FOLLOWS = Claim(
    "gradient_follows_gates",
    "Along the memory alone, each gate held as it is, the gradient is the product of the forget gates.",
    "log10 of the largest difference of |dc| and that product, over the product, 60 steps back, both biases",
    -9,
    sense="at most",
    digits=1,
)
THROUGH_H = Claim(
    "rest_through_h",
    "The whole gradient falls more slowly: the rest comes through h, of which the gates are made.",
    "decades that it loses a step over those that the product loses, over 60 steps, the greater of both biases",
    0.9,
    sense="at most",
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


def measure(bench: Bench, settings: Settings) -> dict[str, Any]:
    """The steps that each training needed: by task, by bias, a list over the seeds. Of the networks that remember a
    letter the one with the least loss of each bias is exported.
    """
    each = {"steps": settings.steps, "every": settings.every}
    found: dict[str, dict[str, list[int | None]]] = {}
    for name, task in tasks().items():
        found[name] = {}
        for bias in _BIASES:
            trained: list[dict[str, Any]] = []
            for seed in range(settings.seeds):
                what = f"{name}, bias {bias}, seed {seed}"
                folder = f"forget-bias-{bias}" if name == _SERVED else None
                kept = _Kept(folder, min((one["loss"] for one in trained), default=math.inf))
                trained.append(bench.part(each, what, _Training(task, bias, seed, settings, bench, what, kept)))
            found[name][str(bias)] = [one["steps"] for one in trained]
    return found


@dataclass(frozen=True, slots=True)
class _Kept:
    """Where a network is exported if its loss is below `beat`; None if nowhere."""

    folder: str | None
    beat: float


@dataclass(frozen=True, slots=True)
class _Training:
    """One training, when it is called: steps until everything is right, None if it never is, and the loss then."""

    task: Task
    bias: int
    seed: int
    settings: Settings
    bench: Bench
    what: str
    kept: _Kept

    def __call__(self) -> dict[str, Any]:
        network = new_with_bias(self.task, self.bias, self.seed)
        generator = np.random.default_rng(self.seed)
        learned = Watcher(self.task, network, self.settings.every)
        recipe = Recipe(self.settings.steps, rate=0.01)
        loss = fit(network, lambda step: self.task.draw(generator), recipe, self.bench, self.what, stop=learned)
        if self.kept.folder is not None and loss < self.kept.beat:
            self.bench.keep(self.kept.folder, network)
        return {"steps": learned.steps if learned.done else None, "loss": loss}


class Watcher:
    """Counts steps and looks every so often whether all is right; then the training may stop."""

    def __init__(self, task: Task, network: Network, every: int) -> None:
        self._task, self._network, self._every = task, network, every
        self.steps, self.done = 0, False

    def __call__(self) -> bool:
        """Called after each step."""
        self.steps += 1
        self.done = self.steps % self._every == 0 and self._task.share_right(self._network) >= 1.0
        return self.done


def look_back(bias: int, seed: int) -> MemoryPath:
    """The gradient along the memory of a new cell that reads noise."""
    torch.manual_seed(seed)
    cell = Lstm(_INPUTS, _UNITS, forget_bias=bias)
    xs = torch.randn(_BACK + 1, _ROWS, _INPUTS)
    return memory_path(cell, xs, lambda h: h.sum())


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims: trainings are kept measurements, gradients are computed now."""
    needed = bench.measured(settings.as_document(), lambda: measure(bench, settings))
    noise = {bias: look_back(bias, bench.seed) for bias in _BIASES}
    of_tasks = {name: {bias: path_of(task, bias, bench.seed) for bias in _BIASES} for name, task in tasks().items()}
    slower = {bias: path.lost_a_step(path.gradient) / path.lost_a_step(path.gates) for bias, path in noise.items()}
    apart = max(path.apart for path in noise.values())
    verdicts = (
        *(claim.verdict(sooner(needed[name]), _told(needed[name])) for claim, name in OF_TASKS),
        FOLLOWS.verdict(math.log10(max(apart, np.finfo(np.float64).tiny))),
        THROUGH_H.verdict(max(slower.values()), ", ".join(map(_lost, _BIASES, noise.values()))),
        REACHES.verdict(_left(noise[1], 30) - _left(noise[0], 30)),
    )
    made = (
        Picture("steps", _draw_steps(needed, settings), _STEPS_CAPTION.format(seeds=settings.seeds)),
        Picture("gradient", _draw_paths({"noise": noise, **of_tasks}), _PATHS_CAPTION),
    )
    lost = {
        name: {
            str(bias): {"gradient": p.lost_a_step(p.gradient), "gates": p.lost_a_step(p.gates)}
            for bias, p in of.items()
        }
        for name, of in {"noise": noise, **of_tasks}.items()
    }
    return Finding(verdicts, made, _STORY, {"steps_needed": needed, "decades_lost_a_step": lost})


def sooner(needed: Needed) -> float:
    """The share of pairs of seeds, one of each bias, in which bias 1 is done first; neither is a half."""
    one, other = (np.array([math.inf if n is None else n for n in needed[bias]])[:, None] for bias in ("1", "0"))
    return float(((one < other.T) + 0.5 * (one == other.T)).mean())


def _told(needed: Needed) -> str:
    return "; ".join(f"bias {bias}: {_of_seeds(needed[bias])}" for bias in ("1", "0"))


def _of_seeds(steps: Sequence[int | None]) -> str:
    done = sorted(n for n in steps if n is not None)
    told = f"{len(done)} of {len(steps)} done"
    return f"{told}, after {done[0]:,} to {done[-1]:,} steps, {np.mean(done):,.0f} on average" if done else told


def _lost(bias: int, path: MemoryPath) -> str:
    return f"bias {bias}: {path.lost_a_step(path.gradient):.3f} and {path.lost_a_step(path.gates):.3f}"


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
    "Training steps until a task is done without a mistake, for {seeds} seeds with each bias: a dot each, and a bar "
    "for the mean of those that were done. Crosses on the dashed line were not done when the training ended."
)
_PATHS_CAPTION = (
    "New cells: the gradient by the memory of so many steps ago (lines), and the product of the forget gates in "
    "between (dashed), which is the gradient along the memory alone (dots). First while noise is read, then sequences "
    "of the tasks, from the last letter that is asked for."
)


def _draw_steps(needed: Mapping[str, Needed], settings: Settings) -> Figure:
    figure, axes = pictures.new_figure(width=9, height=4)
    for offset, bias, colour in ((-0.18, "0", pictures.GREY), (0.18, "1", pictures.BLUE)):
        for number, one in enumerate(needed.values()):
            place, done = number + offset, [n for n in one[bias] if n is not None]
            label = f"bias {bias}" if not number else None
            axes[0].bar(place, float(np.mean(done)) if done else 0.0, 0.34, color=colour, label=label)
            axes[0].plot([place] * len(done), done, ".", color="black")
            undone = len(one[bias]) - len(done)
            spread = place + 0.05 * (np.arange(undone) - (undone - 1) / 2)
            axes[0].plot(spread, [settings.steps] * undone, "x", color=pictures.RED, markersize=5)
    axes[0].axhline(settings.steps, color=pictures.RED, lw=0.8, ls="--")
    axes[0].set_yscale("log")
    axes[0].set_xticks(range(len(needed)), list(needed))
    axes[0].set(title="steps until nothing is wrong", ylabel="training steps")
    axes[0].legend()
    return figure


def _draw_paths(of: Mapping[str, Mapping[int, MemoryPath]]) -> Figure:
    figure, axes = pictures.new_figure(2, 3, width=11, height=6.2)
    for place, (name, paths) in zip(axes, of.items(), strict=True):
        for (bias, path), colour in zip(paths.items(), (pictures.GREY, pictures.BLUE), strict=True):
            back, last = np.arange(len(path.gates)), path.gates[-1]
            place.semilogy(back, path.gradient[::-1] / last, color=colour, label=f"gradient, bias {bias}")
            place.semilogy(back, path.gates[::-1] / last, color=colour, ls="--", label=f"product of f, bias {bias}")
            every = max(1, len(back) // 10)
            place.semilogy(back[::every], path.alone[::-every] / last, ".", color=colour)
        place.set(title=name, xlabel="steps back")
    axes[0].set_ylabel("share that is left")
    axes[0].legend(fontsize=8)
    return figure


_ASKED = "AxxxxxxY"

EXPERIMENT = Experiment(
    name="forget-bias",
    title="The forget gate's bias",
    question="Why does everybody start the forget gate's bias at 1?",
    source="Gers, Schmidhuber & Cummins (2000); Jozefowicz, Zaremba & Sutskever (2015).",
    settings=Settings(),
    claims=(*(claim for claim, _ in OF_TASKS), FOLLOWS, THROUGH_H, REACHES),
    run=run,
    looked=Looked(
        "forget-bias-1", f"{_ASKED}aBxxxYb", lambda settings: (UNITS,), tests=lambda settings: answers_after_x()
    ),
    serves=(
        Served("forget-bias-0", _ASKED, "it suggests a; with B in front, b"),
        Served("forget-bias-1", _ASKED, "the same of a network whose forget gates began open"),
    ),
)
