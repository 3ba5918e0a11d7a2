"""A snapshot: one state of a model in a lasting form that says what it is of, and is believed only if all of that fits.

A line of JSON, the tensors one after the other, and a BLAKE2b of both. The line names the model's digest, the numerics
id, how many bytes of text the state is of, their BLAKE2b, and what each tensor is: little-endian, as JSON has no order
of bytes. Whatever does not fit, a newer form included, is as if there were no snapshot.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.engine.held_state import HeldState
from service.engine.requests import ModelIdentity

FORM: Final = 1
_DIGEST_BYTES: Final = 32
_TYPES: Final = ("uint8", "int8", "float16", "float32", "float64", "int32", "int64")


def write_snapshot(state: HeldState, identity: ModelIdentity, text: bytes) -> bytes:
    """What `read_snapshot` reads. text: that of the state, or one that begins with it."""
    tensors: list[NDArray[Any]] = [*state.states, state.top_tokens, state.top_log_probabilities]
    about = {
        "form": FORM,
        "model": identity.digest,
        "numerics": identity.numerics_id,
        "bytes": state.depth,
        "text": _digest(text[: state.depth]).hex(),
        "tensors": [[one.dtype.name, len(one)] for one in tensors],
    }
    line = json.dumps(about, separators=(",", ":")).encode() + b"\n"
    body = b"".join([line, *(one.astype(_little(one.dtype.name), copy=False).tobytes() for one in tensors)])
    return body + _digest(body)


def read_snapshot(snapshot: bytes, identity: ModelIdentity, text: bytes) -> HeldState | None:
    """The state, if it is one of this model under these numerics after a beginning of `text`, and undamaged; else None.

    Whether it has the shape of the model's states is for the engine to say.
    """
    body, digest = snapshot[:-_DIGEST_BYTES], snapshot[-_DIGEST_BYTES:]
    if _digest(body) != digest:
        return None
    line, _, tensors = body.partition(b"\n")
    try:
        about = json.loads(line)
        if (about["form"], about["model"], about["numerics"]) != (FORM, identity.digest, identity.numerics_id):
            return None
        depth = int(about["bytes"])
        if not 0 < depth <= len(text) or about["text"] != _digest(text[:depth]).hex():
            return None
        *states, top_tokens, top_log_probabilities = _tensors(tensors, about["tensors"])
    except (ValueError, TypeError, KeyError):
        return None
    return HeldState(depth, states, top_tokens, top_log_probabilities)


def _tensors(data: bytes, kinds: list[tuple[str, int]]) -> list[NDArray[Any]]:
    """The tensors of these types and lengths. Raises ValueError or TypeError if that is not what `data` is."""
    tensors: list[NDArray[Any]] = []
    at = 0
    for name, length in kinds:
        if name not in _TYPES:
            raise ValueError(name)
        one = np.frombuffer(data, _little(name), length, at)
        tensors.append(one.astype(np.dtype(name), copy=False))
        at += one.nbytes
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes more")
    return tensors


def _little(name: str) -> np.dtype[Any]:
    return np.dtype(name).newbyteorder("<")


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST_BYTES).digest()
