"""The fp32 graph of any stack of cells over bytes: a table of bytes, the layers, the distribution of the next byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_export.cells.cell import Cell
from model_export.errors import ExportError
from model_export.graphs import contract
from model_export.graphs.building import GraphBuilder, serialize
from service.model.manifest import StateTensor

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tables:
    """What surrounds the layers: embedding float32 [tokens, width], head float32 [tokens, outputs] with its bias."""

    embedding: Array
    head: Array
    head_bias: Array

    @property
    def vocabulary_size(self) -> int:
        """How many tokens the model reads and predicts."""
        return len(self.head)


def states(layers: Sequence[Cell]) -> tuple[StateTensor, ...]:
    """What each layer carries, layer by layer: float32 [rows, units], starting at zero; none where it carries none."""
    return tuple(
        contract.state(letter, number, layer.units) for number, layer in enumerate(layers) for letter in layer.states
    )


def build(tables: Tables, layers: Sequence[Cell]) -> bytes:
    """The model file. Raises ExportError if the parts do not fit together or a weight is NaN or infinite."""
    _check(tables, layers)
    builder = GraphBuilder()
    below = builder.add("Gather", [builder.constant("embedding", tables.embedding), contract.TOKENS], "embedded")
    tensors = states(layers)
    for number, layer in enumerate(layers):
        own = [state for state in tensors if state.layer == number]
        below = layer.add_to(builder, f"layer{number}", below, [s.input for s in own], [s.output for s in own])
    wanted = builder.add("Gather", [below, contract.POSITIONS], "wanted", axis=0)  # [n, rows, outputs]
    product = builder.add("MatMul", [wanted, builder.constant("head_weight", tables.head.T)], "head_product")
    logits = builder.add("Add", [product, builder.constant("head_bias", tables.head_bias)], "logits")
    contract.add_distribution(builder, logits, tables.vocabulary_size)
    graph = builder.graph("recurrent", contract.inputs(tensors), contract.outputs(tensors, tables.vocabulary_size))
    kinds = ", ".join(type(layer).__name__ for layer in layers)
    return serialize(graph, f"Byte-level recurrent language model, fp32, explicit states. Layers: {kinds}.")


def _check(tables: Tables, layers: Sequence[Cell]) -> None:
    widths = [layers[0].inputs, *(layer.inputs for layer in layers[1:]), tables.head.shape[1]]
    given = [tables.embedding.shape[1], *(layer.outputs for layer in layers)]
    if widths != given or len(tables.embedding) != len(tables.head) or tables.head_bias.shape != tables.head.shape[:1]:
        raise ExportError(f"the parts do not fit together: {given} numbers are given where {widths} are read")
    named = {"embedding": tables.embedding, "head": tables.head, "head bias": tables.head_bias}
    for number, layer in enumerate(layers):
        named |= {f"layer {number} {name}": value.detach().cpu().numpy() for name, value in layer.named_parameters()}
    for name, values in named.items():
        if not np.isfinite(values).all():
            raise ExportError(f"{name}: some values are NaN or infinite; train again with a lower learning rate")
