"""The demonstration of the leak on a tiny model: found where rows touch, and nothing at all where they cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.demo import app
from benchmarks.dynamic_quantization import quantized_dynamically
from benchmarks.leak.guess import guess
from benchmarks.leak.trials import CONTEXT_BYTES, Trials, run_trials
from service.runtime.onnx_model import load_model
from tests.unit.runtime.test_onnx_model import write_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


def contexts(count: int) -> list[bytes]:
    generator = np.random.default_rng(0)
    return [generator.integers(32, 127, CONTEXT_BYTES).astype(np.uint8).tobytes() for _ in range(count)]


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_our_graphs_show_the_attacker_the_same_bits_whatever_the_neighbours_type(folder: Path, precision: str) -> None:
    model = load_model(folder, "int8" if precision == "int8" else "fp32")
    trials = run_trials(model, contexts(16), bystanders=3, generator=np.random.default_rng(1))
    assert (trials.patterns, trials.largest_move) == (1, 0.0)
    assert guess(trials).accuracy == 0.5


def test_quantize_dynamic_shows_it_something_else_each_time(folder: Path) -> None:
    with quantized_dynamically(folder) as model:
        trials = run_trials(model, contexts(16), bystanders=0, generator=np.random.default_rng(1))
    assert trials.patterns > 1 and trials.largest_move > 0


def test_guesses_are_right_where_there_is_something_to_learn_and_luck_where_there_is_not() -> None:
    generator = np.random.default_rng(0)
    typed = generator.permutation(np.arange(200) % 2)
    noise = generator.standard_normal((200, 30)).astype(np.float32)
    learnable = noise + typed[:, None].astype(np.float32) * 2
    assert guess(Trials(learnable, typed)).accuracy > 0.95
    luck = guess(Trials(noise, typed))
    assert abs(luck.accuracy - 0.5) < 2 * luck.margin


def test_both_texts_are_learned_and_tested_equally_often() -> None:
    typed = np.array([0, 1, 1, 0, 0, 1, 1, 0])
    found = guess(Trials(np.zeros((8, 3), np.float32), typed))
    assert sorted(found.typed) == [0, 0, 1, 1]
    assert found.accuracy == 0.5


def test_the_command_prints_a_key_for_each_row_and_draws_the_picture(folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "pictures" / "leak.png"
    ended = CliRunner().invoke(
        app, ["leak", "--model", str(folder), "--trials", "12", "--out", str(picture), "--json"], catch_exceptions=False
    )
    found = json.loads(ended.stdout)
    assert (found["int8_accuracy"], found["fp32_accuracy"], found["int8_patterns"]) == (0.5, 0.5, 1)
    assert found["dynamic_quantize_lstm_patterns"] > 1
    assert picture.read_bytes().startswith(b"\x89PNG")
