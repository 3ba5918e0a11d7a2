"""Recurrent operators that are batch first are adopted: turned, they give what the time-major ones give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, helper

from model_export.adopting.adopt import adopt
from model_export.adopting.layouts import time_major
from model_export.errors import ExportError
from model_export.folder import built_graph
from model_export.graph_session import GraphSession, open_session
from model_export.graphs import fp32
from service.model.manifest import read_graph
from tests.unit.model_export import tiny

_WEIGHTS = tiny.tensors(tiny.SHAPES[1]).weights()


def _batch_first() -> bytes:
    """Our two-layer graph with its LSTM nodes laid out batch first, between transpositions."""
    model = onnx.load_model_from_string(fp32.build(_WEIGHTS))
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "LSTM":
            nodes.append(node)
            continue
        for place in (0, 5, 6):
            name = f"{node.input[place]}/rows"
            nodes.append(helper.make_node("Transpose", [node.input[place]], [name], perm=[1, 0, 2]))
            node.input[place] = name
        back = []
        for place, order in enumerate(([1, 2, 0, 3], [1, 0, 2], [1, 0, 2])):
            name = f"{node.output[place]}/rows"
            back.append(helper.make_node("Transpose", [name], [node.output[place]], perm=order))
            node.output[place] = name
        node.attribute.append(helper.make_attribute("layout", 1))
        nodes += [node, *back]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def test_a_batch_first_graph_is_adopted_and_gives_what_the_time_major_one_gives(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(_batch_first())
    result = adopt(tmp_path / "m.onnx", tmp_path / "out")
    assert result.broken_promise is None
    ours = built_graph("fp32", fp32.build(_WEIGHTS), fp32.states(_WEIGHTS))
    entry = result.manifest.graphs["fp32"]
    sessions = GraphSession(ours.model, ours.entry), GraphSession(read_graph(tmp_path / "out", entry), entry)
    tokens = np.random.default_rng(0).integers(0, 256, (9, 4))
    expected, found = (session.run(tokens, session.initial_states(4), [2, -1]) for session in sessions)
    np.testing.assert_allclose(found.log_probabilities, expected.log_probabilities, atol=1e-5)
    for name, value in expected.states.items():
        np.testing.assert_allclose(
            found.states[name].astype(np.float64), value.astype(np.float64), atol=1e-6, err_msg=name
        )


def test_onnxruntime_would_refuse_it() -> None:
    with pytest.raises(ExportError, match="onnxruntime refuses"):
        open_session(_batch_first())


@pytest.mark.parametrize("data", [fp32.build(_WEIGHTS), b"no graph at all"], ids=["time major", "no graph"])
def test_what_is_not_batch_first_stays_as_it_is(data: bytes) -> None:
    assert time_major(data) is data
