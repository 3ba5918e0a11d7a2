"""Networks of characters: trained on a text, rounded, kept, written from, and asked what their units stand for."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_export.cells.lstm import Lstm
from model_export.errors import CorpusError, TrainingError
from model_export.lab import model_folder, sampling
from model_export.lab.bench import Bench
from model_export.lab.character_units import Property, Reading
from model_export.lab.compact import as_steps, packed, rounded
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.symbols import Symbols, UnknownSymbol
from model_export.lab.training import new_network
from model_export.lab.training_on_text import LEAST_BYTES, TextRecipe, config_for, main_ending, read_corpus, train_on
from model_export.lab.units import Place
from service.runtime.onnx_model import load_model
from service.runtime.promise import check_promise
from tests.unit.model_export.tiny import write_files

_ASCII = Symbols.of_bytes([*b"\t\n", *range(0x20, 0x7F)])
_RECIPE = TextRecipe(layers=2, units=12, embedding=6, megabytes=0.008, rows=4, time=32)


def _network(units: int = 40) -> Network:
    return new_network(NetworkConfig(_ASCII, units=units, layers=2, embedding=8), 0).eval()


def _text(lines: int) -> str:
    return "".join(f"line {n}: naïve = {n * n}\n" for n in range(lines))


def test_every_byte_of_a_text_is_a_symbol_and_comes_back() -> None:
    symbols = Symbols.of_bytes("aé\n".encode())
    assert symbols.are_bytes and symbols.size == 5
    assert symbols.decode_text(symbols.encode_text("aéa\n")) == "aéa\n"
    assert symbols.tokens().tolist() == [0xFF, ord("\n"), ord("a"), 0xA9, 0xC3]
    with pytest.raises(UnknownSymbol, match="no symbol for 'b'"):
        symbols.encode_text("ab")


def test_rounding_changes_little_and_a_rounded_network_is_kept_exactly_in_its_graph(tmp_path: Path) -> None:
    network = _network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    rounded(network)
    for name, value in network.state_dict().items():
        assert (value - before[name]).abs().max() <= before[name].abs().max() / 250, name
    model_folder.save(network, tmp_path, name="small")
    kept = model_folder.load(tmp_path)
    assert all(torch.equal(value, kept.state_dict()[name]) for name, value in network.state_dict().items())
    with np.load(tmp_path / model_folder.WEIGHTS_FILE) as saved:
        assert saved.files == ["config"]
    assert (tmp_path / "model.onnx").stat().st_size < 2.5 * sum(value.numel() for value in before.values())
    assert check_promise(load_model(tmp_path), rounds=1).difference is None


def test_a_matrix_that_is_not_rounded_is_kept_as_it_is() -> None:
    values = np.random.default_rng(0).normal(size=(80, 80)).astype(np.float32)
    assert as_steps(values) is None
    assert as_steps(values[:4]) is None


def test_a_graph_without_rounded_weights_stays_the_same_bytes(tmp_path: Path) -> None:
    model_folder.save(_network(), tmp_path, name="small")
    model = (tmp_path / "model.onnx").read_bytes()
    assert packed(model) == model


def test_training_on_a_text_gives_a_network_of_its_bytes(tmp_path: Path) -> None:
    write_files(tmp_path / "texts", {"a.txt": _text(3_000), "b.md": "short\n"})
    corpus = read_corpus(str(tmp_path / "texts"))
    assert main_ending(corpus) == ".txt"
    config = config_for(corpus, _RECIPE)
    assert {"\xc3", "\xaf", "a", "~"} <= set(config.symbols.entries)
    network = train_on(corpus, _RECIPE, Bench(tmp_path / "none", tmp_path / "out"), "text")
    assert network.config == config


class _Interrupting:
    """A bar that somebody stops by Ctrl-C when a tenth is done."""

    def __init__(self) -> None:
        self._advanced = 0

    def advance(self, note: str = "") -> None:
        self._advanced += 1
        if self._advanced == 10:
            signal.raise_signal(signal.SIGINT)


class _Interrupted(Bench):
    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Any]:
        yield _Interrupting()


def test_a_training_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    write_files(tmp_path / "texts", {"a.txt": _text(3_000)})
    corpus = read_corpus(str(tmp_path / "texts"))
    with pytest.raises(TrainingError, match=r"stopped after 0\.0 MB; the same command goes on from there"):
        train_on(corpus, _RECIPE, _Interrupted(tmp_path, tmp_path / "out"), "text")
    assert len(list((tmp_path / "out").iterdir())) == 1
    resumed = train_on(corpus, _RECIPE, Bench(tmp_path, tmp_path / "out"), "text")
    whole = train_on(corpus, _RECIPE, Bench(tmp_path, tmp_path / "other"), "text")
    assert all(
        torch.equal(a, b) for a, b in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True)
    )
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.txt": "too little"}, f"too small: .* bytes to train on, at least {LEAST_BYTES:,} are needed"),
        ({"a.bin": b"\x00" * 100_000}, "no text to train on.*1 binary"),
        ({"a.txt": b"\xff\xfe" * 50_000}, "no text to train on.*1 not UTF-8"),
    ],
)
def test_a_corpus_that_is_none_is_refused(tmp_path: Path, files: dict[str, bytes | str], message: str) -> None:
    write_files(tmp_path, files)
    with pytest.raises(CorpusError, match=f"(?s){message}"):
        read_corpus(str(tmp_path))
    with pytest.raises(CorpusError, match="no such file or folder"):
        read_corpus(str(tmp_path / "missing"))


def test_lines_are_documents_of_their_own_and_equal_ones_lie_on_one_side(tmp_path: Path) -> None:
    write_files(tmp_path, {"posts.txt": _text(3_000) + "again\n" * 40})
    corpus = read_corpus(str(tmp_path / "posts.txt"), by_line=True)
    train, held_out = ({one.text for one in part} for part in (corpus.train, corpus.held_out))
    assert train and held_out and not train & held_out
    assert not any(b"\n" in text for text in train | held_out)


def test_what_is_written_begins_with_the_prompt_and_follows_from_the_seed() -> None:
    network = _network()
    texts = sampling.write(network, 3, 30, temperature=1.0, seed=1, prompt="def ")
    assert texts == sampling.write(network, 3, 30, temperature=1.0, seed=1, prompt="def ")
    assert texts != sampling.write(network, 3, 30, temperature=1.0, seed=2, prompt="def ")
    assert all(text.startswith("def ") and len(text) <= 30 for text in texts)


def test_an_untrained_network_is_surprised_by_about_all_its_symbols() -> None:
    bits = sampling.bits_per_character(_network(), ["some text", "and more"])
    assert bits == pytest.approx(np.log2(_ASCII.size), abs=0.3)


def _planted() -> Network:
    """A network whose unit 3 of layer 0 counts brackets that are open, and which does nothing else."""
    network = _network(8)
    layer = network.stack.layers[0]
    assert isinstance(layer, Lstm)
    with torch.no_grad():
        for parameter in (network.embedding.weight, *network.stack.parameters()):
            parameter.zero_()
        network.embedding.weight[_ASCII.number("("), 0] = 1
        network.embedding.weight[_ASCII.number(")"), 0] = -1
        layer.W[16 + 3, 0] = 10  # the candidate says which bracket
        layer.b[3] = layer.b[8 + 3] = layer.b[24 + 3] = 12  # all gates are open
    return network


def test_a_unit_that_was_made_to_tell_a_property_is_found() -> None:
    generator = np.random.default_rng(0)
    texts = ["".join("ab (cd) "[int(n)] for n in generator.integers(0, 8, 60)) for _ in range(24)]

    def open_brackets(text: str) -> np.ndarray:
        return np.cumsum([(letter == "(") - (letter == ")") for letter in text])

    found = Reading(_planted(), texts, length=60).find(Property("open", open_brackets), seed=0)
    assert found.best.place == Place(0, "c", 3)
    assert found.best.score > 0.99 and found.lead > 0.2
    assert set(found.best_of) == set("ifogch") and found.best_of["c"] == found.best
    assert found.best_of["i"].score < 0.1, "a gate that is always open tells nothing"
    json.dumps(found.as_document())


def test_colours_say_yes_or_more_whatever_the_sign_of_the_unit() -> None:
    generator = np.random.default_rng(0)
    texts = ["".join("ab (cd) "[int(n)] for n in generator.integers(0, 8, 60)) for _ in range(24)]

    def open_brackets(text: str) -> np.ndarray:
        return np.cumsum([(letter == "(") - (letter == ")") for letter in text])

    reading = Reading(_planted(), texts, length=60)
    for sign in (1, -1):

        def label(text: str, sign: int = sign) -> np.ndarray:
            return sign * open_brackets(text) > 0

        found = reading.find(Property("signed", label, lambda text: np.array([one != " " for one in text])), seed=0)
        leaning, where = reading.leaning(found)
        assert where.tolist() == [letter != " " for text in texts for letter in text]
        told = reading.of_each(label).astype(np.bool_)
        assert leaning[where & told].mean() > 0.3 > -0.3 > leaning[where & ~told].mean()
        assert np.abs(leaning).max() == 1


def test_lines_that_are_drawn_are_whole_and_none_is_blank() -> None:
    texts = ["\n\n(a\n\nb)\n" + "(some text\nthat is long)\n" * 3 + "(\n\n"] * 6
    reading = Reading(_network(), texts, length=80)
    inside = Property("inside", lambda text: np.cumsum([(one == "(") - (one == ")") for one in text]) > 0)
    number, part = reading.telling_lines(inside, 2)
    assert reading.stretches[number].shown[part] == "(some text\nthat is long)\n"


def test_stretches_of_long_texts_are_read_from_the_beginning() -> None:
    network = _network()
    texts = ["ab" * 100, "ba" * 60, "c" * 30]
    reading = Reading(network, texts, start=40, length=20, every=50)
    assert [(one.start, one.shown) for one in reading.stretches] == [
        (40, "ab" * 10),
        (40, "ba" * 10),
        (90, "ab" * 10),
        (90, "ba" * 10),
        (140, "ab" * 10),
    ]
    whole = network.watch(torch.from_numpy(np.concatenate([[0], _ASCII.encode_text(texts[0])]))[:, None])
    seen = reading.signal(Place(1, "c", 5), 4)
    assert np.allclose(seen, whole.signal(1, "c")[141:161, 0, 5].numpy(), atol=1e-5)
    places = reading.of_each(lambda text: np.arange(len(text)))
    assert places[:20].tolist() == list(range(40, 60)) and places[-20:].tolist() == list(range(140, 160))
