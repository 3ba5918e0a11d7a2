"""Bodies that are compressed, as the protocol's clients may send and want them: gzip and deflate."""

from __future__ import annotations

import gzip
import zlib
from typing import Final

from starlette.exceptions import HTTPException

from service.errors import InvalidArgument

# What zlib is told to expect: gzip's header, or zlib's own.
_WINDOWS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_FASTEST: Final = 1
_NOT_WORTH_IT: Final = 512  # bytes
_TOO_LARGE: Final = 413


def decompressed(body: bytes, encoding: str | None, most: int) -> bytes:
    """The body as it was before it was compressed.

    Raises InvalidArgument for another encoding or a body that is not of this one; HTTPException 413 if it is larger
    than `most` bytes, of which no more are ever made.
    """
    if encoding is None or encoding.lower() == "identity":
        return body
    window = _WINDOWS.get(encoding.lower())
    if window is None:
        raise InvalidArgument("content-encoding", f"{encoding[:40]!r} is none of {', '.join(_WINDOWS)}, identity")
    decompressor = zlib.decompressobj(window)
    try:
        whole = decompressor.decompress(body, most + 1)
    except zlib.error as error:
        raise InvalidArgument("body", f"is not what its content-encoding {encoding.lower()} says") from error
    if len(whole) > most:
        raise HTTPException(_TOO_LARGE)
    if not decompressor.eof or decompressor.unused_data:
        raise InvalidArgument("body", f"is not all of what its content-encoding {encoding.lower()} says")
    return whole


def wanted_encoding(accepted: str | None, body: bytes) -> str | None:
    """How to compress an answer for who accepts these encodings; None for a body that is not worth it."""
    if accepted is None or len(body) < _NOT_WORTH_IT:
        return None
    qualities = dict(_quality(part) for part in accepted.split(","))
    best = max(_WINDOWS, key=lambda encoding: qualities.get(encoding, 0.0))
    return best if qualities.get(best, 0.0) > 0 else None


def compressed(body: bytes, encoding: str) -> bytes:
    """The body in an encoding of `wanted_encoding`."""
    if encoding == "gzip":
        return gzip.compress(body, _FASTEST, mtime=0)
    return zlib.compress(body, _FASTEST)


def _quality(part: str) -> tuple[str, float]:
    name, _, parameter = part.partition(";")
    _, _, value = parameter.strip().partition("q=")
    try:
        return name.strip().lower(), float(value) if value else 1.0
    except ValueError:
        return name.strip().lower(), 0.0
