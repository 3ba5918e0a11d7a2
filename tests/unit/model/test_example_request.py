"""The request that shows a model of tensors at its work is one that a shell sends as it is meant."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from service.model.example_request import curl, example_request, infer_path, of_numbers, of_words
from service.model.series_manifest import read_any_manifest
from service.model.words import Words

_LAB = Path(__file__).resolve().parents[3] / "models" / "lab"


def test_a_shell_sends_the_text_as_it_stands_apostrophes_too() -> None:
    body = of_words('Mary\'s dog said "no" in the caf\u00e9 $HOME', 50)
    *_, sent = shlex.split(curl("localhost:8000", infer_path("gates"), body))
    assert json.loads(sent) == body


def test_numbers_are_cut_into_steps_of_the_model() -> None:
    told = {"name": "VALUES", "shape": [1, 3, 2], "datatype": "FP32", "data": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}
    assert of_numbers([1, 2, 3, 4, 5, 6], 2)["inputs"] == [told]


@pytest.mark.parametrize(("name", "tensor"), [("gates", "TEXT"), ("question", "TEXT"), ("season", "VALUES")])
def test_shipped_models_of_tensors_have_an_example(name: str, tensor: str) -> None:
    manifest = read_any_manifest(_LAB / name)
    assert f'"name": "{tensor}"' in json.dumps(example_request(manifest))
    without = manifest.model_copy(update={"example": () if name == "season" else None})
    assert example_request(without) is None


def test_a_model_of_bytes_has_none() -> None:
    assert example_request(read_any_manifest(_LAB / "counting")) is None


def test_without_an_example_a_word_is_shown_and_no_punctuation_mark() -> None:
    assert Words(("", ",", ".", "Anna", "ate")).first_word == "Anna"
    assert Words(("", ",", ".")).first_word == ","
