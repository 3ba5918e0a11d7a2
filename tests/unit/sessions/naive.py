"""The naive model that sessions are compared with: a list of characters, counted one by one in every unit."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.sessions.commands import Delete, Insert, MoveCursor, Replace, Units
from service.sessions.edits import PlainEdit


class NaiveRefusal(Exception):
    """The naive model finds nothing sensible to do."""


def width(character: str, units: Units) -> int:
    if units is Units.UTF8:
        return len(character.encode())
    return 2 if units is Units.UTF16 and ord(character) > 0xFFFF else 1


@dataclass
class NaiveText:
    characters: list[str] = field(default_factory=list)
    cursor: int = 0

    @classmethod
    def of(cls, text: str) -> NaiveText:
        return cls(list(text), len(text))

    def copy(self) -> NaiveText:
        return NaiveText(list(self.characters), self.cursor)

    @property
    def text(self) -> str:
        return "".join(self.characters)

    @property
    def left(self) -> str:
        return "".join(self.characters[: self.cursor])

    def length(self, units: Units) -> int:
        return sum(width(character, units) for character in self.characters)

    def cursor_in(self, units: Units) -> int:
        return sum(width(character, units) for character in self.characters[: self.cursor])

    def index(self, offset: int, units: Units) -> int:
        """The character that starts at `offset`."""
        position = 0
        for index, character in enumerate([*self.characters, ""]):
            if position == offset:
                return index
            position += width(character, units) if character else 0
        raise NaiveRefusal

    def apply(self, edit: PlainEdit, units: Units) -> None:
        match edit:
            case Insert(text):
                self._put(self.cursor, self.cursor, text)
            case Delete(count):
                if count < 0:
                    raise NaiveRefusal
                self._put(self.index(self.cursor_in(units) - count, units), self.cursor, "")
            case Replace(start, end, text):
                first, last = self.index(start, units), self.index(end, units)
                if last < first:
                    raise NaiveRefusal
                self._put(first, last, text)
            case MoveCursor(position):
                self.cursor = self.index(position, units)

    def _put(self, start: int, end: int, text: str) -> None:
        if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
            raise NaiveRefusal
        self.characters[start:end] = list(text)
        self.cursor = start + len(text)
