"""Training that goes on from a model folder: its fp32 graph holds the weights, its manifest how they came to be.

So a shipped model can be trained on for one's own text without the checkpoint that made it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from model_export.errors import TrainingError
from model_export.language_model import LanguageModelConfig
from service.model.manifest import ModelFolderError, Training, read_graph, read_manifest


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """A model to train on from: its shape, its weights as a state dict, its digest and its own training."""

    config: LanguageModelConfig
    weights: dict[str, Tensor]
    digest: str
    training: Training | None


def read_starting_point(folder: Path, *, dropout: float = 0.0) -> StartingPoint:
    """Read a model folder that Carousel exported. Raises TrainingError if it holds no such model."""
    try:
        manifest = read_manifest(folder)
        graph = manifest.graphs.get("fp32")
        model = None if graph is None else onnx.load_from_string(read_graph(folder, graph))
    except ModelFolderError as error:
        raise TrainingError(f"--start-from: {error}") from error
    arrays = {} if model is None else {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    try:
        weights = _state_dict(arrays)
    except KeyError as error:
        raise TrainingError(
            f"--start-from: {folder} has no fp32 graph of a trained Carousel model (no weights named {error}); "
            "give a folder that `carousel train` or `carousel export` made"
        ) from error
    vocabulary, embedding = weights["embedding.weight"].shape
    units = weights["lstm.weight_hh_l0"].shape[1]
    tied = torch.equal(weights["embedding.weight"], weights["head.weight"])
    layers = sum(name.startswith("lstm.weight_hh") for name in weights)
    config = LanguageModelConfig(vocabulary, layers, units, embedding, dropout, tied)
    return StartingPoint(config, weights, manifest.digest(), manifest.training)


def _state_dict(arrays: dict[str, NDArray[np.float32]]) -> dict[str, Tensor]:
    """The graph's constants under the names of `LanguageModel`, gates from ONNX's order i, o, f, c to i, f, c, o."""
    state = {
        "embedding.weight": torch.tensor(arrays["embedding"]),
        "head.weight": torch.tensor(arrays["head_weight"].T.copy()),
        "head.bias": torch.tensor(arrays["head_bias"]),
    }
    number = 0
    while number == 0 or f"lstm{number}_W" in arrays:
        first, second = np.split(arrays[f"lstm{number}_B"][0], 2)
        bias = _torch_order(first + second)
        state[f"lstm.weight_ih_l{number}"] = torch.tensor(_torch_order(arrays[f"lstm{number}_W"][0]))
        state[f"lstm.weight_hh_l{number}"] = torch.tensor(_torch_order(arrays[f"lstm{number}_R"][0]))
        state[f"lstm.bias_ih_l{number}"] = torch.tensor(bias)
        state[f"lstm.bias_hh_l{number}"] = torch.zeros(len(bias))
        number += 1
    return state


def _torch_order(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    i, o, f, c = np.split(rows, 4)
    return np.concatenate([i, f, c, o])
