"""How likely a whole file is, asked for in parts that a server takes at once. Pure but for the calls of the client."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from carousel_client import Model, Score, Surprise, Units

_SHOWN_BEFORE = 16


@dataclass(frozen=True, slots=True)
class Cutting:
    """How a text is cut.

    part_bytes: scored by one call; a second or two, so that a long file's progress can be told.  most_bytes: what a
    server reads at once, if its settings are not others (a request of 1 MiB).  context_bytes: what is read before a
    part that lies further from the beginning.  within_bytes: how far from a part's end a line may end instead.
    """

    part_bytes: int = 64 * 1024
    most_bytes: int = 1023 * 1024
    context_bytes: int = 16 * 1024
    within_bytes: int = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes [start, end) of a text, to be read after [begin, start)."""

    begin: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Place:
    """A surprise with where it is: line and column count from 1, the column in characters; `offset` in bytes.

    `after` is what stands before it in its line, at most 16 characters.
    """

    line: int
    column: int
    offset: int
    after: str
    text: str
    bits: float
    expected: str
    probability: float


@dataclass(frozen=True, slots=True)
class FileScore:
    """bits: of each byte of the file, minus the base-2 logarithm of its probability.  places: the greatest first."""

    bits: array[float]
    places: tuple[Place, ...]
    model: Model

    @property
    def bits_per_byte(self) -> float:
        """The mean over the file."""
        return math.fsum(self.bits) / len(self.bits)


class ScoringClient(Protocol):
    """What is asked of a client."""

    def score(self, text: str, *, start: int, surprises: int, units: Units, model: str | None) -> Score:
        """As `Client.score`."""
        ...


class FileScorer:
    """Scores one text part by part: `parts` says how it is cut, `score` asks for one, `result` is the whole."""

    def __init__(
        self,
        client: ScoringClient,
        content: bytes,
        surprises: int,
        cutting: Cutting = Cutting(),
        model: str | None = None,
    ) -> None:
        self._client, self._content, self._surprises, self._asked = client, content, surprises, model
        self._bits = array("f")
        self._found: list[tuple[int, Surprise]] = []
        self._model: Model | None = None
        self.parts = tuple(parts_of(content, cutting))

    @property
    def is_windowed(self) -> bool:
        """Whether the text is too long to be read from its beginning for every part."""
        return self.parts[-1].begin > 0

    def score(self, part: Part) -> None:
        """Ask for a part; in order. Raises CarouselErrors."""
        # A prompt that has grown is found where it ended before: what is read again was computed already.
        text = self._content[part.begin : part.end].decode()
        start = part.start - part.begin
        scored = self._client.score(text, start=start, surprises=self._surprises, units=Units.UTF8, model=self._asked)
        self._bits.extend(scored.surprisal_bits)
        self._found += [(part.begin + one.offset, one) for one in scored.surprises]
        self._model = scored.model

    def result(self) -> FileScore:
        """Of the whole text, once every part was scored."""
        assert self._model is not None
        self._found.sort(key=lambda found: -found[1].surprisal_bits)
        places = [_place(self._content, offset, one) for offset, one in self._found[: self._surprises]]
        return FileScore(self._bits, tuple(places), self._model)


def parts_of(content: bytes, cutting: Cutting = Cutting()) -> Iterator[Part]:
    """Cut a text in UTF-8 between its lines, or at least between its characters."""
    begin = start = 0
    while start < len(content):
        end = _cut(content, start, min(start + cutting.part_bytes, len(content)), cutting.within_bytes)
        if end - begin > cutting.most_bytes:
            begin = _character(content, start - cutting.context_bytes)
        yield Part(begin, start, end)
        start = end


def _cut(content: bytes, start: int, end: int, within: int) -> int:
    if end == len(content):
        return end
    line = content.rfind(b"\n", max(start, end - within), end)
    return line + 1 if line > start else _character(content, end)


def _character(content: bytes, at: int) -> int:
    """The beginning of the character that the byte at `at` belongs to."""
    while content[at] & 0xC0 == 0x80:
        at -= 1
    return at


def _place(content: bytes, offset: int, surprise: Surprise) -> Place:
    before = content[content.rfind(b"\n", 0, offset) + 1 : offset].decode()
    return Place(
        line=content.count(b"\n", 0, offset) + 1,
        column=len(before) + 1,
        offset=offset,
        after=before[-_SHOWN_BEFORE:],
        text=surprise.text,
        bits=surprise.surprisal_bits,
        expected=surprise.expected,
        probability=surprise.probability,
    )
