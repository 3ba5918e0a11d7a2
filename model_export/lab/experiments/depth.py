"""Depth: one, two and three LSTM layers with as many parameters (Graves 2013; Karpathy, Johnson & Li 2015).

The text, the training and the measure are those of `variants`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model_export.lab import pictures
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim
from model_export.lab.experiment import Experiment, Finding, Looked, Picture, Served
from model_export.lab.experiments import variants
from model_export.lab.network import Network, NetworkConfig, learned_parameters, widest
from model_export.lab.rates import Training, at_the_better_rate
from model_export.lab.step_times import step_ratios
from model_export.lab.texts import ASCII, Texts, bits_per_byte, fit_on_texts, read
from model_export.lab.training import new_network
from service.model.checked import Between, Checked

DEPTHS = (1, 2, 3)
_FORGOTTEN = 0.1  # of the difference that two beginnings made
_BEGINNING, _SHARED = 200, 1_500  # bytes that differ, and bytes that are then the same
_PAIRS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """parameters: of each network, at most.

    seeds: networks of each depth.  steps: of training, 2,048 bytes each.
    """

    parameters: Annotated[int, Between(5_000, 2_000_000)] = 50_000
    seeds: Annotated[int, Between(1, 20)] = 3
    steps: Annotated[int, Between(10, 100_000)] = 5_000


TWO = Claim(
    "two_better_than_one",
    "Two layers foresee better than one with as many parameters.",
    "bits per byte saved, of those of one layer",
    0.0,
    digits=3,
    percent=True,
)
BEYOND_SEEDS = Claim(
    "beyond_seeds",
    "That is more than what the seeds make.",
    "bits per byte saved over the standard deviation of seeds",
    2,
    digits=1,
)
THREE = Claim(
    "three_like_two",
    "A third layer is not clearly better than two.",
    "bits per byte saved, of those of two layers",
    0.02,
    sense="at most",
    digits=3,
    percent=True,
)
TOP_KEEPS = Claim(
    "top_keeps_longer",
    "Of three layers the top one keeps longest what it has read.",
    "bytes until nine tenths of what a beginning left in c are gone, the top layer's over the lowest one's",
    1.0,
)
SLOWER = Claim(
    "depth_costs_time",
    "With as many parameters, three layers take longer for a step than one.",
    "time of a step over that of one layer",
    1.2,
)


def configs(settings: Settings) -> dict[int, NetworkConfig]:
    """One LSTM of each depth, as wide as the parameters allow."""
    start = {n: NetworkConfig(ASCII, cell="lstm", layers=n, embedding=variants.EMBEDDING) for n in DEPTHS}
    return {n: widest(config, settings.parameters) for n, config in start.items()}


def measure(bench: Bench, settings: Settings) -> dict[str, Any]:
    """By depth: units, parameters, step_ratio, and bits_per_byte, a list over the seeds; kept, what each layer of
    the first seed's deepest network still knows of a beginning, a list over the bytes since.
    """
    shapes, bytes_read = configs(settings), variants.STREAMS.bytes_read(settings.steps)
    texts = read(variants.corpus_of(bench), least_bytes=bytes_read, held_out_each=variants.HELD_OUT_EACH)
    asked = variants.of_one(bench, settings)
    found: dict[int, dict[str, Any]] = {}
    for depth, config in shapes.items():
        train = partial(_trained, config, texts, bench)
        rate, trained = at_the_better_rate(
            bench, asked, f"{depth} layers", train, steps=settings.steps, seeds=settings.seeds
        )
        found[depth] = {
            "units": config.units,
            "parameters": learned_parameters(config),
            "rate": rate,
            "bits_per_byte": [one["bits_per_byte"] for one in trained],
            "kept": trained[0]["kept"],
        }
    folders = {str(depth): bench.out / folder_of(depth) for depth in DEPTHS}
    for name, ratio in step_ratios(folders, str(DEPTHS[0])).items():
        found[int(name)]["step_ratio"] = ratio
    return {"depths": found, "corpus_sha256": texts.sha256, "train_bytes": texts.train_bytes}


def folder_of(depth: int) -> str:
    """The name of the model that is kept of a depth."""
    return f"depth-{depth}"


def _trained(config: NetworkConfig, texts: Texts, bench: Bench, training: Training) -> dict[str, Any]:
    """One training; the network is kept, and watched, if it is worth it."""
    network, seed = new_network(config, training.seed), training.seed
    loss = fit_on_texts(network, texts.train, variants.STREAMS, training.recipe, bench, training.what, seed)
    found: dict[str, Any] = {"loss": loss, "bits_per_byte": bits_per_byte(network, texts.held_out)}
    if loss >= training.beat:
        return found
    bench.keep(folder_of(config.layers), network)
    return {**found, "kept": [curve.round(4).tolist() for curve in what_is_kept(network, texts.held_out)]}


@torch.no_grad()
def what_is_kept(network: Network, documents: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float64]]:
    """How far the c of two readings differ that began differently, from where they read the same on; a layer each.

    [steps], the difference at the end of the beginnings being 1; the mean over pairs of documents.
    """
    long = [one for one in documents if len(one) >= _BEGINNING + _SHARED][: 2 * _PAIRS]
    pairs = len(long) // 2
    rows = np.stack([one[: _BEGINNING + _SHARED] for one in long[: 2 * pairs]])
    rows[pairs:, _BEGINNING:] = rows[:pairs, _BEGINNING:]
    watched = network.watch(torch.from_numpy(rows.T.copy()))
    curves = []
    for layer in range(network.config.layers):
        c = watched.signal(layer, "c")
        apart = (c[:, :pairs] - c[:, pairs:]).norm(dim=2)[_BEGINNING - 1 :]
        curves.append((apart / apart[0]).mean(dim=1).double().numpy())
    return curves


def bytes_until_forgotten(curve: Sequence[float]) -> int:
    """The first byte after which less than a tenth is left; all that were read if there always is more."""
    return next((steps for steps, left in enumerate(curve) if left < _FORGOTTEN), len(curve))


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims from trainings that were kept, or new ones."""
    measured = bench.measured(variants.asked_of(bench, settings), lambda: measure(bench, settings))
    depths: Mapping[str, Mapping[str, Any]] = measured["depths"]
    one, two, three = (float(np.mean(depths[str(depth)]["bits_per_byte"])) for depth in DEPTHS)
    spread = variants.deviation(*(depths[str(depth)]["bits_per_byte"] for depth in DEPTHS[:2]))
    kept = depths[str(DEPTHS[-1])]["kept"]
    lowest, *_, top = (bytes_until_forgotten(curve) for curve in kept)
    compared = top / lowest if min(top, lowest) < len(kept[0]) else math.nan  # both outlast what was read
    verdicts = (
        TWO.verdict(1 - two / one, f"{two:.3f} against {one:.3f}"),
        BEYOND_SEEDS.verdict(
            (one - two) / spread if spread else math.nan,  # one seed has no spread
            f"the deviation is {spread:.4f}",
        ),
        THREE.verdict(1 - three / two, f"{three:.3f} against {two:.3f}"),
        TOP_KEEPS.verdict(compared, f"{top:,} bytes against {lowest:,}"),
        SLOWER.verdict(float(depths[str(DEPTHS[-1])]["step_ratio"])),
    )
    made = (Picture("bits", _draw_bits(depths), _BITS_CAPTION), Picture("kept", _draw_kept(kept), _KEPT_CAPTION))
    return Finding(verdicts, made, _STORY, measured)


_STORY = (
    "A second layer reads what the first one shows, and not the text. With as many numbers to learn, every layer of a "
    "deep network is narrower: the question is whether steps of thought are worth more than room.",
)
_BITS_CAPTION = (
    "What a byte of unseen Python costs, by depth, with as many parameters; dots are seeds, bars their means."
)
_KEPT_CAPTION = (
    "The network of three layers reads two texts that began differently and then go on alike: how much of the "
    "difference is left in the memory of each layer. Dashed: a tenth."
)


def _draw_bits(depths: Mapping[str, Mapping[str, Any]]) -> Figure:
    figure, axes = pictures.new_figure(width=9, height=2.8)
    values = [one["bits_per_byte"] for one in depths.values()]
    names = [f"{depth} x {one['units']} units" for depth, one in depths.items()]
    axes[0].barh(names, [float(np.mean(one)) for one in values], color=pictures.BLUE)
    for number, one in enumerate(values):
        axes[0].plot(one, [number] * len(one), ".", color="black")
    least = min(min(one) for one in values)
    axes[0].set(xlim=(0.9 * least, None), xlabel="bits per byte (the axis does not begin at 0)", title="unseen Python")
    axes[0].invert_yaxis()
    return figure


def _draw_kept(kept: Sequence[Sequence[float]]) -> Figure:
    figure, axes = pictures.new_figure(width=9, height=4)
    colours = (pictures.GREY, pictures.ORANGE, pictures.BLUE)
    for number, (curve, colour) in enumerate(zip(kept, colours, strict=True)):
        axes[0].semilogy(curve, color=colour, label=f"layer {number}" + (", the lowest" if number == 0 else ""))
    axes[0].axhline(_FORGOTTEN, color=pictures.RED, lw=0.8, ls="--")
    axes[0].set(xlabel="bytes read since", ylabel="share of the difference in c", title="what is left of a beginning")
    axes[0].legend()
    return figure


EXPERIMENT = Experiment(
    name="depth",
    title="Depth: one, two, three layers",
    question="With as many numbers to learn: one wide layer, or narrower ones on top of each other?",
    source="After Graves (2013), and Karpathy, Johnson & Li, Visualizing and understanding recurrent networks (2015).",
    settings=Settings(),
    claims=(TWO, BEYOND_SEEDS, THREE, TOP_KEEPS, SLOWER),
    run=run,
    corpus="may",
    looked=Looked(
        "depth-3", "def read(self, size=-1):\n    return self", lambda settings: (configs(settings)[3].units,) * 3
    ),
    serves=(Served("depth-3", "import os", "three narrow layers go on as they learned from Python"),),
)
