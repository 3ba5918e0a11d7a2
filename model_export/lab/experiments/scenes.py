"""A film, frame by frame: what is seen can mean two things, and what came before decides (after Chen 2017).

The films are those of `films.py`. Three networks of one width label them, and long ones, whose scenes last far longer
than any that was learned from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model_export.lab import pictures
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim, Verdict
from model_export.lab.clamping import Clamp
from model_export.lab.experiment import Experiment, Finding, Looked, Picture, Served
from model_export.lab.films import LETTERS, SHORT, Seen, draw_film, labelled, labels
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.observing import observe
from model_export.lab.sequences import Batch
from model_export.lab.training import Recipe, fit, new_network
from model_export.lab.units import Observed, Ranked, rank_units
from service.model.checked import Between, Checked

CELLS = ("feed-forward", "rnn", "lstm")
_RATE = 0.03  # of 0.01 and 0.03 the one with which the RNN ends at less loss: with the other it never learns of deaths
_TESTS, _LONG_TESTS = 200, 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """scenes: in a film; of fewer than three none is two cuts after a death.

    frames: in a scene at most, beside its sign and the cut.  long: the same in the long films, which no training sees.
    """

    units: Annotated[int, Between(2, 256)] = 16
    scenes: Annotated[int, Between(3, 40)] = 6
    frames: Annotated[int, Between(2, 60)] = 40
    steps: Annotated[int, Between(1, 50_000)] = 2_000
    long: Annotated[int, Between(80, 1_000)] = 200


FRAME_BY_FRAME = Claim(
    "feed_forward_guesses",
    "Frame by frame, without memory, what can mean two things is guessed.",
    "share of ambiguous frames that the feed-forward network labels right",
    0.75,
    sense="at most",
    percent=True,
)
LSTM_RIGHT = Claim(
    "lstm_right", "The LSTM knows.", "share of ambiguous frames that it labels right", 0.99, digits=3, percent=True
)
BETTER = Claim(
    "lstm_over_rnn",
    "It does at least as well as the simple RNN.",
    "share of ambiguous frames right, the LSTM's less the RNN's",
    0.0,
    digits=3,
)
RESETS = Claim(
    "resets_at_a_cut",
    "At a cut it forgets the place.",
    "share of right labels where who went on with the last place would be wrong: water after a beach "
    "and bacon after a supermarket, in scenes that do not say where they are",
    0.99,
    digits=3,
    percent=True,
)
KEEPS = Claim(
    "keeps_a_death",
    "It never forgets a death, whatever is cut.",
    "the lesser of two shares: of pictures of Bob labelled flashback, two scenes and more after his death, and of "
    "those labelled Bob while he lives",
    0.99,
    digits=3,
    percent=True,
)
LONG = Claim(
    "lstm_right_far",
    "It knows the place long after it was shown, in scenes far longer than any it learned from.",
    "share of water and bacon that it labels right more than {frames} frames after the place, or the cut, in scenes of "
    "up to {long} frames",
    0.95,
    percent=True,
)
LONG_RNN = Claim(
    "lstm_over_rnn_far",
    "There the simple RNN has forgotten it.",
    "the same share of the LSTM, less the RNN's",
    0.1,
    digits=3,
)
PLACE_GATE = Claim(
    "place_gate_shuts",
    "The unit that knows the beach shuts its forget gate at the cut, and not within the scene.",
    "its mean f at the frames of a scene at the beach, less that at the cut",
    0.5,
)
PLACE_USED = Claim(
    "place_unit_used",
    "Hold its memory at zero, and nobody swims.",
    "share of water at the beach that is then labelled right",
    0.5,
    sense="at most",
    percent=True,
)
DEATH_GATE = Claim(
    "death_gate_open",
    "The unit that knows of the death keeps its gate open there.",
    "its mean f at a cut, once Bob is dead",
    0.9,
)
DEATH_USED = Claim(
    "death_unit_used",
    "Hold the memory of that unit at zero, and Bob lives.",
    "share of flashbacks that are then labelled right",
    0.5,
    sense="at most",
    percent=True,
)


def train(settings: Settings, bench: Bench, config: NetworkConfig) -> Network:
    """One network, from films."""
    network, generator = new_network(config, bench.seed), np.random.default_rng(bench.seed)

    def draw(step: int) -> Batch:
        return labelled([draw_film(generator, settings.scenes, settings.frames) for _ in range(24)])

    fit(network, draw, Recipe(settings.steps, rate=_RATE), bench, f"scenes, {config.cell}")
    return network


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims on unseen films, and on long ones."""
    networks = {}
    for cell in CELLS:
        config = NetworkConfig(LETTERS, cell=cell, units=settings.units)
        name = "scenes" if cell == "lstm" else f"scenes-{cell}"
        networks[cell] = bench.network(name, config, partial(train, settings, bench, config))
    generator = np.random.default_rng([bench.seed, 7])
    seen = Seen.of([draw_film(generator, settings.scenes, settings.frames) for _ in range(_TESTS)])
    long = Seen.of([draw_film(generator, settings.scenes, settings.long) for _ in range(_LONG_TESTS)])
    right = {cell: seen.right(network) for cell, network in networks.items()}
    right_long = {cell: long.right(network) for cell, network in networks.items()}
    signals = observe(networks["lstm"], [LETTERS.encode(film) for film in seen.films])
    beach = _best(signals, seen.places == "B", bench.seed)
    death = _best(signals, seen.since_death >= 0, bench.seed)
    drawn = (
        Picture("film", _draw_film(networks, {"knows the beach": beach, "knows of the death": death}), _FILM_CAPTION),
        Picture("accuracy", _draw_accuracy(right, seen), _ACCURACY_CAPTION),
        Picture("far", _draw_far(right_long, long), _FAR_CAPTION.format(frames=settings.frames)),
    )
    details = {
        "right": {cell: float(one[seen.unclear].mean()) for cell, one in right.items()},
        "right_by_frames_since_the_place": {cell: by_distance(one, long) for cell, one in right_long.items()},
        "units": {"knows the beach": beach.place.unit, "knows of the death": death.place.unit},
    }
    verdicts = (
        *measure_labels(right, seen),
        *measure_far(right_long, long, settings.frames),
        *measure_units(networks["lstm"], seen, signals.signals[0, "f"], beach, death),
    )
    return Finding(verdicts, drawn, _STORY, details)


def measure_labels(right: Mapping[str, NDArray[np.bool_]], seen: Seen) -> list[Verdict]:
    """What is claimed of labels in films such as those that were shown. right: of each cell, [frames]."""
    share = {cell: float(one[seen.unclear].mean()) for cell, one in right.items()}
    tempting = ((seen.frames == "w") & (seen.before == "B")) | ((seen.frames == "b") & (seen.before == "S"))
    unsaid = tempting & (seen.places == "")
    bob = seen.frames == "p"
    alive, late = bob & (seen.since_death < 0), bob & (seen.since_death >= 2)
    knows = {cell: min(float(one[alive].mean()), float(one[late].mean())) for cell, one in right.items()}
    return [
        FRAME_BY_FRAME.verdict(share["feed-forward"]),
        LSTM_RIGHT.verdict(share["lstm"], f"{int(seen.unclear.sum()):,} frames"),
        BETTER.verdict(share["lstm"] - share["rnn"], f"the RNN {share['rnn']:.1%}"),
        RESETS.verdict(float(right["lstm"][unsaid].mean()), _others(right, unsaid)),
        KEEPS.verdict(knows["lstm"], f"the RNN {knows['rnn']:.1%}, without memory {knows['feed-forward']:.1%}"),
    ]


def _others(right: Mapping[str, NDArray[np.bool_]], where: NDArray[np.bool_]) -> str:
    return f"the RNN {right['rnn'][where].mean():.1%}, without memory {right['feed-forward'][where].mean():.1%}"


def measure_far(right: Mapping[str, NDArray[np.bool_]], long: Seen, frames: int) -> list[Verdict]:
    """What is claimed of places in scenes that are longer than any that was shown, which had up to `frames`."""
    far = long.of_place & (long.since_place > frames)
    share = {cell: float(one[far].mean()) for cell, one in right.items()}
    return [
        LONG.verdict(share["lstm"], f"{int(far.sum()):,} frames"),
        LONG_RNN.verdict(share["lstm"] - share["rnn"], _others(right, far)),
    ]


def measure_units(
    network: Network, seen: Seen, forget: NDArray[np.floating], beach: Ranked, death: Ranked
) -> list[Verdict]:
    """What is claimed of the two units. forget: every unit's forget gate, [frames, units]."""
    cut = seen.frames == "|"
    at_the_beach, swims = (seen.places == "B") & ~cut, (seen.frames == "w") & (seen.places == "B")
    ends_there = cut & (np.roll(seen.places, 1) == "B")
    within, at_cut = (float(forget[where, beach.place.unit].mean()) for where in (at_the_beach, ends_there))
    past = (seen.frames == "p") & (seen.since_death >= 0)
    dead_at_cut = float(forget[cut & (seen.since_death >= 0), death.place.unit].mean())
    swim, flash = (seen.right(network, [Clamp(one.place)])[where] for one, where in ((beach, swims), (death, past)))
    return [
        PLACE_GATE.verdict(within - at_cut, f"{within:.2f} and {at_cut:.2f}; {_told(beach)}"),
        PLACE_USED.verdict(float(swim.mean())),
        DEATH_GATE.verdict(dead_at_cut, _told(death)),
        DEATH_USED.verdict(float(flash.mean())),
    ]


_BUCKETS = (0, 5, 10, 20, 40, 80, 160)


def by_distance(right: NDArray[np.bool_], long: Seen) -> list[dict[str, float]]:
    """The share of water and bacon labelled right by frames since the place was shown, as JSON takes it."""
    shares = []
    for low, high in zip(_BUCKETS, (*_BUCKETS[1:], None), strict=True):
        where = long.of_place & (long.since_place >= low) & (long.since_place < (high or np.inf))
        if where.any():
            shares.append({"from": low, "right": float(right[where].mean()), "frames": int(where.sum())})
    return shares


def _best(seen: Observed, label: NDArray[np.bool_], seed: int) -> Ranked:
    """The unit whose memory tells a yes or no best."""
    return rank_units(Observed({(0, "c"): seen.signals[0, "c"]}, seen.sequence), label, seed=seed)[0]


def _told(one: Ranked) -> str:
    return f"{one.place}: it tells with a balanced accuracy of {one.score:.2f}, chance {one.control:.2f}"


_STORY = (
    "Somebody is in the water. Swimming, or having a bath? In a film one knows, from the beach that was shown before. "
    "Somebody holds bacon: in a supermarket that is shopping, in a kitchen cooking. When the scene is over the "
    "place no "
    "longer counts. But if Bob dies, that he is dead must be kept through every cut.",
    "Three networks label the same films, frame by frame: one without memory, a simple recurrent one, and an LSTM.",
)
_FILM_CAPTION = (
    "A film, what the frames that can mean two things are, and what each network takes them for, red where it is "
    "wrong; then the memory and the forget gate of the unit that knows the beach and of the one that knows of Bob's "
    "death. B beach, S supermarket, H home, | cut, w water, b bacon, p Bob, D he dies."
)
_FAR_CAPTION = (
    "Films of long scenes: how often water and bacon are labelled right by how many frames ago the place was shown, or "
    "the film cut. In training no scene has more than {frames} frames."
)
_ACCURACY_CAPTION = "How often each network labels a frame right that can mean two things."


_FILM = "B.wwp|wb.|S.bwD|p.wb|B.b..w.b.p..bw..b.bw.p.b..w.bb..w.p.b.wb..w.b.bw|.wpb|"
_NAMES = {"feed-forward": "without memory", "rnn": "simple RNN", "lstm": "LSTM"}


def _draw_film(networks: Mapping[str, Network], units: Mapping[str, Ranked]) -> Figure:
    batch = labelled([_FILM])
    figure, axes = pictures.new_figure(3, 1, width=14, height=8.5)
    rows = {"what it is": labels(_FILM)}
    for cell, network in networks.items():
        rows[_NAMES[cell]] = "".join(LETTERS.decode(network.watch(batch.inputs).scores[1:, 0].argmax(dim=-1).numpy()))
    _write_labels(axes[0], rows)
    watched = networks["lstm"].watch(batch.inputs)
    for place, letter in zip(axes[1:], "cf", strict=True):
        values = watched.signal(0, letter)[1:, 0].numpy()
        for (name, one), colour in zip(units.items(), (pictures.BLUE, pictures.RED), strict=True):
            unit = one.place.unit
            place.plot(values[:, unit], color=colour, marker=".", label=f"unit {unit} {name}")
        place.set_xticks(range(len(_FILM)), list(_FILM), fontsize=8)
        place.grid(visible=False, axis="x")
        for cut in [n for n, frame in enumerate(_FILM) if frame == "|"]:
            place.axvline(cut, color=pictures.GREY, lw=0.8, ls="--")
        place.set_title(pictures.SIGNAL_NAMES[letter], loc="left")
        place.set_xlim(-1, len(_FILM))
        place.legend(loc="upper right", bbox_to_anchor=(1.0, 1.2), ncols=2, frameon=False)
    axes[2].set_ylim(-0.03, 1.03)
    return figure


def _write_labels(axes: Axes, rows: Mapping[str, str]) -> None:
    """The labels of one film, a row each, the first being the right ones; only where a frame can mean two things."""
    right = next(iter(rows.values()))
    for down, given in enumerate(rows.values()):
        for across, (frame, label) in enumerate(zip(_FILM, given, strict=True)):
            if frame in "wbp":
                colour = "black" if label == right[across] else pictures.RED
                word = SHORT.get(label, "?")
                axes.text(across, down, word, color=colour, rotation=90, ha="center", va="center", fontsize=8)
    axes.set(xlim=(-1, len(_FILM)), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xticks(range(len(_FILM)), list(_FILM), fontsize=8)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.grid(visible=False)
    axes.set_title("labels, side by side", loc="left")


def _draw_accuracy(right: Mapping[str, NDArray[np.bool_]], seen: Seen) -> Figure:
    figure, axes = pictures.new_figure(width=8, height=3.8)
    kinds = {"w": "water", "b": "bacon", "p": "Bob"}
    for number, (cell, one) in enumerate(right.items()):
        heights = [float(one[seen.frames == kind].mean()) for kind in kinds]
        axes[0].bar(np.arange(len(kinds)) + 0.26 * (number - 1), heights, 0.24, label=_NAMES[cell])
    axes[0].set_xticks(range(len(kinds)), list(kinds.values()))
    axes[0].set(ylim=(0, 1.02), ylabel="share right")
    axes[0].set_title("frames that can mean two things, in films as in training", loc="left")
    axes[0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def _draw_far(right: Mapping[str, NDArray[np.bool_]], long: Seen) -> Figure:
    figure, axes = pictures.new_figure(width=8, height=3.8)
    for cell, one in right.items():
        shares = by_distance(one, long)
        style = {"marker": "x", "ls": "--", "ms": 9} if cell == "lstm" else {"marker": "o"}  # seen where they are equal
        axes[0].plot([each["right"] for each in shares], label=_NAMES[cell], **style)
    ends = [f"{low} to {high - 1}" for low, high in pairwise(_BUCKETS)]
    names = [*ends, f"{_BUCKETS[-1]} or more"][: len(shares)]
    axes[0].set_xticks(range(len(names)), names)
    axes[0].set(ylim=(0, 1.03), xlabel="frames since the place was shown, or since the cut", ylabel="share right")
    axes[0].set_title("water and bacon in long scenes", loc="left")
    axes[0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def tests(settings: Settings) -> Batch:
    """What a unit is held on: films that are drawn, and the label of each frame."""
    generator = np.random.default_rng(7)
    return labelled([draw_film(generator, settings.scenes, settings.frames) for _ in range(40)])


EXPERIMENT = Experiment(
    name="scenes",
    title="A film: what came before decides what is seen",
    question="What does memory add to looking at one frame at a time, and what has to be forgotten?",
    source="After Edwin Chen, Exploring LSTMs (2017).",
    settings=Settings(),
    claims=(
        *(FRAME_BY_FRAME, LSTM_RIGHT, BETTER, RESETS, KEEPS, LONG, LONG_RNN),
        *(PLACE_GATE, PLACE_USED, DEATH_GATE, DEATH_USED),
    ),
    run=run,
    looks=frozenset({"long"}),
    looked=Looked("scenes", "B.wb|H.bD|B.w", lambda settings: (settings.units,), tests=tests),
    serves=(Served("scenes", "B.w", "it suggests s, swimming; after B.w|w it suggests t, bathing"),),
)
