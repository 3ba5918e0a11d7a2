"""What the lab's networks read and predict: a few symbols, each one byte of a text, or each a word.

Symbol 0 is the end: it begins a sequence and is what the network predicts where one ends. In bytes it is 0xFF, which
cannot occur in text, and which a session feeds first, so that a network of a few letters is served like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_export.errors import TrainingError

END = 0
END_BYTE = 0xFF
_BYTES = 256


class UnknownSymbol(TrainingError):
    """A sequence holds what the network has no symbol for."""


@dataclass(frozen=True, slots=True)
class Symbols:
    """entries: what each symbol after the end stands for: words, or for a byte-level network single characters.

    Each such character is the byte of its number (Latin-1), so a byte of UTF-8 above 0x7F can be a symbol too.
    """

    entries: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.entries)) != len(self.entries) or not self.entries:
            raise TrainingError(f"symbols must be there and differ, not {self.entries}")

    @classmethod
    def letters(cls, text: str) -> Symbols:
        """A symbol for each letter of the text."""
        return cls(tuple(text))

    @classmethod
    def of_bytes(cls, present: Iterable[int]) -> Symbols:
        """A symbol for each of these bytes, none of which may be the end's, in the order of their numbers."""
        return cls(tuple(chr(byte) for byte in sorted(set(present))))

    @property
    def size(self) -> int:
        """How many symbols there are, the end among them."""
        return len(self.entries) + 1

    @property
    def are_bytes(self) -> bool:
        """Whether each symbol is one byte of a text."""
        return all(len(entry) == 1 and ord(entry) < END_BYTE for entry in self.entries)

    def number(self, entry: str) -> int:
        """The symbol that stands for an entry. Raises UnknownSymbol."""
        try:
            return self.entries.index(entry) + 1
        except ValueError:
            known = ", ".join(repr(one) for one in self.entries[:20])
            raise UnknownSymbol(f"there is no symbol for {entry!r}; the network knows {known}") from None

    def encode(self, sequence: Iterable[str]) -> NDArray[np.int64]:
        """The symbols of a text's letters, or of words, int64 [length]; the end is not added. Raises UnknownSymbol."""
        return np.array([self.number(entry) for entry in sequence], np.int64)

    def encode_text(self, text: str) -> NDArray[np.int64]:
        """The symbols of a text's bytes in UTF-8, int64 [bytes]. Raises UnknownSymbol."""
        number_of = np.full(_BYTES, -1, np.int64)
        number_of[self.tokens()[1:]] = np.arange(1, self.size)
        numbers = number_of[np.frombuffer(text.encode(), np.uint8)]
        if (numbers < 0).any():
            self.number(chr(text.encode()[int((numbers < 0).argmax())]))  # raises
        return numbers

    def decode_text(self, numbers: NDArray[np.int64]) -> str:
        """The text of some symbols, none of them the end; what is no UTF-8 shows as the replacement character."""
        return bytes(self.tokens()[numbers].astype(np.uint8)).decode("utf-8", errors="replace")

    def decode(self, numbers: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """The entries; the end is an empty one."""
        return ["" if number == END else self.entries[int(number) - 1] for number in numbers]

    def tokens(self) -> NDArray[np.int64]:
        """The byte of each symbol, int64 [size]. Raises TrainingError if they are no bytes."""
        if not self.are_bytes:
            raise TrainingError("a network of words has no bytes")
        return np.array([END_BYTE, *(ord(entry) for entry in self.entries)], np.int64)

    def to_bytes_table(self, table: NDArray[np.float32], others: float) -> NDArray[np.float32]:
        """Spread a table [size, ...] over all 256 bytes; the bytes that are no symbol get the number `others`."""
        spread = np.full((_BYTES, *table.shape[1:]), others, np.float32)
        spread[self.tokens()] = table
        return spread
