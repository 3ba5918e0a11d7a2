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
_STRIDES_OF_ROWS = np.array(_STRIDES, np.uint64)
_FIRST_OF_ROWS, _SECOND_OF_ROWS = np.uint64(_FIRST), np.uint64(_SECOND)
_ONE, _27, _30, _31 = (np.uint64(number) for number in (1, 27, 30, 31))
_PROCESS_SECRET = secrets.token_bytes(32)
_RESTORED = b"restored"


def root_key(scope: str, *, secret: bytes = _PROCESS_SECRET) -> Key:
    """The key of the empty text in a scope."""
    digest = hashlib.blake2b(scope.encode(), key=secret, digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def of_text(scope: str, text: bytes, *, secret: bytes = _PROCESS_SECRET) -> Key:
    """A key of a text in a scope that is not chained, for nodes that nothing was fed for: a nanosecond a byte.

    As unlikely to be another text's as a chained one; but `extend` does not come to it from above.
    """
    digest = hashlib.blake2b(text, key=secret, digest_size=16, person=_RESTORED, salt=_salt(scope)).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def _salt(scope: str) -> bytes:
    return hashlib.blake2b(scope.encode(), digest_size=hashlib.blake2b.SALT_SIZE).digest()


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
    after: NDArray[np.uint64] = extend_ways(keys, tokens[None])[0]
    return after


def extend_ways(keys: NDArray[np.uint64], tokens: NDArray[np.integer]) -> NDArray[np.uint64]:
    """`extend` by one token after another for many keys at once, and the keys on the way.

    keys: uint64 [rows, 2].  tokens: [steps, rows].  Returns uint64 [steps, rows, 2].
    """
    ways: NDArray[np.uint64] = (tokens.astype(np.uint64) + _ONE)[:, :, None] * _STRIDES_OF_ROWS
    before = keys
    for mixed in ways:  # in place: arrays this small cost more to make than to fill
        mixed += before
        mixed ^= mixed >> _30
        mixed *= _FIRST_OF_ROWS
        mixed ^= mixed >> _27
        mixed *= _SECOND_OF_ROWS
        mixed ^= mixed >> _31
        before = mixed
    return ways
