"""Real text in the lab: how it is read, what is too little of it, and experiments on it with small settings."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from model_export.commands import lab as command
from model_export.errors import CorpusError, TrainingError
from model_export.lab import model_folder
from model_export.lab.bench import PARTS_FILE, Bench
from model_export.lab.experiments import bidirectional, depth, variants
from model_export.lab.network import NetworkConfig, learned_parameters, widest
from model_export.lab.sequences import IGNORED, batch_of
from model_export.lab.step_times import step_ratios
from model_export.lab.symbols import END
from model_export.lab.texts import ASCII, Streams, bits_per_byte, fit_on_texts, numbers_of, read
from model_export.lab.training import Recipe, new_network
from service.model.manifest import MANIFEST_FILE
from service.runtime.onnx_model import load_model

_APP = typer.Typer()
_APP.command()(command)
_LINE = "def number_{0}(a, b):\n    return a * {0} + b\n\n\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(40):
        text = "".join(_LINE.format(number * 31 + line * line) for line in range(20))
        (folder / f"file{number}.py").write_text(text, encoding="utf-8")
    (folder / "beyond.py").write_text("# caf\u00e9\n" + _LINE.format(7), encoding="utf-8")
    return folder


def _run(arguments: list[str]) -> Result:
    return CliRunner().invoke(_APP, arguments)


def test_every_ascii_text_is_its_symbols_and_no_other_is_any() -> None:
    text = bytes([9, 10, 12, *range(0x20, 0x7F)])
    numbers = numbers_of(text)
    assert numbers is not None
    assert "".join(ASCII.decode(numbers)).encode() == text
    assert numbers_of("caf\u00e9".encode()) is None
    assert numbers_of(b"a\x00b") is None


def test_a_corpus_is_read_without_what_is_not_ascii_and_its_held_out_files_are_cut(corpus: Path) -> None:
    texts = read(str(corpus), least_bytes=10_000, held_out_each=100)
    assert len(texts.train) + len(texts.held_out) == 40
    assert texts.held_out and all(len(one) == 100 for one in texts.held_out)
    assert texts.train_bytes == sum(map(len, texts.train)) > 10_000


def test_a_corpus_that_is_too_small_or_not_there_is_refused_with_what_there_is_and_what_is_wanted(corpus: Path) -> None:
    with pytest.raises(CorpusError, match=r"is too small: [\d,]+ bytes of ASCII documents .* but 10,000,000 are read"):
        read(str(corpus), least_bytes=10_000_000, held_out_each=100)
    with pytest.raises(CorpusError, match="no such file or folder"):
        read(str(corpus / "nowhere"), least_bytes=1, held_out_each=100)


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    rows=st.integers(1, 4),
    chunk=st.integers(1, 7),
    steps=st.integers(1, 5),
)
def test_every_row_reads_whole_documents_each_from_where_nothing_was_read_yet(
    lengths: list[int], rows: int, chunk: int, steps: int
) -> None:
    documents = [np.full(length, 1 + number) for number, length in enumerate(lengths)]
    batches = list(Streams(rows, chunk).batches(documents, steps, seed=1))
    assert [tuple(batch.inputs.shape) for batch, _ in batches] == [(chunk, rows)] * steps
    assert bool(batches[0][1].all())
    for (before, _), (after, begins) in pairwise(batches):
        goes_on = ~begins
        assert torch.equal(before.targets[-1][goes_on], after.inputs[0][goes_on])
        assert bool((after.inputs[0][begins] == END).all())
    for row in range(rows):
        starts = [step for step, (_, begins) in enumerate(batches) if begins[row]]
        for start, end in pairwise(starts):  # what lies between is one document, whole
            targets = torch.cat([batches[step][0].targets[:, row] for step in range(start, end)])
            *document, last = targets[targets != IGNORED].tolist()
            assert last == END and document == documents[document[0] - 1].tolist()
    again = list(Streams(rows, chunk).batches(documents, steps, seed=1))
    assert all(torch.equal(one.inputs, other.inputs) for (one, _), (other, _) in zip(batches, again, strict=True))


def test_a_training_begins_every_document_with_the_states_of_a_session(tmp_path: Path) -> None:
    config = NetworkConfig(ASCII, cell="lstm-1997", units=8, embedding=4)
    document = np.tile(ASCII.encode("abc"), 5)  # 16 symbols with the end: two chunks

    def loss_at(steps: int) -> float:
        recipe = Recipe(steps, rate=1e-9)  # nothing is learned: only the states could differ
        network = new_network(config, seed=0)
        return fit_on_texts(network, [document], Streams(1, 8), recipe, Bench(tmp_path, tmp_path), "", 0)

    assert loss_at(2) == pytest.approx(loss_at(10), abs=1e-5)


def test_bits_per_byte_are_those_of_whole_documents_read_from_their_beginnings() -> None:
    network = new_network(NetworkConfig(ASCII, units=8, embedding=4), seed=3).eval()
    texts = (b"import os\n" * 40, b"x = 1\n")
    documents = [numbers for text in texts if (numbers := numbers_of(text)) is not None]
    bits = 0.0
    for document in documents:
        scores = network.scores(batch_of([document]).inputs)[:-1, 0].log_softmax(dim=-1)
        bits -= float(scores.detach()[range(len(document)), document].sum()) / math.log(2)
    assert bits_per_byte(network, documents) == pytest.approx(bits / sum(map(len, documents)), rel=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    cell=st.sampled_from(["rnn", "lstm", "gru", "full-memory-lstm", "bidirectional-lstm"]),
    layers=st.integers(1, 3),
    parameters=st.integers(3_000, 60_000),
)
def test_the_widest_network_fits_and_one_more_unit_would_not(cell: str, layers: int, parameters: int) -> None:
    config = widest(NetworkConfig(ASCII, cell=cell, layers=layers, embedding=8), parameters)
    wider = NetworkConfig(ASCII, cell=cell, layers=layers, embedding=8, units=config.units + 1)
    assert learned_parameters(config) <= parameters < learned_parameters(wider)


def test_too_few_parameters_for_a_single_unit_are_refused() -> None:
    with pytest.raises(TrainingError, match="10 parameters are too few for one unit of gru"):
        widest(NetworkConfig(ASCII, cell="gru", embedding=8), 10)


def test_a_run_that_was_interrupted_goes_on_with_what_it_had_finished(tmp_path: Path) -> None:
    bench, asked = Bench(tmp_path, tmp_path / "out", experiment="many"), []

    def measure(which: str, fails: bool = False) -> str:
        asked.append(which)
        if fails:
            raise KeyboardInterrupt
        return which.upper()

    def all_of(fails: bool) -> dict[str, str]:
        return {
            which: bench.part({"steps": 3}, which, lambda which=which: measure(which, fails and which == "b"))  # type: ignore[misc]  # bound now
            for which in "abc"
        }

    with pytest.raises(KeyboardInterrupt):
        bench.measured({"steps": 3}, lambda: all_of(fails=True))
    assert bench.measured({"steps": 3}, lambda: all_of(fails=False)) == {"a": "A", "b": "B", "c": "C"}
    assert asked == ["a", "b", "b", "c"]
    assert not (tmp_path / "out" / "many" / PARTS_FILE).exists()
    assert bench.part({"steps": 4}, "a", lambda: "other settings") == "other settings"


def test_a_model_takes_as_long_as_itself(tmp_path: Path) -> None:
    network = new_network(NetworkConfig(ASCII, units=4, embedding=4), seed=0).eval()
    for name in ("one", "other"):
        model_folder.save(network, tmp_path / name, name=name)
    ratios = step_ratios({name: tmp_path / name for name in ("one", "other")}, "one")
    assert ratios["one"] == 1.0
    assert 0.3 < ratios["other"] < 3


def test_what_is_kept_of_a_beginning_starts_at_all_of_it_and_fades_where_gates_are_half_open() -> None:
    network = new_network(NetworkConfig(ASCII, units=8, layers=2, embedding=4), seed=0).eval()
    generator = np.random.default_rng(0)
    curves = depth.what_is_kept(network, [generator.integers(1, ASCII.size, 1_800) for _ in range(6)])
    assert len(curves) == 2
    for curve in curves:
        assert curve[0] == pytest.approx(1)
        assert curve[-1] < 1e-3
        assert 0 < depth.bytes_until_forgotten(list(curve)) < len(curve)
    assert depth.bytes_until_forgotten([1.0, 0.5]) == 2


def test_small_variants_are_trained_kept_and_served_and_every_claim_is_answered(corpus: Path, tmp_path: Path) -> None:
    small = ["--corpus", str(corpus), "--set", "parameters=5000", "--set", "seeds=1", "--set", "steps=10"]
    result = _run(["variants", *small, "--json", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert list(document["held"]) == [claim.key for claim in variants.CLAIMS]
    for cell in variants.CELLS:
        assert document["details"]["cells"][cell]["parameters"] <= 5000
        assert load_model(tmp_path / "out" / "models" / f"variants-{cell}").identity.name == f"variants-{cell}"


def test_a_small_network_of_both_sides_is_exported_with_parity_and_without_a_manifest(
    corpus: Path, tmp_path: Path
) -> None:
    small = ["--corpus", str(corpus), "--set", "parameters=8000", "--set", "seeds=1", "--set", "steps=10"]
    result = _run(["bidirectional", *small, "--json", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["held"]["exported"]
    folder = tmp_path / "out" / "models" / "bidirectional"
    assert not (folder / MANIFEST_FILE).exists()
    network = model_folder.load(folder)
    assert bidirectional.parity(network, folder) < 1e-4
    (letter, probability), *_ = bidirectional.fillings(network, "for i in ran\x1ae(3):")
    assert len(letter) <= 1 and 0 < probability <= 1


@pytest.mark.parametrize("name", ["variants", "depth", "bidirectional"])
def test_a_corpus_too_small_for_the_settings_is_refused_before_any_training(
    name: str, corpus: Path, tmp_path: Path
) -> None:
    for given_, message in ((str(corpus), "is too small"), ("package:no_such", "no package named 'no_such'")):
        result = _run([name, "--corpus", given_, "--out", str(tmp_path / "out")])
        assert result.exit_code == 1
        assert message in result.stderr.replace("\n", " "), result.stderr
        assert not (tmp_path / "out").exists()
