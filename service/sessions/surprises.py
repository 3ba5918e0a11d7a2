"""Where a model was surprised: the least likely places of a scored text, one to a word, and what it expected there."""

from __future__ import annotations

import string
from math import exp, fsum, log
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.sessions.commands import Surprise, Units
from service.sessions.units import measure

EXPECTED_BYTES: Final = 32
"""How far the model goes on, to say what it expected: a word seldom is longer."""

_LEAST_BITS: Final = 1.0  # what is as likely as not surprises nobody
_LONGEST: Final = 64  # bytes of a word that are shown
_IS_WORD: Final = np.zeros(256, np.bool_)
_IS_WORD[list(string.ascii_letters.encode() + string.digits.encode() + b"_" + bytes(range(0x80, 0x100)))] = True


class Place(NamedTuple):
    """The bytes [start, end) of a text, whose first character took so many bits."""

    start: int
    end: int
    bits: float


def most_surprising(data: bytes, first: int, log_probabilities: NDArray[np.float32], count: int) -> list[Place]:
    """At most `count` places, the greatest surprise first; of the characters of a word only the least likely one.

    log_probabilities: float32 [bytes], of `data[first:]`. A place goes to the end of its word.
    """
    if not count or not len(log_probabilities):
        return []
    tokens = np.frombuffer(data, np.uint8)[first:]
    begins = np.flatnonzero((tokens & 0xC0) != 0x80)  # the characters; of a broken one what is there of it
    if not len(begins) or begins[0]:
        begins = np.concatenate([[0], begins])
    bits = np.add.reduceat(log_probabilities.astype(np.float64) / -log(2), begins)
    in_word = _IS_WORD[tokens[begins]]
    new_run = np.ones(len(begins), np.bool_)
    new_run[1:] = ~(in_word[1:] & in_word[:-1])
    runs = np.flatnonzero(new_run)
    greatest = np.maximum.reduceat(bits, runs)
    found = np.flatnonzero(greatest > _LEAST_BITS)
    found = found[np.argsort(-greatest[found], kind="stable")[:count]]
    ends = np.append(runs[1:], len(begins))
    edges = np.append(begins, len(tokens))
    places = []
    for run in found.tolist():
        at = runs[run] + int(bits[runs[run] : ends[run]].argmax())
        start, end = first + int(edges[at]), first + int(edges[ends[run]])
        places.append(Place(start, _whole(data, start, min(end, start + _LONGEST)), float(bits[at])))
    return places


def _whole(data: bytes, start: int, end: int) -> int:
    """`end`, or before it where a character begins that would be cut."""
    while end < len(data) and end - 1 > start and data[end] & 0xC0 == 0x80:
        end -= 1
    return end


def surprise(
    data: bytes,
    place: Place,
    said: bytes,
    log_probabilities: NDArray[np.float32],
    end_log_probability: float,
    units: Units,
) -> Surprise:
    """A place as it is told. `said` is how the model went on there, and each of its bytes so likely.

    end_log_probability: of an end of the text there, which is what it expected if it said nothing.
    """
    expected = said[: _word_length(said)]
    probability = exp(fsum(log_probabilities[: len(expected)].tolist())) if expected else exp(end_log_probability)
    before, there = data[: place.start], data[place.start : place.end].decode(errors="replace")
    if units is Units.UTF8:
        offset, length = place.start, place.end - place.start
    else:
        offset, length = measure(before.decode()).count_in(units), measure(there).count_in(units)
    return Surprise(offset, length, there, place.bits, expected.decode(), probability)


def _word_length(said: bytes) -> int:
    """The first character, or the whole word that it begins; `said` consists of whole characters."""
    if not said:
        return 0
    tokens = np.frombuffer(said, np.uint8)
    beyond = np.flatnonzero(~_IS_WORD[tokens])
    if not len(beyond):
        return len(said)
    return int(beyond[0]) or 1
