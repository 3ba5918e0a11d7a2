"""ONNX's own tests of its recurrent operators pass through the sessions that the runtime opens."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from model_export.adopting.layouts import time_major
from service.model.manifest import Graph
from service.runtime.onnx_model import open_sessions


def _cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library makes the cases of all operators, some from NaN and infinities
        from onnx.backend.test.loader import load_model_tests

        cases = load_model_tests(kind="node")
    return [case for case in cases if any(name in case.name for name in ("lstm", "gru", "rnn"))]


_CASES = {case.name.removeprefix("test_"): case for case in _cases()}


def test_there_are_cases_of_all_three_operators() -> None:
    assert {"lstm_with_peepholes", "gru_seq_length", "simple_rnn_reverse"} <= _CASES.keys()
    assert len(_CASES) >= 18


@pytest.mark.parametrize("name", sorted(_CASES))
def test_onnx_s_own_operator_test_passes_through_the_runtime(name: str) -> None:
    case = _CASES[name]
    data = time_major(case.model.SerializeToString())  # onnxruntime has no batch-first layout on the CPU
    graph = Graph(file=f"{name}.onnx", sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), states=())
    session = open_sessions(Path(graph.file), graph, data, threads=1).several
    for given, expected in case.data_sets:
        names = [tensor.name for tensor in session.get_inputs()]
        found = session.run(None, dict(zip(names, map(_array, given), strict=True)))
        assert len(found) == len(expected)
        for value, wanted in zip(found, map(_array, expected), strict=True):
            np.testing.assert_allclose(value, wanted, rtol=case.rtol, atol=max(case.atol, 1e-6))


def _array(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) else numpy_helper.to_array(value)
