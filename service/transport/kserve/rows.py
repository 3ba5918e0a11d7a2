"""The rows of a request: the one input that it holds, as a piece of bytes for each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.errors import InvalidArgument
from service.transport.kserve.metadata import INPUTS, MAX_BATCH, TEXT, Described
from service.transport.kserve.refusals import InferRefusals
from service.transport.kserve.tensors import Tensor

_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Rows:
    """input: the name of the tensor that was given.  pieces: one for each row.  whole: of whole characters each."""

    input: str
    pieces: Sequence[bytes]
    whole: bool


def read_rows(inputs: Sequence[Tensor], refusals: InferRefusals) -> Rows:
    """Raises InvalidArgument unless there is one input. Every one of them has passed `check_declared`."""
    given = the_one_input(inputs, [tensor.name for tensor in INPUTS], refusals)
    rows, width = given.shape
    if given.name == TEXT:
        return Rows(given.name, _joined(given, rows, width), whole=True)
    return Rows(given.name, _bytes(given, rows, width), whole=False)


def the_one_input(inputs: Sequence[Tensor], there_are: Sequence[str], refusals: InferRefusals) -> Tensor:
    """The input of a request. Raises InvalidArgument if there are none or several."""
    names = [tensor.name for tensor in inputs]
    for name in names:
        if names.count(name) > 1:
            raise refusals.input_twice(name)
    if len(inputs) != 1:
        raise refusals.wrong_inputs(names, () if names else (" or ".join(there_are),))
    return inputs[0]


def check_declared(
    name: str,
    datatype: str,
    shape: Sequence[int],
    refusals: InferRefusals,
    there_are: Sequence[Described] = INPUTS,
) -> None:
    """What a facade asks before it reads an input's elements. there_are: the model's inputs.

    Raises InvalidArgument for a name or datatype that is not the model's, and for any shape but [rows, ...] as the
    model has it, with 1 to MAX_BATCH rows.
    """
    declared = next((tensor for tensor in there_are if tensor.name == name), None)
    if declared is None:
        raise refusals.unexpected_input(name)
    if datatype != declared.datatype:
        raise refusals.wrong_datatype(name, datatype, declared.datatype)
    if not _fits(shape, declared.dims):
        raise refusals.wrong_shape(name, shape, (-1, *declared.dims))
    if shape[0] > MAX_BATCH:
        raise refusals.batch_too_large(MAX_BATCH)
    if shape[0] < 1:
        raise refusals.batch_empty(name)


def _fits(shape: Sequence[int], dims: Sequence[int]) -> bool:
    """Whether it is [rows, ...] of these dimensions, of which a negative one is any size."""
    if len(shape) != 1 + len(dims) or min(shape) < 0:
        return False
    return all(wanted in (-1, given) for given, wanted in zip(shape[1:], dims, strict=True))


def _joined(given: Tensor, rows: int, width: int) -> Sequence[bytes]:
    assert isinstance(given.elements, tuple), "of BYTES"
    for index, element in enumerate(given.elements):
        try:
            element.decode()
        except UnicodeDecodeError as error:
            raise InvalidArgument(
                f"inputs.{given.name}[{index // width}][{index % width}]",
                f"byte {error.start} (0x{element[error.start]:02X}) is no UTF-8: send whole characters here, or "
                "bytes as TOKENS",
            ) from None
    return [b"".join(given.elements[row * width : (row + 1) * width]) for row in range(rows)]


def _bytes(given: Tensor, rows: int, width: int) -> Sequence[bytes]:
    tokens = np.asarray(given.elements, np.int64).reshape(rows, width)
    beyond = np.argwhere((tokens < 0) | (tokens >= _TOKENS))
    if len(beyond):
        row, column = beyond[0]
        raise InvalidArgument(
            f"inputs.{given.name}[{row}][{column}]", f"{tokens[row, column]} is no token: a token is a byte, 0 to 255"
        )
    return [row.tobytes() for row in tokens.astype(np.uint8)]
