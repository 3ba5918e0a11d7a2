"""From a PyTorch state dict to weights: tensors are found by the ends of their names and by their shapes.

Takes our checkpoints and nn.LSTM models trained elsewhere, whatever their modules are called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_export.errors import ExportError
from model_export.weights import Array, LanguageModelWeights, LstmLayer, onnx_gates

_LSTM_NAME = re.compile(r"(?:^|.*\.)(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)_l(\d+)(_reverse)?$")


@dataclass(frozen=True, slots=True)
class TorchTensors:
    """What was found, as PyTorch orders it: `layers[l]` maps weight_ih, weight_hh, bias_ih, bias_hh to arrays."""

    embedding: Array
    layers: tuple[Mapping[str, Array], ...]
    head: Array
    head_bias: Array

    def weights(self) -> LanguageModelWeights:
        """The same model in ONNX's gate order, a layer's two bias vectors added. Raises ExportError if unusable."""
        layers = tuple(
            LstmLayer(
                onnx_gates(layer["weight_ih"]),
                onnx_gates(layer["weight_hh"]),
                onnx_gates(layer["bias_ih"] + layer["bias_hh"]),
            )
            for layer in self.layers
        )
        weights = LanguageModelWeights(self.embedding, layers, self.head, self.head_bias)
        weights.check()
        return weights


def read_file(path: Path) -> Mapping[str, Any]:
    """Load a file of tensors without running code from it. Raises ExportError."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror})") from error
    except Exception as error:
        raise ExportError(
            f"{path} is not a file of tensors ({error}); save it with torch.save(model.state_dict(), path)"
        ) from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not any(isinstance(value, Tensor) for value in found.values()):
        raise ExportError(f"{path} holds no state dict, but {type(found).__name__}; save model.state_dict()")
    return found


def find(state: Mapping[str, Any]) -> TorchTensors:
    """Find embedding, LSTM layers and head. Raises ExportError that lists what was found if any is missing."""
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    layers, used = _find_layers(tensors)
    others = {name: _array(value) for name, value in tensors.items() if name not in used}
    width, units = layers[0]["weight_ih"].shape[1], layers[-1]["weight_hh"].shape[1]
    embedding_name = _choose(others, "embedding", ("embed", "emb", "wte", "encoder"), width, tensors)
    embedding = others[embedding_name]
    candidates = {n: a for n, a in others.items() if n != embedding_name and a.shape[:1] == embedding.shape[:1]}
    if width == units and not any(a.ndim == 2 and a.shape[1] == units for a in candidates.values()):
        head_name = embedding_name  # tied, and saved once
    else:
        head_name = _choose(candidates, "head", ("head", "decoder", "output", "out", "fc", "proj"), units, tensors)
    head = others[head_name]
    bias = _find_bias(others, head_name, head.shape[0], tensors)
    return TorchTensors(embedding, layers, head, bias)


def _find_layers(tensors: Mapping[str, Tensor]) -> tuple[tuple[dict[str, Array], ...], set[str]]:
    found: dict[int, dict[str, Array]] = {}
    used = set()
    for name, value in tensors.items():
        match = _LSTM_NAME.match(name)
        if match is None:
            continue
        part, number, reverse = match.group(1), int(match.group(2)), match.group(3)
        if reverse or part == "weight_hr":
            kind = "bidirectional" if reverse else "projected"
            raise ExportError(f"{name}: {kind} LSTMs are not supported; only one that reads forwards can be served")
        if part in found.setdefault(number, {}):
            raise ExportError(f"two tensors end in {part}_l{number}: more than one LSTM. {_list(tensors)}")
        found[number][part] = _array(value)
        used.add(name)
    if not found or sorted(found) != list(range(len(found))):
        raise ExportError(f"no LSTM found: expected names that end in weight_ih_l0, weight_hh_l0. {_list(tensors)}")
    for number, layer in found.items():
        _complete(number, layer, tensors)
    return tuple(found[number] for number in sorted(found)), used


def _complete(number: int, layer: dict[str, Array], tensors: Mapping[str, Tensor]) -> None:
    """Check that a layer is an LSTM's and give it zero biases where it has none."""
    missing = {"weight_ih", "weight_hh"} - layer.keys()
    if missing:
        raise ExportError(f"layer {number} has no {' and no '.join(sorted(missing))}. {_list(tensors)}")
    rows, units = layer["weight_hh"].shape
    if rows != 4 * units:
        raise ExportError(f"layer {number}'s weight_hh has shape {(rows, units)}; an LSTM's has 4 x units rows")
    for name in ("bias_ih", "bias_hh"):
        layer.setdefault(name, np.zeros(rows, np.float32))


def _choose(
    arrays: Mapping[str, Array], what: str, hints: tuple[str, ...], width: int, tensors: Mapping[str, Tensor]
) -> str:
    fitting = [name for name, array in arrays.items() if array.ndim == 2 and array.shape[1] == width]
    hinted = [name for name in fitting if any(hint in name.lower() for hint in hints)]
    for names in (fitting, hinted):
        if len(names) == 1:
            return names[0]
    found = "none" if not fitting else ", ".join(fitting)
    raise ExportError(f"no single {what} of shape [vocabulary, {width}] (candidates: {found}). {_list(tensors)}")


def _find_bias(arrays: Mapping[str, Array], head_name: str, size: int, tensors: Mapping[str, Tensor]) -> Array:
    named = head_name.removesuffix("weight") + "bias"
    fitting = [name for name, array in arrays.items() if array.shape == (size,)]
    if named in fitting:
        return arrays[named]
    if len(fitting) > 1:
        raise ExportError(f"no single bias for the head (candidates: {', '.join(fitting)}). {_list(tensors)}")
    return arrays[fitting[0]] if fitting else np.zeros(size, np.float32)


def _array(value: Tensor) -> Array:
    return value.detach().to(torch.float32).cpu().numpy().copy()


def _list(tensors: Mapping[str, Tensor]) -> str:
    found = ", ".join(f"{name} {list(value.shape)}" for name, value in tensors.items())
    return f"Found: {found or 'no tensors'}"
