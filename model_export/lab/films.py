"""Synthetic films, frame by frame, with the right label of each frame (after Chen 2017), and films laid side by side.

Somebody in the water (w) swims at the beach (B) and bathes elsewhere; somebody with bacon (b) shops in the supermarket
(S) and cooks elsewhere. A cut (|) ends the scene, and the next may not say where it is: then nothing is known of the
place. If Bob dies (D), every later picture of him (p) is a flashback, in every later scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from model_export.lab.clamping import Clamp, scores_with
from model_export.lab.network import Network
from model_export.lab.sequences import IGNORED, Batch, batch_of
from model_export.lab.symbols import Symbols

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
_SHARES = (0.39, 0.2, 0.2, 0.2, 0.01)  # of ., w, b, p, D among the frames of a scene: he lives for half of a film


def draw_film(generator: np.random.Generator, scenes: int, frames: int) -> str:
    """Scenes of 2 to `frames` frames, with a cut after each."""
    film = ""
    for _ in range(scenes):
        film += str(generator.choice(["B", "S", "H", ""], p=[0.25, 0.25, 0.2, 0.3]))
        count = int(generator.integers(2, frames + 1))
        film += "".join(generator.choice(list(".wbpD"), count, p=_SHARES)) + "|"
    return film


@dataclass(frozen=True, slots=True)
class Story:
    """What is so at each frame of a film. since_death: scenes since then, -1 if Bob lives.  places: B, S, H or none.

    before: the place of the scene before.  since_place: frames since the place was shown, or since the cut.
    """

    places: tuple[str, ...]
    before: tuple[str, ...]
    since_death: tuple[int, ...]
    since_place: tuple[int, ...]


def follow(film: str) -> Story:
    """Read a film as somebody who forgets nothing."""
    place, last, since, shown = "", "", -1, 0
    places, before, deaths, frames = [], [], [], []
    for frame in film:
        shown = 0 if frame in "|BSH" else shown + 1
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
        frames.append(shown)
    return Story(tuple(places), tuple(before), tuple(deaths), tuple(frames))


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


@dataclass(frozen=True, slots=True)
class Seen:
    """Films, frame after frame: the frames, [frames], what is so at each, and which film each is of."""

    films: tuple[str, ...]
    frames: NDArray[np.str_]
    places: NDArray[np.str_]
    before: NDArray[np.str_]
    since_death: NDArray[np.int64]
    since_place: NDArray[np.int64]

    @classmethod
    def of(cls, films: Sequence[str]) -> Seen:
        """Read by somebody who forgets nothing."""
        stories = [follow(film) for film in films]
        told = (np.concatenate([np.array(getattr(one, field.name)) for one in stories]) for field in fields(Story))
        return cls(tuple(films), np.array(list("".join(films))), *told)

    def right(self, network: Network, clamps: Sequence[Clamp] = ()) -> NDArray[np.bool_]:
        """Whether each frame gets its label, some units held still."""
        batch = labelled(self.films)
        given = scores_with(network, batch.inputs, clamps).argmax(dim=-1)
        right = (given == batch.targets).numpy()
        return np.concatenate([right[1 : len(film) + 1, row] for row, film in enumerate(self.films)])

    @property
    def unclear(self) -> NDArray[np.bool_]:
        """Frames that can mean two things."""
        return np.isin(self.frames, list("wbp"))

    @property
    def of_place(self) -> NDArray[np.bool_]:
        """Those of them that the place decides."""
        return np.isin(self.frames, list("wb"))
