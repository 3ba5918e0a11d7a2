"""Which tensors a model takes and gives: those of a text, those of whole words, those of a series of numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from service.tensors.ports import Numbers, TensorModel
from service.transport.kserve.metadata import (
    INPUTS,
    LOG_LIKELIHOOD,
    LOG_PROBABILITIES,
    OUTPUTS,
    TEXT,
    TOKENS,
    TOP_LOG_PROBABILITIES,
    TOP_TOKENS,
    Described,
    Json,
    config_of,
)

VALUES: Final = "VALUES"
EXPECTED: Final = "EXPECTED"
FORECAST: Final = "FORECAST"
TOP_WORDS: Final = "TOP_WORDS"
_ANY: Final = -1


class Signature(NamedTuple):
    """A model's tensors, each without the batch's dimension. A request holds one of the inputs."""

    inputs: Sequence[Described]
    outputs: Sequence[Described]

    def input(self, name: str) -> Described | None:
        """The input of that name."""
        return next((tensor for tensor in self.inputs if tensor.name == name), None)


OF_TEXT: Final = Signature(INPUTS, OUTPUTS)


def signature_of(model: TensorModel) -> Signature:
    """The tensors of a model that reads no text."""
    if isinstance(model.reads, Numbers):
        width, step = model.reads.width, model.reads.step
        what = f" ({', '.join(model.reads.names)})" if model.reads.names else ""
        return Signature(
            (Described(VALUES, "FP32", (_ANY, width), f"{step} after {step}, the numbers of each{what}, to append"),),
            (
                Described(
                    EXPECTED, "FP32", (_ANY, width), f"after each {step} that was given: what the next one holds"
                ),
                Described(
                    FORECAST, "FP32", (_ANY, width), f"the next `steps` {step}s, each after the forecast of the last"
                ),
            ),
        )
    size = model.reads.size
    return Signature(
        (
            Described(TEXT, "BYTES", (_ANY,), "pieces of text in UTF-8, of whole words of the vocabulary"),
            Described(TOKENS, "INT64", (_ANY,), f"tokens to append, 0 to {size - 1}: places in the vocabulary"),
        ),
        (
            Described(LOG_PROBABILITIES, "FP32", (size,), "of every token to come next, natural logarithm"),
            Described(TOP_TOKENS, "INT64", (_ANY,), f"the likeliest, best first; {model.reads.start_token} is the end"),
            Described(TOP_WORDS, "BYTES", (_ANY,), "their words; the end is an empty one"),
            Described(TOP_LOG_PROBABILITIES, "FP32", (_ANY,), "of the likeliest tokens, natural logarithm"),
            Described(LOG_LIKELIHOOD, "FP64", (1,), "of the tokens given, after all before them, natural logarithm"),
        ),
    )


def config_of_tensors(model: TensorModel, config: Json) -> Json:
    """What of a configuration is otherwise: the tensors, and what a client must know beside them, as JSON in texts."""
    signature = signature_of(model)
    return {
        "input": [{**config_of(tensor), "optional": len(signature.inputs) > 1} for tensor in signature.inputs],
        "output": [config_of(tensor) for tensor in signature.outputs],
        "parameters": config["parameters"] | {n: {"string_value": json.dumps(v)} for n, v in _beside(model).items()},
    }


def _beside(model: TensorModel) -> Mapping[str, Sequence[str] | str]:
    if isinstance(model.reads, Numbers):
        return {"names": list(model.reads.names), "step": model.reads.step}
    return {"vocabulary": list(model.reads.entries)}
