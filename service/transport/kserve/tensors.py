"""Tensors as they cross the wire, in both forms that the protocol has, and as NumPy holds them. Pure converters.

A tensor's elements stand row by row. On the wire they are either little-endian bytes one after the other, each of BYTES
after its length in four bytes, or a list of values.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidArgument
from service.transport.kserve.refusals import InferRefusals

BYTES: Final = "BYTES"
DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    name: np.dtype(dtype)
    for name, dtype in {
        "BOOL": "?",
        "UINT8": "<u1",
        "UINT16": "<u2",
        "UINT32": "<u4",
        "UINT64": "<u8",
        "INT8": "<i1",
        "INT16": "<i2",
        "INT32": "<i4",
        "INT64": "<i8",
        "FP16": "<f2",
        "FP32": "<f4",
        "FP64": "<f8",
    }.items()
}
"""What the protocol's datatypes are in NumPy; BYTES is none of it, and BF16 has no counterpart."""
_LENGTH: Final = struct.Struct("<I")

Elements = NDArray[np.generic] | tuple[bytes, ...]
"""One dimension; of a dtype, or strings of bytes where the datatype is BYTES."""


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A named tensor; `elements` are as many as `shape` says."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    elements: Elements


def tensor(name: str, array: NDArray[np.generic]) -> Tensor:
    """An output, from an array of a dtype that the protocol knows."""
    datatype = next(name for name, dtype in DTYPES.items() if dtype == array.dtype)
    return Tensor(name, datatype, array.shape, np.ascontiguousarray(array).reshape(-1))


def strings(name: str, rows: Sequence[bytes]) -> Tensor:
    """An output of BYTES, [rows, 1]."""
    return Tensor(name, BYTES, (len(rows), 1), tuple(rows))


def to_raw(elements: Elements) -> bytes:
    """The elements as bytes."""
    if isinstance(elements, tuple):
        return b"".join(part for element in elements for part in (_LENGTH.pack(len(element)), element))
    return elements.astype(elements.dtype.newbyteorder("<"), copy=False).tobytes()


def from_raw(name: str, datatype: str, shape: Sequence[int], raw: bytes, refusals: InferRefusals) -> Tensor:
    """The tensor whose elements `raw` holds. Raises InvalidArgument if it holds more or fewer than `shape` says."""
    wanted = prod(shape)
    if datatype == BYTES:
        elements: Elements = _strings(name, raw, refusals)
        if len(elements) != wanted:
            raise refusals.wrong_element_count(name, wanted, len(elements))
    else:
        dtype = DTYPES[datatype]
        if len(raw) != wanted * dtype.itemsize:
            raise refusals.size_mismatch(name, wanted * dtype.itemsize, len(raw))
        elements = np.frombuffer(raw, dtype)
    return Tensor(name, datatype, tuple(shape), elements)


def from_values(
    name: str, datatype: str, shape: Sequence[int], values: Sequence[Any], refusals: InferRefusals
) -> Tensor:
    """The tensor with these elements, which are of the datatype's Python type.

    Raises InvalidArgument if they are more or fewer than `shape` says, or one is out of the datatype's range.
    """
    wanted = prod(shape)
    if datatype == BYTES:
        if len(values) != wanted:
            raise refusals.wrong_element_count(name, wanted, len(values))
        return Tensor(name, datatype, tuple(shape), tuple(values))
    dtype = DTYPES[datatype]
    if len(values) != wanted:
        raise refusals.size_mismatch(name, wanted * dtype.itemsize, len(values) * dtype.itemsize)
    return Tensor(name, datatype, tuple(shape), _array(name, datatype, values))


def _array(name: str, datatype: str, values: Sequence[Any]) -> NDArray[np.generic]:
    try:
        with np.errstate(over="ignore"):  # what is beyond a float's range is infinite, and refused as such
            return np.array(values, DTYPES[datatype])
    except OverflowError as error:
        raise InvalidArgument(f"inputs.{name}.data", f"holds a number that is no {datatype}") from error


def _strings(name: str, raw: bytes, refusals: InferRefusals) -> tuple[bytes, ...]:
    elements = []
    at = 0
    while at < len(raw):
        if at + _LENGTH.size > len(raw):
            raise refusals.incomplete_string(name, _LENGTH.size, len(raw) - at)
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        if at + length > len(raw):
            raise refusals.incomplete_string(name, length, len(raw) - at)
        elements.append(raw[at : at + length])
        at += length
    return tuple(elements)
