"""What a completion has said so far, and which of it may be told: whole code points, and nothing of a stop string."""

from __future__ import annotations

from typing import Final

from service.engine.requests import CompleteSpec, FinishReason
from service.model.utf8 import TRANSITIONS, Utf8

# A message to a caller costs more than a dozen steps of a row (docs/decisions/011-complete.md), so pieces grow: the
# first byte is told at once, then ever more at a time, up to this many.
LARGEST_WAIT_BYTES: Final = 64


class Transcript:
    """The bytes of one completion in order. `utf8` says what the last code point still asks for."""

    __slots__ = ("_max_bytes", "_stops", "_text", "_told", "_wanted", "utf8")

    def __init__(self, spec: CompleteSpec) -> None:
        self._max_bytes, self._stops = spec.max_bytes, spec.stop
        self._text = bytearray()
        self._told = 0
        self._wanted = 1
        self.utf8 = Utf8.COMPLETE

    def __len__(self) -> int:
        return len(self._text)

    @property
    def told(self) -> int:
        """How many bytes were told."""
        return self._told

    @property
    def due(self) -> bool:
        """Whether so much is untold that telling it is worth a message."""
        return len(self._text) - self._told >= self._wanted

    def tail(self, length: int) -> bytes:
        """The last `length` bytes, or all if there are fewer."""
        return bytes(self._text[-length:]) if length else b""

    def add(self, token: int) -> FinishReason | None:
        """Say one more byte, which `utf8` allows; why it ends with it, if it does. What stops it is not said."""
        text = self._text
        text.append(token)
        self.utf8 = TRANSITIONS[self.utf8][token]
        if self._stops and text.endswith(self._stops):
            del text[-max(len(stop) for stop in self._stops if text.endswith(stop)) :]
            return FinishReason.STOP
        return FinishReason.LENGTH if len(text) >= self._max_bytes else None

    @property
    def room(self) -> int:
        """How many bytes may still be said."""
        return self._max_bytes - len(self._text)

    def add_while_allowed(self, tokens: bytes) -> tuple[int, FinishReason | None]:
        """Say these bytes up to the first that `utf8` does not allow, or that ends it; how many, and why it ended."""
        if tokens.isascii() and self.utf8 is Utf8.COMPLETE and not self._stops:
            said = tokens[: self.room]
            self._text += said
            return len(said), None if self.room else FinishReason.LENGTH
        for count, token in enumerate(tokens):
            if TRANSITIONS[self.utf8][token] is Utf8.REJECT:
                return count, None
            finish = self.add(token)
            if finish is not None:
                return count + 1, finish
        return len(tokens), None

    def take(self) -> bytes:
        """What may be told now and was not; maybe nothing."""
        return self._tell(len(self._text) - max(self._begun_code_point(), self._begun_stop()))

    def take_rest(self) -> bytes:
        """All that was not told, at the end: a code point that is not whole is lost, the beginning of a stop is not."""
        return self._tell(len(self._text) - self._begun_code_point())

    def _tell(self, end: int) -> bytes:
        piece = bytes(self._text[self._told : end])
        if piece:
            self._told = end
            self._wanted = min(2 * self._wanted, LARGEST_WAIT_BYTES)
        return piece

    def _begun_code_point(self) -> int:
        """How many bytes at the end belong to a code point that is not whole."""
        if self.utf8 is Utf8.COMPLETE:
            return 0
        return next(back for back in range(1, 4) if self._text[-back] >= 0xC0)

    def _begun_stop(self) -> int:
        """How many bytes at the end may turn out to begin a stop string."""
        longest = max(map(len, self._stops), default=0)
        for length in range(min(longest - 1, len(self._text)), 0, -1):
            end = bytes(self._text[-length:])
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
