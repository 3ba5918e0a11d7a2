"""The one input of a request to a model of tensors, as chunks that the model reads: time-major, checked element by
element.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.errors import InvalidArgument
from service.model.words import UnknownWord, Words
from service.tensors.ports import Inputs, Numbers, TensorModel
from service.transport.kserve.metadata import TEXT
from service.transport.kserve.refusals import InferRefusals
from service.transport.kserve.rows import the_one_input
from service.transport.kserve.signatures import signature_of
from service.transport.kserve.tensors import Tensor

_SHOWN_WORDS = 40


def read_inputs(model: TensorModel, inputs: Sequence[Tensor], refusals: InferRefusals) -> Sequence[Inputs]:
    """One chunk of all rows, [time, rows, ...]; of rows that differ in length, one of each, [time, 1].

    Raises InvalidArgument that names the element that the model cannot read. `inputs` have passed `check_declared`.
    """
    given = the_one_input(inputs, [tensor.name for tensor in signature_of(model).inputs], refusals)
    if isinstance(model.reads, Numbers):
        return [_values(given)]
    if given.name == TEXT:
        return _side_by_side(_encoded(model.reads, given))
    return [_tokens(model.reads, given)]


def _values(given: Tensor) -> Inputs:
    values = np.asarray(given.elements, np.float32).reshape(given.shape)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, step, place = wrong[0]
        raise InvalidArgument(
            f"inputs.{given.name}[{row}][{step}][{place}]",
            f"{values[row, step, place]} is no number that a series can hold; leave the step out, or give what is "
            "likeliest in its place",
        )
    return np.ascontiguousarray(values.transpose(1, 0, 2))


def _tokens(words: Words, given: Tensor) -> Inputs:
    tokens = np.asarray(given.elements, np.int64).reshape(given.shape)
    beyond = np.argwhere((tokens < 0) | (tokens >= words.size))
    if len(beyond):
        row, column = beyond[0]
        raise InvalidArgument(
            f"inputs.{given.name}[{row}][{column}]",
            f"{tokens[row, column]} is no token: this model's are 0 to {words.size - 1}, places in its vocabulary",
        )
    return np.ascontiguousarray(tokens.T)


def _encoded(words: Words, given: Tensor) -> list[list[int]]:
    """The tokens of each row."""
    assert isinstance(given.elements, tuple), "of BYTES"
    rows, width = given.shape
    found: list[list[int]] = [[] for _ in range(rows)]
    for index, element in enumerate(given.elements):
        field = f"inputs.{given.name}[{index // width}][{index % width}]"
        try:
            found[index // width] += words.encode(element.decode())
        except UnicodeDecodeError as error:
            raise InvalidArgument(field, f"byte {error.start} is no UTF-8: send whole words") from None
        except UnknownWord as error:
            known = ", ".join(words.entries[1 : _SHOWN_WORDS + 1])
            more = f" and {words.size - 1 - _SHOWN_WORDS} more" if words.size - 1 > _SHOWN_WORDS else ""
            raise InvalidArgument(
                field, f"{error.word[:80]!r} is no word of this model, whose vocabulary is in its config: {known}{more}"
            ) from None
    return found


def _side_by_side(rows: Sequence[Sequence[int]]) -> Sequence[Inputs]:
    if len({len(row) for row in rows}) == 1:
        return [np.ascontiguousarray(np.array(rows, np.int64).reshape(len(rows), -1).T)]
    return [np.array(row, np.int64)[:, None] for row in rows]
