"""Every causal cell on one text, at equal parameters (Greff et al. 2017; Jozefowicz, Zaremba & Sutskever 2015).

The text is the standard library of Python, byte by byte. Each network reads the same number of bytes once, so that none
learns by heart; what is compared is bits per byte of files that no training saw, and the time of a step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import numpy as np
from matplotlib.figure import Figure

from model_export.lab import pictures
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim
from model_export.lab.experiment import Experiment, Finding, Looked, Picture, Served
from model_export.lab.network import NetworkConfig, learned_parameters, widest
from model_export.lab.rates import Training, at_the_better_rate
from model_export.lab.step_times import step_ratios
from model_export.lab.texts import ASCII, STDLIB, Streams, Texts, bits_per_byte, fit_on_texts, read
from model_export.lab.training import new_network
from service.model.checked import Between, Checked

SIMPLE, FIRST, PLAIN = "rnn", "lstm-1997", "lstm"
PEEPHOLES = ("peephole-lstm", "full-memory-lstm")
WRITTEN_OUT = ("full-memory-lstm", "layer-norm-lstm")  # a Scan: ONNX has no operator for them
GATED = (PLAIN, *PEEPHOLES, "coupled-lstm", "gru", "layer-norm-lstm")
CELLS = (SIMPLE, FIRST, *GATED)
NARROW_GRU = "gru, as wide as the lstm"
EMBEDDING = 24
HELD_OUT_EACH = 8192  # of each held-out file
STREAMS = Streams(rows=32, chunk=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """parameters: of each network, at most.

    seeds: networks of each cell.  steps: of training, 2,048 bytes each. The first seed is trained once for each
    learning rate (`rates.py`).
    """

    parameters: Annotated[int, Between(5_000, 2_000_000)] = 50_000
    seeds: Annotated[int, Between(1, 20)] = 3
    steps: Annotated[int, Between(10, 100_000)] = 5_000


NO_WINNER = Claim(
    "no_winner",
    "No gated cell is clearly better than the LSTM.",
    "bits per byte that the best of the others saves, of the LSTM's",
    0.03,
    sense="at most",
    digits=3,
    percent=True,
)
WITHIN_SEEDS = Claim(
    "best_within_seeds",
    "Which of them is best is decided by the seeds.",
    "bits per byte between the best gated cell and the next, over the standard deviation of their seeds",
    2,
    sense="at most",
    digits=1,
)
GRU = Claim(
    "gru_as_good",
    "A GRU of as many parameters does as well as the LSTM.",
    "its bits per byte over the LSTM's, less one",
    0.02,
    sense="at most",
    digits=3,
    percent=True,
)
FEWER = Claim(
    "gru_fewer_connections",
    "So does one of as many units, which has three quarters of the connections.",
    "its bits per byte over the LSTM's, less one",
    0.03,
    sense="at most",
    digits=3,
    percent=True,
)
COUPLED = Claim(
    "coupled_as_good",
    "One gate for saving and forgetting loses nothing.",
    "the coupled LSTM's bits per byte over the LSTM's, less one",
    0.02,
    sense="at most",
    digits=3,
    percent=True,
)
PEEPHOLE = Claim(
    "peepholes_gain_nothing",
    "Peepholes gain nothing on text.",
    "bits per byte that the better of both forms saves, of the LSTM's",
    0.02,
    sense="at most",
    digits=3,
    percent=True,
)
FORGET = Claim(
    "forget_gate_needed",
    "Without a forget gate an LSTM is worse.",
    "the bits per byte of the LSTM of 1997 over the LSTM's, less one",
    0.02,
    digits=3,
    percent=True,
)
SIMPLE_WORSE = Claim(
    "simple_worse",
    "The simple RNN is worse than every gated cell.",
    "its bits per byte over those of the worst gated cell, less one",
    0.0,
    digits=3,
    percent=True,
)
OPERATORS = Claim(
    "operators_alike",
    "The cells that are an operator of ONNX take about as long for a step as the LSTM.",
    "the slowest one's time of a step over the LSTM's",
    1.25,
    sense="at most",
)
SCANS = Claim(
    "scans_slower",
    "Those that must be written out take longer.",
    "the quicker one's time of a step over the LSTM's",
    1.5,
)
CLAIMS = (NO_WINNER, WITHIN_SEEDS, GRU, FEWER, COUPLED, PEEPHOLE, FORGET, SIMPLE_WORSE, OPERATORS, SCANS)


def _plain(settings: Settings) -> NetworkConfig:
    return widest(NetworkConfig(ASCII, cell=PLAIN, embedding=EMBEDDING), settings.parameters)


def configs(settings: Settings) -> dict[str, NetworkConfig]:
    """One network of each cell, as wide as the parameters allow, and a GRU that is no wider than the LSTM."""
    found = {cell: widest(NetworkConfig(ASCII, cell=cell, embedding=EMBEDDING), settings.parameters) for cell in CELLS}
    return {**found, NARROW_GRU: replace(found["gru"], units=found[PLAIN].units)}


def measure(bench: Bench, settings: Settings) -> dict[str, Any]:
    """By cell: units, parameters, rate, step_ratio, and bits_per_byte, a list over the seeds; the text's sha256."""
    shapes = configs(settings)
    texts = read(corpus_of(bench), least_bytes=STREAMS.bytes_read(settings.steps), held_out_each=HELD_OUT_EACH)
    found: dict[str, dict[str, Any]] = {}
    for cell, config in shapes.items():
        train = partial(_trained, cell, config, texts, bench)
        rate, trained = at_the_better_rate(
            bench, of_one(bench, settings), cell, train, steps=settings.steps, seeds=settings.seeds
        )
        found[cell] = {
            "units": config.units,
            "parameters": learned_parameters(config),
            "rate": rate,
            "bits_per_byte": [one["bits_per_byte"] for one in trained],
        }
    ratios = step_ratios({cell: bench.out / folder_of(cell) for cell in CELLS}, PLAIN)
    for cell, ratio in ratios.items():
        found[cell]["step_ratio"] = ratio
    return {"cells": found, "corpus_sha256": texts.sha256, "train_bytes": texts.train_bytes}


def corpus_of(bench: Bench) -> str:
    """The corpus that was given, or the standard library."""
    return bench.corpus or STDLIB


def asked_of(bench: Bench, settings: Checked) -> dict[str, Any]:
    """What all trainings depend on."""
    return {"corpus": corpus_of(bench), **settings.as_document()}


def of_one(bench: Bench, settings: Checked) -> dict[str, Any]:
    """What one training depends on: how many there are is not among that."""
    return {name: value for name, value in asked_of(bench, settings).items() if name != "seeds"}


def folder_of(cell: str) -> str:
    """The name of the model that is kept of a cell."""
    return f"variants-{cell}"


def _trained(cell: str, config: NetworkConfig, texts: Texts, bench: Bench, training: Training) -> dict[str, float]:
    """One training; the network is kept if it is worth it."""
    network, seed = new_network(config, training.seed), training.seed
    loss = fit_on_texts(network, texts.train, STREAMS, training.recipe, bench, training.what, seed)
    if loss < training.beat and cell in CELLS:
        bench.keep(folder_of(cell), network)
    return {"loss": loss, "bits_per_byte": bits_per_byte(network, texts.held_out)}


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims from trainings that were kept, or new ones."""
    measured = bench.measured(asked_of(bench, settings), lambda: measure(bench, settings))
    cells: Mapping[str, Mapping[str, Any]] = measured["cells"]
    bits = {cell: float(np.mean(one["bits_per_byte"])) for cell, one in cells.items()}
    spread = {cell: deviation(one["bits_per_byte"]) for cell, one in cells.items()}
    ranked = sorted(GATED, key=lambda cell: bits[cell])
    of_seeds = deviation(*(cells[cell]["bits_per_byte"] for cell in ranked[:2]))
    others = [cell for cell in ranked if cell != PLAIN]
    peephole = min(PEEPHOLES, key=lambda cell: bits[cell])
    steps = {cell: float(cells[cell]["step_ratio"]) for cell in CELLS}
    slowest = max((cell for cell in CELLS if cell not in WRITTEN_OUT), key=lambda cell: steps[cell])
    quicker = min(WRITTEN_OUT, key=lambda cell: steps[cell])
    worst = ranked[-1]
    verdicts = (
        NO_WINNER.verdict(1 - bits[others[0]] / bits[PLAIN], f"{others[0]} {_told(bits, others[0], PLAIN)}"),
        WITHIN_SEEDS.verdict(
            (bits[ranked[1]] - bits[ranked[0]]) / of_seeds if of_seeds else math.nan,
            f"{ranked[0]} before {ranked[1]}; the deviation is {of_seeds:.4f}",
        ),
        GRU.verdict(bits["gru"] / bits[PLAIN] - 1, _told(bits, "gru", PLAIN)),
        FEWER.verdict(
            bits[NARROW_GRU] / bits[PLAIN] - 1,
            f"{cells[NARROW_GRU]['parameters']:,} parameters against {cells[PLAIN]['parameters']:,}",
        ),
        COUPLED.verdict(bits["coupled-lstm"] / bits[PLAIN] - 1, _told(bits, "coupled-lstm", PLAIN)),
        PEEPHOLE.verdict(1 - bits[peephole] / bits[PLAIN], f"{peephole} {_told(bits, peephole, PLAIN)}"),
        FORGET.verdict(bits[FIRST] / bits[PLAIN] - 1, _told(bits, FIRST, PLAIN)),
        SIMPLE_WORSE.verdict(bits[SIMPLE] / bits[worst] - 1, f"{_told(bits, SIMPLE, worst)}, {worst}"),
        OPERATORS.verdict(steps[slowest], slowest),
        SCANS.verdict(steps[quicker], quicker),
    )
    made = (
        Picture("bits", _draw_bits(cells), _BITS_CAPTION.format(bytes=STREAMS.bytes_read(settings.steps) / 1e6)),
        Picture("steps", _draw_steps(steps, bits), _STEPS_CAPTION.format(written_out=" and ".join(WRITTEN_OUT))),
    )
    return Finding(verdicts, made, _STORY, {"bits_per_byte": bits, "spread": spread, **measured})


def deviation(*groups: Sequence[float]) -> float:
    """The standard deviation within groups of seeds, pooled; 0 where each is a single one, which has no spread."""
    squares = sum(float(np.sum((np.array(group) - np.mean(group)) ** 2)) for group in groups)
    return math.sqrt(squares / max(1, sum(len(group) - 1 for group in groups)))


def _told(bits: Mapping[str, float], one: str, other: str) -> str:
    return f"{bits[one]:.3f} against {bits[other]:.3f}"


_STORY = (
    "Since 1997 the LSTM has had many children: gates were added, taken away, joined, given a view of the memory. Here "
    "each of them reads the same code, byte by byte, with as many numbers to learn, and is then asked how well it "
    "foresees code that it has never seen.",
    "Figures are bits per byte: less is better. None has read for long, so who learns fast is ahead.",
)
_BITS_CAPTION = (
    "What a byte of unseen Python costs after {bytes:.1f} MB of training, by cell, all of about as many parameters but "
    "the last; dots are seeds, bars their means."
)
_STEPS_CAPTION = (
    "How long a step of one row takes, the LSTM's being 1, and what a byte costs. {written_out} have no operator of "
    "their own in ONNX and are written out step by step."
)


def _draw_bits(cells: Mapping[str, Mapping[str, Any]]) -> Figure:
    figure, axes = pictures.new_figure(width=9, height=4.4)
    names = [f"{cell}  ({one['units']} units)" for cell, one in cells.items()]
    values = [one["bits_per_byte"] for one in cells.values()]
    colours = [pictures.BLUE if cell in GATED else pictures.GREY for cell in cells]
    axes[0].barh(names, [float(np.mean(one)) for one in values], color=colours)
    for number, one in enumerate(values):
        axes[0].plot(one, [number] * len(one), ".", color="black")
    least = min(min(one) for one in values)
    axes[0].set(xlim=(0.9 * least, None), xlabel="bits per byte (the axis does not begin at 0)", title="unseen Python")
    axes[0].invert_yaxis()
    return figure


def _draw_steps(steps: Mapping[str, float], bits: Mapping[str, float]) -> Figure:
    figure, axes = pictures.new_figure(width=9, height=4)
    for cell, ratio in steps.items():
        axes[0].plot(ratio, bits[cell], "o", color=pictures.BLUE if cell in GATED else pictures.GREY)
        axes[0].annotate(cell, (ratio, bits[cell]), textcoords="offset points", xytext=(0, 6), ha="center", fontsize=9)
    axes[0].set(xlabel="time of a step, LSTM = 1", ylabel="bits per byte", title="what a step takes and gives")
    axes[0].margins(x=0.2, y=0.1)
    return figure


EXPERIMENT = Experiment(
    name="variants",
    title="Variants: every cell on the same text",
    question="Of all the gated cells, which one is best?",
    source="After Greff et al., LSTM: A Search Space Odyssey (2017), and Jozefowicz, Zaremba & Sutskever (2015).",
    settings=Settings(),
    claims=CLAIMS,
    run=run,
    corpus="may",
    looked=Looked(
        folder_of(PLAIN), "def read(self, size=-1):\n    return self", lambda settings: (_plain(settings).units,)
    ),
    serves=tuple(
        Served(folder_of(cell), "import os", f"the {cell} goes on as it learned from Python") for cell in CELLS
    ),
)
