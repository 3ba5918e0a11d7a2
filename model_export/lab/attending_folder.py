"""A trained network that attends, on disk: `model.onnx`, checked against torch, and its weights for the lab.

Whole sequences in, the distribution after each symbol and the attention weights out. There is no manifest: its state is
every output so far, which no state of fixed size can be, so it is for other tools and not for `carousel serve`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model_export.errors import ExportError, ParityError
from model_export.graph_session import open_session
from model_export.graphs.building import GraphBuilder, serialize, tensor
from model_export.lab.attention import AttendingNetwork
from model_export.lab.model_folder import WEIGHTS_FILE, say_why_unserved
from model_export.lab.network import NetworkConfig
from model_export.parity import TOLERANCE

GRAPH_FILE = "model.onnx"
SYMBOLS, LOG_PROBABILITIES, WEIGHTS = "symbols", "log_probabilities", "weights"
_NEVER = -1e9  # e to this is 0 in float32, and no infinity is multiplied by 0 on the way
_CONFIG = "config"
_LOOKS_BACK = (
    "this network looks back at everything that it has shown, so its state grows with the text, and what a server "
    "keeps of a session is of one size. model.onnx reads whole sequences."
)
_SHAPES = ((1, 1), (3, 1), (7, 5), (64, 33), (242, 2))  # of sequences: time, rows


def build(network: AttendingNetwork) -> bytes:
    """The model file: int64 [time, rows] in; log_probabilities float32 [time, rows, symbols] and weights float32
    [rows, time of asking, time looked at] out.
    """
    nodes = GraphBuilder()
    table = nodes.constant("embedding", _numpy(network.embedding.weight))
    below = nodes.add("Gather", [table, SYMBOLS], "embedded")
    (layer,) = network.stack.layers
    zeros = [_zeros(nodes, below, letter, layer.units) for letter in layer.states]
    after = [f"{letter}_last" for letter in layer.states]
    h = nodes.add("Transpose", [layer.add_to(nodes, "layer0", below, zeros, after)], "h_by_row", perm=[1, 0, 2])
    asked = nodes.add("MatMul", [h, nodes.constant("A", _numpy(network.A))], "asked")
    scores = nodes.add("MatMul", [asked, nodes.add("Transpose", [h], "h_across", perm=[0, 2, 1])], "scores")
    later = nodes.add(
        "Trilu",
        [
            nodes.add("Mul", [_ones_like(nodes, scores), _scalar(nodes, "never", _NEVER)], "all"),
            nodes.constant("one_right", np.array(1, np.int64)),
        ],
        "later",
        upper=1,
    )
    nodes.add("Softmax", [nodes.add("Add", [scores, later], "allowed")], WEIGHTS, axis=-1)
    context = nodes.add("MatMul", [WEIGHTS, h], "context")
    both = nodes.add("Concat", [h, context], "both", axis=-1)
    looked = nodes.add(
        "Tanh", [nodes.add("MatMul", [both, nodes.constant("U", _numpy(network.U).T)], "sums")], "looked"
    )
    by_time = nodes.add("Transpose", [looked], "looked_by_time", perm=[1, 0, 2])
    product = nodes.add("MatMul", [by_time, nodes.constant("head_weight", _numpy(network.head.weight).T)], "product")
    logits = nodes.add("Add", [product, nodes.constant("head_bias", _numpy(network.head.bias))], "logits")
    nodes.add("LogSoftmax", [logits], LOG_PROBABILITIES, axis=-1)
    size = network.symbols.size
    outputs = [
        tensor(LOG_PROBABILITIES, "float32", ["time", "rows", size]),
        tensor(WEIGHTS, "float32", ["rows", "time", "time"]),
    ]
    graph = nodes.graph("attending", [tensor(SYMBOLS, "int64", ["time", "rows"])], outputs)
    return serialize(graph, "LSTM with attention over its own outputs, whole sequences, fp32.")


def check(network: AttendingNetwork, model: bytes) -> float:
    """Compare with torch on random sequences; the largest difference. Raises ParityError."""
    session, generator, largest = open_session(model), np.random.default_rng(0), 0.0
    for shape in _SHAPES:
        symbols = generator.integers(0, network.symbols.size, shape)
        found = session.run([LOG_PROBABILITIES, WEIGHTS], {SYMBOLS: symbols})
        with torch.no_grad():
            told = torch.from_numpy(symbols)
            wanted = (network.scores(told).log_softmax(dim=-1).numpy(), network.weights(told).numpy())
        for name, one, other in zip((LOG_PROBABILITIES, WEIGHTS), found, wanted, strict=True):
            difference = float((np.abs(one - other) / np.maximum(1.0, np.abs(other))).max())
            if not difference <= TOLERANCE:
                raise ParityError(f"{name} of sequences {shape} differs from torch by {difference:.3g}")
            largest = max(largest, difference)
    return largest


def save(network: AttendingNetwork, folder: Path) -> None:
    """Export the network and keep its weights. Raises ExportError if the check fails."""
    model = build(network)
    check(network, model)
    folder.mkdir(parents=True, exist_ok=True)
    config = np.array(json.dumps(network.config.as_document()))
    arrays = {_CONFIG: config, **{key: _numpy(value) for key, value in network.state_dict().items()}}
    (folder / GRAPH_FILE).write_bytes(model)
    say_why_unserved(folder, _LOOKS_BACK)
    with (folder / WEIGHTS_FILE).open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes the names for allow_pickle


def load(folder: Path) -> AttendingNetwork:
    """The network of a folder. Raises ExportError if it is not one of these."""
    path = folder / WEIGHTS_FILE
    try:
        with np.load(path, allow_pickle=False) as saved:
            network = AttendingNetwork(NetworkConfig.from_document(json.loads(str(saved[_CONFIG]))))
            network.load_state_dict({key: torch.from_numpy(saved[key]) for key in saved.files if key != _CONFIG})
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ExportError(f"{path} is no network that attends ({error}); train it again with --full") from error
    network.eval()
    return network


def _zeros(nodes: GraphBuilder, below: str, letter: str, units: int) -> str:
    """States before the first symbol, [rows, units]."""
    sizes = nodes.add("Shape", [below], f"{letter}_sizes", start=1, end=2)
    shape = nodes.add("Concat", [sizes, nodes.integers(f"{letter}_units", units)], f"{letter}_shape", axis=0)
    return nodes.add("Expand", [nodes.constant(f"{letter}_zero", np.zeros(1, np.float32)), shape], f"{letter}_before")


def _ones_like(nodes: GraphBuilder, scores: str) -> str:
    shape = nodes.add("Shape", [scores], "scores_shape")
    return nodes.add("Expand", [nodes.constant("one", np.ones(1, np.float32)), shape], "ones")


def _scalar(nodes: GraphBuilder, name: str, value: float) -> str:
    return nodes.constant(name, np.float32(value))


def _numpy(values: torch.Tensor) -> NDArray[np.float32]:
    return values.detach().cpu().numpy().astype(np.float32)
