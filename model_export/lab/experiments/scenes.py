"""A film, frame by frame: what is seen can mean two things, and what came before decides (after Chen 2017).

Somebody in the water (w) swims at the beach (B) and bathes elsewhere; somebody with bacon (b) shops in the supermarket
(S) and cooks elsewhere. A cut (|) ends the scene, and the next may not say where it is: then nothing is known of the
place. If Bob dies (D), every later picture of him (p) is a flashback, in every later scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model_export.lab import pictures
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim
from model_export.lab.experiment import Experiment, Finding, Looked, Picture, Served
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.observing import observe
from model_export.lab.sequences import IGNORED, Batch, batch_of
from model_export.lab.symbols import Symbols
from model_export.lab.training import Recipe, fit, new_network
from model_export.lab.units import Observed, Ranked, rank_units
from service.model.checked import Between, Checked

FRAMES = "BSH|wbpD."
LABELS = {
    "s": "swimming",
    "t": "bathing",
    "h": "shopping",
    "c": "cooking",
    "l": "Bob",
    "f": "flashback",
    "n": "nothing",
}
SHORT = {"s": "swim", "t": "bath", "h": "shop", "c": "cook", "l": "Bob", "f": "past"}  # below the pictures
LETTERS = Symbols.letters(FRAMES + "".join(LABELS))
CELLS = ("feed-forward", "rnn", "lstm")
_TESTS = 200
_SHARES = (0.35, 0.2, 0.2, 0.2, 0.05)  # of ., w, b, p, D among the frames of a scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """scenes: in a film; of fewer than three none is two cuts after a death.

    frames: in a scene at most, beside its sign and the cut.
    """

    units: Annotated[int, Between(2, 256)] = 16
    scenes: Annotated[int, Between(3, 40)] = 6
    frames: Annotated[int, Between(2, 40)] = 8
    steps: Annotated[int, Between(1, 50_000)] = 2_000


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
    "share of right labels in scenes that do not say where they are, after one that did",
    0.99,
    digits=3,
    percent=True,
)
KEEPS = Claim(
    "keeps_a_death",
    "It never forgets a death, whatever is cut.",
    "share of pictures of Bob labelled flashback, two scenes and more after his death",
    0.99,
    digits=3,
    percent=True,
)
PLACE_GATE = Claim(
    "place_gate_shuts",
    "The unit that knows the beach shuts its forget gate at the cut.",
    "its mean f at a cut",
    0.5,
    sense="at most",
)
DEATH_GATE = Claim(
    "death_gate_open",
    "The unit that knows of the death keeps its gate open there.",
    "its mean f at a cut, once Bob is dead",
    0.9,
)


def draw_film(generator: np.random.Generator, settings: Settings) -> str:
    """Scenes with a cut after each."""
    film = ""
    for _ in range(settings.scenes):
        film += str(generator.choice(["B", "S", "H", ""], p=[0.25, 0.25, 0.2, 0.3]))
        count = int(generator.integers(2, settings.frames + 1))
        film += "".join(generator.choice(list(".wbpD"), count, p=_SHARES)) + "|"
    return film


@dataclass(frozen=True, slots=True)
class Story:
    """What is so at each frame of a film. since_death: scenes since then, -1 if Bob lives.  places: B, S, H or none."""

    places: tuple[str, ...]
    before: tuple[str, ...]
    since_death: tuple[int, ...]


def follow(film: str) -> Story:
    """Read a film as somebody who forgets nothing."""
    place, last, since = "", "", -1
    places, before, deaths = [], [], []
    for frame in film:
        if frame == "|":
            last, place = place, ""
            since += since >= 0
        elif frame in "BSH":
            place = frame
        elif frame == "D":
            since = max(since, 0)
        places.append(place)
        before.append(last)
        deaths.append(since)
    return Story(tuple(places), tuple(before), tuple(deaths))


def label_of(frame: str, place: str, since_death: int) -> str:
    """The right label."""
    if frame == "w":
        return "s" if place == "B" else "t"
    if frame == "b":
        return "h" if place == "S" else "c"
    if frame == "p":
        return "f" if since_death >= 0 else "l"
    return "n"


def labels(film: str) -> str:
    """The right label of each frame."""
    story = follow(film)
    return "".join(map(label_of, film, story.places, story.since_death))


def labelled(films: Sequence[str]) -> Batch:
    """Films, and after each frame its label as what is to be predicted."""
    batch = batch_of([LETTERS.encode(film) for film in films])
    batch.targets.fill_(IGNORED)
    for row, film in enumerate(films):
        batch.targets[1 : len(film) + 1, row] = torch.from_numpy(LETTERS.encode(labels(film)))
    return batch


def train(settings: Settings, bench: Bench, config: NetworkConfig) -> Network:
    """One network, from films."""
    network, generator = new_network(config, bench.seed), np.random.default_rng(bench.seed)

    def draw(step: int) -> Batch:
        return labelled([draw_film(generator, settings) for _ in range(24)])

    fit(network, draw, Recipe(settings.steps), bench, f"scenes, {config.cell}")
    return network


def right_at(network: Network, films: Sequence[str]) -> NDArray[np.bool_]:
    """Whether each frame of each film gets its label, film after film."""
    batch = labelled(films)
    right = (network.watch(batch.inputs).scores.argmax(dim=-1) == batch.targets).numpy()
    return np.concatenate([right[1 : len(film) + 1, row] for row, film in enumerate(films)])


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims on unseen films."""
    networks = {}
    for cell in CELLS:
        config = NetworkConfig(LETTERS, cell=cell, units=settings.units)
        name = "scenes" if cell == "lstm" else f"scenes-{cell}"
        networks[cell] = bench.network(name, config, lambda config=config: train(settings, bench, config))  # type: ignore[misc]
    generator = np.random.default_rng([bench.seed, 7])
    films = [draw_film(generator, settings) for _ in range(_TESTS)]
    stories = [follow(film) for film in films]
    frames = np.array(list("".join(films)))
    places, before, since = (
        np.concatenate([np.array(getattr(story, name)) for story in stories])
        for name in ("places", "before", "since_death")
    )
    right = {cell: right_at(network, films) for cell, network in networks.items()}
    unclear = np.isin(frames, list("wbp"))
    share = {cell: float(one[unclear].mean()) for cell, one in right.items()}
    seen = observe(networks["lstm"], [LETTERS.encode(film) for film in films])
    knows_beach = _best(seen, places == "B", bench.seed)
    knows_death = _best(seen, since >= 0, bench.seed)
    forget, cut = seen.signals[0, "f"], frames == "|"
    unsaid = np.isin(frames, list("wb")) & (places == "") & (before != "")
    verdicts = (
        FRAME_BY_FRAME.verdict(share["feed-forward"]),
        LSTM_RIGHT.verdict(share["lstm"], f"{int(unclear.sum()):,} frames"),
        BETTER.verdict(share["lstm"] - share["rnn"], f"the RNN {share['rnn']:.1%}"),
        RESETS.verdict(float(right["lstm"][unsaid].mean()), f"the RNN {right['rnn'][unsaid].mean():.1%}"),
        KEEPS.verdict(float(right["lstm"][(frames == "p") & (since >= 2)].mean())),
        PLACE_GATE.verdict(float(forget[cut, knows_beach.place.unit].mean()), _told(knows_beach)),
        DEATH_GATE.verdict(float(forget[cut & (since >= 0), knows_death.place.unit].mean()), _told(knows_death)),
    )
    units = {"knows the beach": knows_beach.place.unit, "knows of the death": knows_death.place.unit}
    drawn = (
        Picture("film", _draw_film(networks, units), _FILM_CAPTION),
        Picture("accuracy", _draw_accuracy(right, frames), _ACCURACY_CAPTION),
    )
    return Finding(verdicts, drawn, _STORY, {"right": share, "units": units})


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
    "A film, the label that the LSTM gives each frame, and the memory and the forget gate of the unit that knows "
    "the beach and "
    "of the one that knows of Bob's death. B beach, S supermarket, | cut, w water, b bacon, p Bob, D he dies."
)
_ACCURACY_CAPTION = "How often each network labels a frame right that can mean two things."


def _draw_film(networks: dict[str, Network], units: dict[str, int]) -> Figure:
    film = "B.wwp|wb.|S.bwD|p.wb|B.wp|.wpb|"
    batch = labelled([film])
    watched = networks["lstm"].watch(batch.inputs)
    given = LETTERS.decode(watched.scores[1:, 0].argmax(dim=-1).numpy())
    letters = [f"{frame}\n{SHORT.get(label, '')}" for frame, label in zip(film, given, strict=True)]
    figure, axes = pictures.new_figure(2, 1, width=12, height=6)
    for place, letter in zip(axes, "cf", strict=True):
        values = watched.signal(0, letter)[1:, 0].numpy()
        for (name, unit), colour in zip(units.items(), (pictures.BLUE, pictures.RED), strict=True):
            place.plot(values[:, unit], color=colour, marker=".", label=f"unit {unit} {name}")
        place.set_xticks(range(len(letters)), letters, fontsize=7)
        for cut in [n for n, frame in enumerate(film) if frame == "|"]:
            place.axvline(cut, color=pictures.GREY, lw=0.8, ls="--")
        place.set_title(pictures.SIGNAL_NAMES[letter])
        place.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _draw_accuracy(right: dict[str, NDArray[np.bool_]], frames: NDArray[np.str_]) -> Figure:
    figure, axes = pictures.new_figure(width=8, height=3.8)
    kinds = {"w": "water", "b": "bacon", "p": "Bob"}
    for number, (cell, one) in enumerate(right.items()):
        heights = [float(one[frames == kind].mean()) for kind in kinds]
        axes[0].bar(np.arange(len(kinds)) + 0.26 * (number - 1), heights, 0.24, label=cell)
    axes[0].set_xticks(range(len(kinds)), list(kinds.values()))
    axes[0].set(ylim=(0, 1.02), ylabel="share right", title="frames that can mean two things")
    axes[0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


EXPERIMENT = Experiment(
    name="scenes",
    title="A film: what came before decides what is seen",
    question="What does memory add to looking at one frame at a time, and what has to be forgotten?",
    source="After Edwin Chen, Exploring LSTMs (2017).",
    settings=Settings(),
    claims=(FRAME_BY_FRAME, LSTM_RIGHT, BETTER, RESETS, KEEPS, PLACE_GATE, DEATH_GATE),
    run=run,
    looked=Looked("scenes", "B.wb|H.bD|B.w", lambda settings: (settings.units,)),
    serves=(Served("scenes", "B.w", "it suggests s, swimming; after B.w|w it suggests t, bathing"),),
)
