"""The lab's tools: units are found where they were planted, what is held is lost, sequences are as they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model_export.cells.catalogue import CELLS, make_cell
from model_export.cells.full_memory import FullMemoryLstm
from model_export.cells.layer_norm import LayerNormLstm
from model_export.cells.peephole import PeepholeLstm
from model_export.errors import TrainingError
from model_export.lab.bench import Bench
from model_export.lab.clamping import Clamp, scores_with
from model_export.lab.gradients import gradient_norms, memory_path
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.observing import observe
from model_export.lab.sequences import IGNORED, batch_of
from model_export.lab.symbols import END, END_BYTE, Symbols, UnknownSymbol
from model_export.lab.training import Recipe, fit, new_network
from model_export.lab.units import Observed, Place, beyond, rank_units, sparseness
from model_export.lab.words import Words

_LETTERS = Symbols.letters("abX")


def _network(cell: str = "lstm", layers: int = 2) -> Network:
    torch.manual_seed(1)
    return Network(NetworkConfig(_LETTERS, cell=cell, units=6, layers=layers)).eval()


def _planted(signal: NDArray[np.float64], *, units: int = 8) -> Observed:
    """Noise in every unit but the sixth, 20 sequences of 30 positions."""
    noise = np.random.default_rng(0).standard_normal((600, units))
    noise[:, 5] = signal
    return Observed({(0, "h"): np.zeros((600, 2)), (1, "c"): noise}, np.repeat(np.arange(20), 30))


def test_a_planted_counter_is_found_and_beats_rotated_labels() -> None:
    count = np.tile(np.arange(30.0), 20)
    best, *others = rank_units(_planted(3 - 0.2 * count), count)
    assert best.place == Place(1, "c", 5)
    assert best.score > 0.999 and best.beats_chance
    assert not any(one.beats_chance for one in others)


def test_a_planted_switch_is_found_though_it_is_rare() -> None:
    switch = np.random.default_rng(1).random(600) < 0.1
    noisy = switch + 0.2 * np.random.default_rng(2).standard_normal(600)
    best = rank_units(_planted(noisy), switch)[0]
    assert best.place == Place(1, "c", 5)
    assert best.score > 0.95 and best.beats_chance


def test_a_label_that_means_nothing_gives_no_unit_a_score() -> None:
    label = np.random.default_rng(3).standard_normal(600)
    ranked = rank_units(_planted(np.random.default_rng(4).standard_normal(600)), label)
    assert ranked[0].score < 0.05


def test_a_unit_that_only_goes_with_the_place_tells_nothing_beyond_it() -> None:
    place = np.tile(np.arange(30.0), 20)
    people = np.floor(place / 10) + np.random.default_rng(5).integers(0, 3, 600)
    seen = _planted(2 * place)
    assert rank_units(seen, people)[0].score > 0.3
    assert rank_units(*beyond(seen, people, place))[0].score < 0.05


@pytest.mark.parametrize(
    ("label", "sequences", "message"),
    [(np.ones(600), 20, "the same everywhere"), (np.arange(600.0), 4, "4 sequences are too few")],
)
def test_what_cannot_be_told_is_said(label: NDArray[np.float64], sequences: int, message: str) -> None:
    seen = Observed({(0, "c"): np.zeros((600, 2))}, np.arange(600) % sequences)
    with pytest.raises(TrainingError, match=message):
        rank_units(seen, label)


def test_sparseness_is_one_for_a_single_active_unit_and_zero_for_all_alike() -> None:
    assert sparseness(np.eye(10)) == pytest.approx(1)
    assert sparseness(np.full((3, 10), -0.3)) == pytest.approx(0)


_CAUSAL = [name for name in CELLS if make_cell(name, 1, 1).causal]


@pytest.mark.parametrize("cell", _CAUSAL)
def test_holding_nothing_changes_nothing(cell: str) -> None:
    network, read = _network(cell), torch.randint(0, 4, (9, 3))
    torch.testing.assert_close(scores_with(network, read, ()), network.scores(read).detach(), atol=1e-5, rtol=0)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(_CAUSAL), st.integers(0, 1), st.integers(0, 5), st.integers(0, 2**31 - 1), st.data())
def test_a_signal_held_where_it_is_anyway_changes_nothing(
    cell: str, layer: int, unit: int, seed: int, data: st.DataObject
) -> None:
    torch.manual_seed(seed)
    network = Network(NetworkConfig(_LETTERS, cell=cell, units=6, layers=2)).double().eval()
    read = torch.randint(0, 4, (7, 3))
    watched = network.watch(read)
    letters = data.draw(st.lists(st.sampled_from(network.stack.layers[layer].signals), min_size=1, unique=True))
    own = [Clamp(Place(layer, letter, unit), watched.signal(layer, letter)[:, :, unit]) for letter in letters]
    torch.testing.assert_close(scores_with(network, read, own), watched.scores, atol=1e-10, rtol=0)


@pytest.mark.parametrize("cell", [name for name in _CAUSAL if "c" in make_cell(name, 1, 1).states])
def test_with_the_memory_goes_what_the_cell_makes_of_it(cell: str) -> None:
    network = _network(cell, layers=1)
    read = torch.randint(0, 4, (1, 3))
    (layer,) = network.stack.layers
    _, signals = layer.step(network.embedding(read)[0], layer.initial(3))
    c = signals["c"].clone()
    c[:, 2] = 1.7
    o, shown = signals["o"], c
    if isinstance(layer, PeepholeLstm):
        o = torch.sigmoid(torch.logit(o) + layer.p[2] * (c - signals["c"]))
    if isinstance(layer, FullMemoryLstm):
        o = torch.sigmoid(torch.logit(o) + (c - signals["c"]) @ layer.P.chunk(3)[2].T)
    if isinstance(layer, LayerNormLstm):
        shown = torch.nn.functional.layer_norm(c, (6,), layer.a_c, layer.s_c, 1e-5)
    wanted = network.head(o * torch.tanh(shown)).detach()
    held = scores_with(network, read, [Clamp(Place(0, "c", 2), 1.7)])[0]
    torch.testing.assert_close(held, wanted, atol=1e-5, rtol=0)


def test_a_forget_gate_held_at_one_forgets_nothing() -> None:
    torch.manual_seed(3)
    network = Network(NetworkConfig(_LETTERS, units=6)).double().eval()
    read = torch.randint(0, 4, (12, 1))
    watched = network.watch(read)
    held = scores_with(network, read, [Clamp(Place(0, "f", 1), 1.0)])
    step, states = network.stack.layers[0].step, network.initial(1)[0]
    for number, x in enumerate(network.embedding(read)):
        before = states[1]
        (h, c), signals = step(x, states)
        c, h = c.clone(), h.clone()
        c[:, 1] = before[:, 1] + (signals["i"] * signals["g"])[:, 1]
        h[:, 1] = signals["o"][:, 1] * torch.tanh(c[:, 1])
        states = (h, c)
        torch.testing.assert_close(held[number], network.head(h).detach())
    assert not torch.allclose(held[-1], watched.scores[-1])


def test_what_holds_a_unit_has_a_value_for_every_step_and_row() -> None:
    with pytest.raises(TrainingError, match=r"layer 0, unit 1, c is held at \(2,\) values, but \(9, 3\) are read"):
        scores_with(_network(), torch.zeros(9, 3, dtype=torch.int64), [Clamp(Place(0, "c", 1), torch.zeros(2))])


def test_a_layer_without_single_steps_cannot_be_held() -> None:
    network = _network("bidirectional-lstm", layers=1)
    with pytest.raises(TrainingError, match="it has no single steps"):
        scores_with(network, torch.zeros(2, 1, dtype=torch.int64), [Clamp(Place(0, "h", 0))])


def test_a_held_unit_has_its_value_at_every_step_and_the_others_read_it() -> None:
    network, read = _network(), torch.randint(0, 4, (9, 3))
    free = network.watch(read)
    held = scores_with(network, read, [Clamp(Place(1, "h", 2), 0.5)])
    weight = network.head.weight[:, 2]
    first = free.scores[0] + (0.5 - free.signal(1, "h")[0, :, 2])[:, None] * weight
    torch.testing.assert_close(held[0], first.detach(), atol=1e-5, rtol=0)
    assert not torch.allclose(held[-1], free.scores[-1])


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (Place(2, "c", 0), "no layer 2; there are 0 to 1"),
        (Place(0, "c", 6), "no unit 6; it has 0 to 5"),
        (Place(0, "z", 0), "layer 0 has no signal 'z'; it has i, f, o, g, c, h"),
    ],
)
def test_a_unit_or_layer_that_is_not_there_is_named(place: Place, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        scores_with(_network(), torch.zeros(2, 1, dtype=torch.int64), [Clamp(place)])


@pytest.mark.parametrize(
    ("layer", "letter", "message"), [(2, "c", "no layer 2"), (0, "z", "no signal 'z'; it has i, f, o, g, c, h")]
)
def test_a_signal_that_is_not_there_is_named(layer: int, letter: str, message: str) -> None:
    watched = _network().watch(torch.zeros(2, 1, dtype=torch.int64))
    with pytest.raises(TrainingError, match=message):
        watched.signal(layer, letter)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(1, 3), max_size=6), min_size=1, max_size=5))
def test_a_batch_holds_each_sequence_between_two_ends(sequences: list[list[int]]) -> None:
    batch = batch_of([np.array(one, np.int64) for one in sequences])
    for row, sequence in enumerate(sequences):
        length = len(sequence) + 1
        assert batch.inputs[:length, row].tolist() == [END, *sequence]
        assert batch.targets[:length, row].tolist() == [*sequence, END]
        assert (batch.targets[length:, row] == IGNORED).all()


def test_what_is_observed_lies_beside_its_sequence() -> None:
    network = _network()
    sequences = [_LETTERS.encode("abX"), _LETTERS.encode("b")]
    seen = observe(network, sequences)
    assert seen.sequence.tolist() == [0, 0, 0, 1]
    alone = network.watch(batch_of(sequences[1:]).inputs).signal(1, "h")[1, 0]
    np.testing.assert_allclose(seen.signals[1, "h"][3], alone.numpy(), atol=1e-6)


def test_letters_are_bytes_and_the_rest_of_the_bytes_are_never_predicted() -> None:
    assert _LETTERS.tokens().tolist() == [END_BYTE, *b"abX"]
    spread = _LETTERS.to_bytes_table(np.arange(4, dtype=np.float32), -100.0)
    assert (spread[END_BYTE], spread[ord("X")], spread[ord("c")]) == (0, 3, -100)
    with pytest.raises(UnknownSymbol, match="no symbol for 'c'; the network knows 'a', 'b', 'X'"):
        _LETTERS.encode("abc")


def test_words_are_cut_at_spaces_and_punctuation_and_unknown_ones_are_named() -> None:
    words = Words.of(["In France, Mary ate.", "Mary ate her croissant."])
    assert words.cut("Mary ate, in") == ["Mary", "ate", ",", "in"]
    assert words.symbols.decode(words.encode("Mary ate her croissant.")) == ["Mary", "ate", "her", "croissant", "."]
    with pytest.raises(UnknownSymbol, match="no symbol for 'pizza'"):
        words.encode("Mary ate pizza")


def test_along_an_open_memory_the_gradient_stays_as_it_is() -> None:
    from model_export.cells.lstm import Lstm

    torch.manual_seed(0)
    cell = Lstm(3, 5, forget_bias=50.0)
    with torch.no_grad():
        cell.R.zero_()  # the memory is the only way back
    path = memory_path(cell, torch.randn(40, 2, 3), lambda h: h.sum())
    np.testing.assert_allclose(path.gradient, path.gradient[-1])
    np.testing.assert_allclose(path.gates, path.gradient[-1])
    assert gradient_norms(cell, torch.randn(40, 2, 3))[0] > 1e-4


@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_the_gradient_along_the_memory_alone_is_the_product_of_the_gates_and_the_rest_comes_through_h(
    bias: float,
) -> None:
    from model_export.cells.lstm import Lstm

    torch.manual_seed(0)
    path = memory_path(Lstm(3, 5, forget_bias=bias), torch.randn(40, 2, 3), lambda h: h.sum())
    assert path.apart < 1e-9
    assert path.lost_a_step(path.gradient) < path.lost_a_step(path.gates)


def test_where_nothing_is_forgotten_the_gradient_along_the_memory_alone_stays_as_it_is() -> None:
    from model_export.cells.lstm_1997 import Lstm1997

    torch.manual_seed(0)
    path = memory_path(Lstm1997(3, 5), torch.randn(40, 2, 3), lambda h: h.sum())
    np.testing.assert_allclose(path.alone, path.alone[-1], rtol=1e-12)
    assert abs(np.log10(path.gradient[0] / path.gradient[-1])) > 0.01


def test_a_training_that_runs_away_is_an_error() -> None:
    network = new_network(NetworkConfig(_LETTERS, cell="rnn", units=4), 0)
    with torch.no_grad():
        network.head.weight.fill_(float("inf"))
    batch = batch_of([_LETTERS.encode("ab")])
    bench = Bench(Path(), Path())
    with pytest.raises(TrainingError, match="the loss is nan at step 0; a lower rate may help"):
        fit(network, lambda step: batch, Recipe(3), bench, "broken")


def test_the_same_seed_trains_the_same_network() -> None:
    batch = batch_of([_LETTERS.encode("abX")])
    bench = Bench(Path(), Path())
    made = []
    for _ in range(2):
        made.append(new_network(NetworkConfig(_LETTERS, units=4), 5))
        fit(made[-1], lambda step: batch, Recipe(20), bench, "twice")
    for one, other in zip(made[0].parameters(), made[1].parameters(), strict=True):
        assert torch.equal(one, other)
