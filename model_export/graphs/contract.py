"""The tensors that every graph of a model folder has in common, and the states that pair inputs with outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from onnx import ValueInfoProto

from model_export.graphs.building import GraphBuilder, tensor
from service.model.manifest import StateTensor

TOKENS = "tokens"
POSITIONS = "positions"
LOG_PROBABILITIES = "log_probabilities"
TOP_LOG_PROBABILITIES = "top_log_probabilities"
TOP_TOKENS = "top_tokens"
SINGLE_STEP = "single_step"
FOLLOW = "follow"
TOP_K = 16


def top_k(vocabulary_size: int) -> int:
    """How many of the likeliest tokens a graph gives: 16, or all if there are fewer."""
    return min(TOP_K, vocabulary_size)


def lstm_states(
    units: Sequence[int], *, hidden: Literal["float32", "uint8"], initial_hidden: float
) -> tuple[StateTensor, ...]:
    """h and c of every layer, layer by layer; `hidden` is the dtype that h is carried in."""
    states = []
    for layer, width in enumerate(units):
        states.append(state("h", layer, width, dtype=hidden, initial=initial_hidden))
        states.append(state("c", layer, width))
    return tuple(states)


def state(
    letter: str, layer: int, width: int, *, dtype: Literal["float32", "uint8"] = "float32", initial: float = 0.0
) -> StateTensor:
    """One state of one layer, h or c; its tensors are called h0 and h0_out, c0 and c0_out, h1 ..."""
    return StateTensor(
        input=f"{letter}{layer}",
        output=f"{letter}{layer}_out",
        role="cell" if letter == "c" else "hidden",
        layer=layer,
        dtype=dtype,
        width=width,
        initial=initial,
    )


def inputs(states: Sequence[StateTensor]) -> list[ValueInfoProto]:
    """tokens int64 [time, rows], positions int64 [n], then the states [rows, width]."""
    described = [tensor(TOKENS, "int64", ["time", "rows"]), tensor(POSITIONS, "int64", ["n"])]
    return described + [tensor(state.input, state.dtype, ["rows", state.width]) for state in states]


def outputs(states: Sequence[StateTensor], vocabulary_size: int) -> list[ValueInfoProto]:
    """The distributions float32 [n, rows, ...] in natural logarithms, then the next states [rows, width]."""
    k = top_k(vocabulary_size)
    described = [
        log_probabilities(vocabulary_size),
        tensor(TOP_LOG_PROBABILITIES, "float32", ["n", "rows", k]),
        tensor(TOP_TOKENS, "int64", ["n", "rows", k]),
    ]
    return described + [tensor(state.output, state.dtype, ["rows", state.width]) for state in states]


def log_probabilities(vocabulary_size: int) -> ValueInfoProto:
    """float32 [n, rows, vocabulary], in natural logarithms."""
    return tensor(LOG_PROBABILITIES, "float32", ["n", "rows", vocabulary_size])


def followed_states(states: Sequence[StateTensor]) -> list[str]:
    """The outputs that hold every step's states where the graph follows its own choice."""
    return [f"{state.input}_steps" for state in states]


def followed_outputs(states: Sequence[StateTensor]) -> list[ValueInfoProto]:
    """[steps, rows, width] each; without steps where the graph does not follow."""
    names = followed_states(states)
    return [tensor(n, s.dtype, ["steps", "rows", s.width]) for n, s in zip(names, states, strict=True)]


def add_flags(builder: GraphBuilder) -> list[ValueInfoProto]:
    """The inputs that choose how the graph runs. They may be left out: then it reads any chunk."""
    for name in (SINGLE_STEP, FOLLOW):
        builder.constant(name, np.array([False]))
    return [tensor(name, "bool", [1]) for name in (SINGLE_STEP, FOLLOW)]


def add_distribution(builder: GraphBuilder, logits: str, vocabulary_size: int) -> None:
    """Append log-softmax and the likeliest tokens (ties by the smaller token, as ONNX's TopK promises)."""
    builder.add("LogSoftmax", [logits], LOG_PROBABILITIES, axis=-1)
    k = builder.integers("top_k", top_k(vocabulary_size))
    builder.add("TopK", [LOG_PROBABILITIES, k], [TOP_LOG_PROBABILITIES, TOP_TOKENS], axis=-1)
