"""128-bit keys of token prefixes, chained one token at a time: equal keys mean equal texts in one scope.

key(prefix + token) = mix(key(prefix), token), two lanes of 64 bits, each a splitmix64 finalizer (Steele, Lea & Flood
2014), which is a bijection of its input. The root key is a keyed BLAKE2b of the scope with a secret that is new in
every process, so nobody can search for collisions beforehand; and a scope (a tenant) can only ever collide with itself.
"""

from __future__ import annotations

import hashlib
import secrets

import numpy as np
from numpy.typing import NDArray

Key = tuple[int, int]

_MASK = (1 << 64) - 1
_STRIDES = (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)  # odd, so that token -> (token + 1) * stride is injective
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_PROCESS_SECRET = secrets.token_bytes(32)


def root_key(scope: str, *, secret: bytes = _PROCESS_SECRET) -> Key:
    """The key of the empty text in a scope."""
    digest = hashlib.blake2b(scope.encode(), key=secret, digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def extend(key: Key, tokens: bytes) -> Key:
    """The key after feeding `tokens`; about a microsecond a token."""
    low, high = key
    stride_low, stride_high = _STRIDES
    for token in tokens:
        low = (low + (token + 1) * stride_low) & _MASK
        low = ((low ^ (low >> 30)) * _FIRST) & _MASK
        low = ((low ^ (low >> 27)) * _SECOND) & _MASK
        low ^= low >> 31
        high = (high + (token + 1) * stride_high) & _MASK
        high = ((high ^ (high >> 30)) * _FIRST) & _MASK
        high = ((high ^ (high >> 27)) * _SECOND) & _MASK
        high ^= high >> 31
    return low, high


def extend_rows(keys: NDArray[np.uint64], tokens: NDArray[np.integer]) -> NDArray[np.uint64]:
    """`extend` by one token for many keys at once: keys uint64 [rows, 2], tokens [rows]; returns uint64 [rows, 2]."""
    steps = (tokens.astype(np.uint64) + np.uint64(1))[:, None] * np.array(_STRIDES, np.uint64)
    mixed: NDArray[np.uint64] = keys + steps
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_FIRST)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_SECOND)
    mixed ^= mixed >> np.uint64(31)
    return mixed
