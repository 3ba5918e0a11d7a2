"""A trained network on disk: a model folder that is served as any other, and its weights for the lab beside it.

`weights.npz` holds the network's shape and its parameters as they were trained; `model.onnx` and `manifest.json` are
made from it and checked against it. A folder is at most 1 MiB: rounded weights (`compact.py`) are in the graph alone.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_export import folder as folders
from model_export.errors import ExportError
from model_export.graph_session import StateArrays, open_session
from model_export.graphs import contract, inspecting, recurrent
from model_export.isolation import check_steps_equal_chunks
from model_export.lab.compact import is_rounded, packed, state_in_graph
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.symbols import END, Symbols
from model_export.lab.words import TOKENIZER_FILE, Words, tokenizer
from model_export.parity import check_against
from service.model.manifest import UNSERVED_FILE, Graph, Inspection, Manifest

WEIGHTS_FILE = "weights.npz"
_CONFIG = "config"
_CHECKED = (12, 3)  # tokens, rows
_NEVER = -100.0  # the score of a byte that is no symbol: e^-100 of a symbol that scores 0


def tables(network: Network) -> recurrent.Tables:
    """The network's embedding and head for all 256 bytes: what is no symbol reads as zeros and is never predicted.

    A network of words has them as they are.
    """
    if not network.symbols.are_bytes:
        arrays = (network.embedding.weight, network.head.weight, network.head.bias)
        return recurrent.Tables(*map(_numpy, arrays))
    spread = network.symbols.to_bytes_table
    return recurrent.Tables(
        embedding=spread(_numpy(network.embedding.weight), 0.0),
        head=spread(_numpy(network.head.weight), 0.0),
        head_bias=spread(_numpy(network.head.bias), _NEVER),
    )


class _NetworkOverTokens:
    """The network as torch runs it, over bytes or words: what the graph is checked against."""

    def __init__(self, network: Network) -> None:
        self._network, self._tables = network, tables(network)
        self._states = recurrent.states(network.stack.layers)
        self.vocabulary_size = self._tables.vocabulary_size

    @torch.no_grad()
    def run(self, tokens: NDArray[np.int64], states: StateArrays) -> tuple[NDArray[np.float32], StateArrays]:
        """Read a chunk [time, rows]; see `parity.Reference`."""
        before = []
        for number, _ in enumerate(self._network.stack.layers):
            own = [state.input for state in self._states if state.layer == number]
            before.append(tuple(torch.from_numpy(states[name]) for name in own))
        embedding, head, bias = map(
            torch.from_numpy, (self._tables.embedding, self._tables.head, self._tables.head_bias)
        )
        outputs, after = self._network.stack(embedding[torch.from_numpy(tokens)], before)
        logits = nn.functional.linear(outputs, head, bias)
        flat = [state.numpy() for layer in after for state in layer]
        named = {state.input: value for state, value in zip(self._states, flat, strict=True)}
        return nn.functional.log_softmax(logits, dim=-1).numpy(), dict(named)


def save(network: Network, folder: Path, *, name: str, made_by: str = "", example: str = "") -> Manifest:
    """Export the network and keep its weights. Raises ExportError if a check fails; the folder is unchanged then.

    example: the beginning of a text that shows what a network of words does.
    """
    if not network.stack.causal:
        raise ExportError(f"{name}: a network that knows what comes next cannot be served")
    layers = network.stack.layers
    model = packed(recurrent.build(tables(network), layers))
    graph = Graph(
        file=folders.GRAPH_FILES["fp32"],
        sha256=hashlib.sha256(model).hexdigest(),
        bytes=len(model),
        states=recurrent.states(layers),
    )
    reference = _NetworkOverTokens(network)
    size = reference.vocabulary_size
    check_against(reference, size, model, graph)
    check_steps_equal_chunks(model, graph, size)
    inspection = packed(inspecting.build(tables(network).embedding, layers))
    _check_inspection(network, inspection)
    config = network.config
    manifest = Manifest(
        name=folders.model_name(name),
        **_of_words(network.symbols, example),
        vocabulary_size=size,
        top_k=contract.top_k(size),
        graphs={"fp32": graph},
        inspect=Inspection(
            file=folders.INSPECTION_FILE,
            sha256=hashlib.sha256(inspection).hexdigest(),
            bytes=len(inspection),
            states=graph.states,
            signals=inspecting.signals(layers),
        ),
        architecture={
            "network": config.cell,
            "layers": config.layers,
            "units": config.units,
            "embedding": config.embedding,
            **({"letters": "".join(config.symbols.entries)} if config.symbols.are_bytes else {}),
            "parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
            "made_by": made_by,
        },
    )
    folders.write_folder(folder, manifest, {"fp32": folders.BuiltGraph(model, graph)}, inspection)
    _save_weights(network, folder / WEIGHTS_FILE)
    if not network.symbols.are_bytes:
        tokenizer(network.symbols).save(str(folder / TOKENIZER_FILE))
    return manifest


def _check_inspection(network: Network, inspection: bytes) -> None:
    """Read a few tokens with torch and with inspect.onnx. Raises ExportError that names a signal which differs."""
    symbols = np.random.default_rng(0).integers(0, network.symbols.size, _CHECKED)
    tokens = network.symbols.tokens()[symbols] if network.symbols.are_bytes else symbols
    states = recurrent.states(network.stack.layers)
    before = {state.input: np.zeros((_CHECKED[1], state.width), state.dtype) for state in states}
    watched = network.watch(torch.from_numpy(symbols))
    signals = inspecting.signals(network.stack.layers)
    found = open_session(inspection).run([one.output for one in signals], {contract.TOKENS: tokens, **before})
    for signal, values in zip(signals, found, strict=True):
        wanted = watched.signal(signal.layer, signal.letter).numpy()
        if not np.allclose(values, wanted, rtol=1e-3, atol=1e-4):
            raise ExportError(f"inspect.onnx and torch differ in {signal.output}")


_KNOWS_WHAT_COMES = (
    "what this network says of a byte depends on the bytes that come after it, which whoever types has not typed yet, "
    "and would all change with the next keystroke. model.onnx reads whole texts."
)


def save_unserved(network: Network, folder: Path) -> None:
    """Export a network that needs to know what comes next: its graph, its weights, and why it is not served.

    There is no manifest. The graph's tensors are those of every model: tokens [time, rows] in, log_probabilities at
    `positions` out. Raises ExportError.
    """
    model = recurrent.build(tables(network), network.stack.layers)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / folders.GRAPH_FILES["fp32"]).write_bytes(model)
    say_why_unserved(folder, _KNOWS_WHAT_COMES)
    _save_weights(network, folder / WEIGHTS_FILE)


def say_why_unserved(folder: Path, reason: str) -> None:
    """Leave the sentence that `carousel serve` answers with when it is asked to serve the folder."""
    (folder / UNSERVED_FILE).write_text(reason + "\n", encoding="utf-8")


def _of_words(symbols: Symbols, example: str) -> dict[str, Any]:
    """What a manifest says of a network of words; nothing of one of bytes, whose tokens are the bytes."""
    if symbols.are_bytes:
        return {}
    Words(symbols).encode(example)  # raises, if it says a word that the network does not know
    told = {"vocabulary": "words", "words": ("", *symbols.entries), "start_token": END, "separator_token": END}
    return {**told, "example": example or None}


def _save_weights(network: Network, path: Path) -> None:
    config = np.array(json.dumps(network.config.as_document()))
    arrays: dict[str, Any] = {_CONFIG: config}
    if not is_rounded(network):
        arrays |= {key: _numpy(value) for key, value in network.state_dict().items()}
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.replace(path)


def load(folder: Path) -> Network:
    """The network of a folder, ready to be watched. Raises ExportError if it is not one of the lab's."""
    path = folder / WEIGHTS_FILE
    try:
        with np.load(path, allow_pickle=False) as saved:
            network = Network(NetworkConfig.from_document(json.loads(str(saved[_CONFIG]))))
            weights = {key: torch.from_numpy(saved[key]) for key in saved.files if key != _CONFIG}
        if not weights:
            weights = state_in_graph((folder / folders.GRAPH_FILES["fp32"]).read_bytes(), network.config)
        network.load_state_dict(weights)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise ExportError(f"{path} is not a network of the lab ({error}); train it again with --full") from error
    return network.eval()


def _numpy(values: torch.Tensor) -> NDArray[np.float32]:
    return values.detach().cpu().numpy().astype(np.float32)
