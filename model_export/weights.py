"""The weights of a language model as the graphs need them: NumPy arrays in ONNX's gate order, free of torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_export.errors import ExportError

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LstmLayer:
    """One LSTM layer; the rows of every array are the gates i, o, f, c, as ONNX orders them.

    inputs: float32 [4 * units, width of what the layer reads].  recurrent: float32 [4 * units, units].
    bias: float32 [4 * units], the sum of whatever bias vectors there were.
    """

    inputs: Array
    recurrent: Array
    bias: Array

    @property
    def units(self) -> int:
        """Width of the layer's h and c."""
        return int(self.recurrent.shape[1])


@dataclass(frozen=True, slots=True)
class LanguageModelWeights:
    """A whole model: embedding float32 [vocabulary, width], head float32 [vocabulary, units] with its bias."""

    embedding: Array
    layers: tuple[LstmLayer, ...]
    head: Array
    head_bias: Array

    @property
    def vocabulary_size(self) -> int:
        """How many tokens the model reads and predicts."""
        return int(self.head.shape[0])

    @property
    def tied(self) -> bool:
        """Whether the output layer is the embedding (Press & Wolf 2017)."""
        return self.embedding.shape == self.head.shape and bool(np.array_equal(self.embedding, self.head))

    def arrays(self) -> dict[str, Array]:
        """Every array by a name that a person understands."""
        named = {"embedding": self.embedding, "head": self.head, "head bias": self.head_bias}
        for number, layer in enumerate(self.layers):
            named[f"layer {number} input weights"] = layer.inputs
            named[f"layer {number} recurrent weights"] = layer.recurrent
            named[f"layer {number} bias"] = layer.bias
        return named

    def check(self) -> None:
        """Raise ExportError if shapes do not fit together or a weight is NaN or infinite."""
        width = self.embedding.shape[1]
        for number, layer in enumerate(self.layers):
            expected = ((4 * layer.units, width), (4 * layer.units, layer.units), (4 * layer.units,))
            found = (layer.inputs.shape, layer.recurrent.shape, layer.bias.shape)
            if expected != found:
                raise ExportError(f"layer {number} has weights of shapes {found}, expected {expected}")
            width = layer.units
        if self.head.shape[1] != width or self.head_bias.shape != self.head.shape[:1]:
            raise ExportError(
                f"the head has shape {self.head.shape} and bias {self.head_bias.shape}, "
                f"but the last layer gives {width} units"
            )
        if self.embedding.shape[0] != self.head.shape[0]:
            raise ExportError(
                f"the embedding has {self.embedding.shape[0]} tokens and the head {self.head.shape[0]}; they must agree"
            )
        for name, array in self.arrays().items():
            bad = int((~np.isfinite(array)).sum())
            if bad:
                raise ExportError(
                    f"{name}: {bad} of {array.size} values are NaN or infinite; "
                    "export an earlier checkpoint, or train again with a lower learning rate"
                )

    def architecture(self) -> dict[str, int | float | bool | str]:
        """The model's shape, as the manifest holds it."""
        return {
            "network": "lstm",
            "layers": len(self.layers),
            "units": self.layers[-1].units,
            "embedding": int(self.embedding.shape[1]),
            "tied": self.tied,
            "parameters": sum(array.size for array in self.arrays().values()) - (self.head.size if self.tied else 0),
        }


def onnx_gates(array: Array) -> Array:
    """Reorder PyTorch's gates i, f, g, o (rows) to ONNX's i, o, f, c; g is ONNX's c."""
    i, f, g, o = np.split(np.ascontiguousarray(array, np.float32), 4)
    return np.concatenate([i, o, f, g])
