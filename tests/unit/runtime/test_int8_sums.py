"""The int32 sums of every matrix of a real int8 graph, against NumPy's int64, where they are largest."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from model_export.graph_session import open_session
from model_export.graphs import int8
from model_export.graphs.building import GraphBuilder, serialize, tensor
from model_export.graphs.quantization import WEIGHT_LIMIT
from model_export.weights import LanguageModelWeights, LstmLayer
from tests.unit.runtime.test_onnx_model import random_weights


def wide_weights(units: int = 512) -> LanguageModelWeights:
    """Layers as wide as those of the shipped model, half of their weights as large as the largest of their row."""
    generator = np.random.default_rng(1)

    def drawn(*shape: int) -> NDArray[np.float32]:
        values = np.clip(generator.uniform(-2, 2, shape), -1, 1)
        return values.astype(np.float32)

    cells = tuple(LstmLayer(drawn(4 * units, width), drawn(4 * units, units), drawn(4 * units)) for width in (8, units))
    return LanguageModelWeights(drawn(256, 8), cells, drawn(256, units), drawn(256))


@pytest.mark.parametrize("weights", [random_weights(), wide_weights()], ids=["random", "wide"])
def test_every_sum_of_every_matrix_is_exact_at_the_extremes(weights: LanguageModelWeights) -> None:
    model = onnx.load_model_from_string(int8.build(weights))
    matrices = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer if i.data_type == TensorProto.INT8}
    assert sorted(matrices) == [
        "head_weight",
        "layer0_weight",
        "layer1_weight",
    ]
    for name, (values,) in matrices.items():
        assert np.abs(values.astype(int)).max() == WEIGHT_LIMIT
        h = extremes(values)
        builder = GraphBuilder()
        builder.constant("weight", values)
        zero = builder.constant("zero", np.array(int8.ZERO_POINT, np.uint8))
        builder.add("MatMulInteger", ["h", "weight", zero], "sums")
        shapes = [tensor("h", "uint8", ["rows", len(values)])], [tensor("sums", "int32", ["rows", values.shape[1]])]
        session = open_session(serialize(builder.graph("product", *shapes), ""))
        expected = (h.astype(np.int64) - int8.ZERO_POINT) @ values.astype(np.int64)
        (together,) = session.run(None, {"h": h})
        np.testing.assert_array_equal(together, expected, err_msg=name)
        for row in range(len(h)):
            (alone,) = session.run(None, {"h": h[row : row + 1]})
            np.testing.assert_array_equal(alone[0], expected[row], err_msg=name)


def extremes(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Rows of h: all least, all largest, and for some columns the rows that make their sum least and largest."""
    inputs = len(values)
    rows = [np.full(inputs, 0), np.full(inputs, 255), np.arange(inputs) % 2 * 255]
    for column in (0, 1, values.shape[1] // 2, values.shape[1] - 1):
        rows += [np.where(values[:, column] > 0, 255, 0), np.where(values[:, column] > 0, 0, 255)]
    return np.array(rows, np.uint8)
