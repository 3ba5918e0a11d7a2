"""Films and what is so at each of their frames; networks that label them, with and without a unit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_export.lab.clamping import Clamp
from model_export.lab.films import FRAMES, LETTERS, Seen, draw_film, follow, labelled, labels
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.training import new_network
from model_export.lab.units import Place


def _network() -> Network:
    return new_network(NetworkConfig(LETTERS, units=6), seed=0).eval()


@pytest.mark.parametrize(
    ("film", "right"),
    [
        ("Bw", "ns"),
        ("w", "t"),
        ("Bw|w", "nsnt"),
        ("Sb|b", "nhnc"),
        ("Hbw", "nct"),
        ("pDp|p", "lnfnf"),
    ],
)
def test_the_place_is_over_at_a_cut_and_a_death_is_not(film: str, right: str) -> None:
    assert labels(film) == right


def test_a_story_knows_how_long_ago_the_place_was_shown() -> None:
    story = follow("B.w|.Sb")
    assert story.since_place == (0, 1, 2, 0, 1, 0, 1)
    assert story.before == ("", "", "", "B", "B", "B", "B")
    assert follow("D|.|p").since_death == (0, 1, 1, 2, 2)


@given(st.lists(st.text(FRAMES, min_size=1, max_size=30), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_what_is_so_is_told_of_every_frame(films: list[str]) -> None:
    seen = Seen.of(films)
    count = sum(map(len, films))
    for values in (seen.frames, seen.places, seen.before, seen.since_death, seen.since_place, seen.unclear):
        assert len(values) == count
    assert not (seen.of_place & ~seen.unclear).any()


def test_films_have_the_scenes_that_were_asked_for_and_no_longer_ones() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        film = draw_film(generator, 4, 7)
        assert film.count("|") == 4 and film.endswith("|")
        assert all(2 <= len(scene.lstrip("BSH")) <= 7 for scene in film.rstrip("|").split("|"))


def test_labels_are_compared_frame_by_frame_film_after_film() -> None:
    network, films = _network(), ["B.wp|", "w", "Sbb|wp."]
    right = Seen.of(films).right(network)
    for film, own in zip(films, np.split(right, np.cumsum([len(film) for film in films])[:-1]), strict=True):
        given_labels = network.watch(labelled([film]).inputs).scores[1:, 0].argmax(dim=-1).numpy()
        assert own.tolist() == [one == two for one, two in zip(LETTERS.decode(given_labels), labels(film), strict=True)]


def test_a_unit_that_is_held_is_missed_where_it_told_the_label() -> None:
    network = _network()
    with torch.no_grad():  # unit 2 alone decides between swimming and bathing, and is told nothing
        network.head.weight.zero_()
        network.head.bias.zero_()
        network.head.weight[LETTERS.number("s"), 2] = 10
    swims = Seen.of(["Bw"])
    with_it = [bool(swims.right(network, [Clamp(Place(0, "h", 2), held)])[1]) for held in (1.0, -1.0)]
    assert with_it == [True, False]
