"""The backend that Triton runs, on tiny real graphs and without Triton: it suggests what the model finds likeliest."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from service.model.manifest import Precision
from service.runtime.onnx_model import load_model
from tests.unit.runtime.test_onnx_model import write_model

START, END = 1, 2
SEQUENCES, MAX_BYTES = 3, 5


@dataclass(frozen=True)
class Tensor:
    name: str
    values: Any

    def as_numpy(self) -> Any:
        return self.values


@dataclass(frozen=True)
class Response:
    tensors: list[Tensor]


@dataclass(frozen=True)
class Request:
    sequence: int
    byte: int
    flag: int = field(default=0)

    def correlation_id(self) -> int:
        return self.sequence

    def flags(self) -> int:
        return self.flag


def byte_of(request: Request, name: str) -> Tensor:
    return Tensor(name, np.array([[request.byte]], np.uint8))


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The backend beside a stand-in for the module that Triton puts on its path."""
    utilities = ModuleType("triton_python_backend_utils")
    utilities.__dict__.update(
        TRITONSERVER_REQUEST_FLAG_SEQUENCE_START=START,
        TRITONSERVER_REQUEST_FLAG_SEQUENCE_END=END,
        InferenceResponse=Response,
        Tensor=Tensor,
        get_input_tensor_by_name=byte_of,
    )
    monkeypatch.setitem(sys.modules, utilities.__name__, utilities)
    yield importlib.import_module("benchmarks.triton.backend")
    del sys.modules["benchmarks.triton.backend"]


def loaded(backend: Any, folder: Path, precision: Precision) -> Any:
    parameters = {"folder": str(folder), "precision": precision, "max_bytes": str(MAX_BYTES)}
    config = {
        "parameters": {name: {"string_value": value} for name, value in parameters.items()},
        "sequence_batching": {"oldest": {"max_candidate_sequences": SEQUENCES}},
    }
    model = backend.TritonPythonModel()
    model.initialize({"model_config": json.dumps(config)})
    return model


def suggested(model: Any, *requests: Request) -> list[bytes]:
    return [response.tensors[0].values.tobytes() for response in model.execute(list(requests))]


def likeliest(folder: Path, precision: Precision, text: bytes) -> bytes:
    model = load_model(folder, precision)
    tokens = np.array([[model.start_token, *text]], np.int64).T
    result = model.step(tokens, model.initial_states(1))
    found = [int(result.top_tokens[0, 0])]
    while len(found) < MAX_BYTES:
        result = model.step(np.array([[found[-1]]], np.int64), result.states)
        found.append(int(result.top_tokens[0, 0]))
    return bytes(found)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_sequence_gets_the_likeliest_bytes_after_its_own(
    backend: Any, tmp_path: Path, precision: Precision
) -> None:
    folder = write_model(tmp_path / "tiny")
    model = loaded(backend, folder, precision)
    first = suggested(model, Request(7, ord("a"), START), Request(9, ord("x"), START))
    assert first == [likeliest(folder, precision, b"a"), likeliest(folder, precision, b"x")]
    mixed = suggested(model, Request(9, ord("y")), Request(8, ord("q"), START), Request(7, ord("b")))
    assert mixed == [likeliest(folder, precision, text) for text in (b"xy", b"q", b"ab")]


def test_a_sequence_that_ends_gives_its_place_to_another_and_one_that_starts_again_begins_anew(
    backend: Any, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "tiny")
    model = loaded(backend, folder, "int8")
    suggested(model, *(Request(number, ord("a"), START) for number in (1, 2, 3)))
    suggested(model, Request(2, ord("b"), END))
    again = suggested(model, Request(4, ord("z"), START), Request(1, ord("c"), START))
    assert again == [likeliest(folder, "int8", b"z"), likeliest(folder, "int8", b"c")]
