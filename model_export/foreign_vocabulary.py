"""Models trained elsewhere over some characters: their tokens are moved to where the served bytes are."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from model_export.corpora import SEPARATOR
from model_export.errors import ExportError
from model_export.state_dicts import TorchTensors
from model_export.weights import Array

BYTES = 256
NEVER = -1e4  # the logit of a byte that the model has no token for: its probability is zero in float32
_BYTE_ESCAPE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def read_vocabulary(path: Path) -> dict[str, int]:
    """Entries by name, from a JSON list or an object from entries to token numbers. Raises ExportError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} is not a JSON file: {error}") from error
    if isinstance(found, list):
        found = {_entry_name(entry): token for token, entry in enumerate(found)}
    if not isinstance(found, dict) or not all(type(token) is int for token in found.values()):
        raise ExportError(f"{path}: expected a list of entries, or an object from entries to token numbers")
    return found


def _entry_name(entry: object) -> str:
    """A number in a list is a byte."""
    return f"<0x{entry:02X}>" if isinstance(entry, int) and 0 <= entry < BYTES else str(entry)


def to_bytes(
    tensors: TorchTensors, vocabulary: Mapping[str, int], *, start: str | None = None, drop: Collection[str] = ()
) -> TorchTensors:
    """The same model over the 256 bytes. Raises ExportError that lists the entries which are no single byte.

    A byte without a token embeds as zero and is never predicted. `start` becomes byte 0xFF, which begins and ends texts
    in service; without one, a text begins with a zero embedding.
    """
    size = tensors.embedding.shape[0]
    token_of = _tokens_by_byte(vocabulary, size, start, drop)
    embedding = np.zeros((BYTES, tensors.embedding.shape[1]), np.float32)
    head = np.zeros((BYTES, tensors.head.shape[1]), np.float32)
    head_bias: Array = np.full(BYTES, NEVER, np.float32)
    for byte, token in token_of.items():
        embedding[byte] = tensors.embedding[token]
        if byte == SEPARATOR and list(token_of.values()).count(token) > 1:
            continue  # a byte that also begins texts is predicted as that byte alone
        head[byte], head_bias[byte] = tensors.head[token], tensors.head_bias[token]
    return TorchTensors(embedding, tensors.layers, head, head_bias)


def _tokens_by_byte(
    vocabulary: Mapping[str, int], size: int, start: str | None, drop: Collection[str]
) -> dict[int, int]:
    for entry in (*drop, *([] if start is None else [start])):
        if entry not in vocabulary:
            raise ExportError(f"the vocabulary has no entry {entry!r}")
    if sorted(vocabulary.values()) != list(range(size)):
        raise ExportError(
            f"the vocabulary has {len(vocabulary)} entries, the embedding {size} tokens; "
            f"each token from 0 to {size - 1} must have one entry"
        )
    token_of: dict[int, int] = {}
    strange = []
    for entry, token in vocabulary.items():
        if entry in drop:
            continue
        byte = _byte(entry)
        if entry == start:
            token_of[SEPARATOR] = token
        if byte is not None:
            token_of[byte] = token
        elif entry != start:
            strange.append(entry)
    if strange:
        listed = ", ".join(map(repr, strange[:10])) + (", ..." if len(strange) > 10 else "")
        raise ExportError(
            f"{len(strange)} entries are no single byte of UTF-8: {listed}; a served model reads bytes. "
            "Name the one that begins texts with --start, and leave others out with --drop"
        )
    return token_of


def _byte(entry: str) -> int | None:
    escape = _BYTE_ESCAPE.fullmatch(entry)
    if escape:
        return int(escape.group(1), 16)
    encoded = entry.encode("utf-8", errors="surrogatepass")
    return encoded[0] if len(encoded) == 1 else None
