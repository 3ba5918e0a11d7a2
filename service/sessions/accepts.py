"""The suggestions that a session has made at its current revision, so that one can be accepted by its id."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b

from service.errors import InvalidArgument, RevisionConflict
from service.sessions.commands import Accept, Units
from service.sessions.units import measure, prefix_length

_CAPACITY = 64
"""Suggestions kept: four answers of the most that one answer holds."""

_ID = re.compile(r"([0-9]{1,20})-[0-9a-f]{16}", re.ASCII)


class OfferedSuggestions:
    """What may be accepted: by id, and only until the next edit, as a suggestion continues one text."""

    __slots__ = ("_text_by_id",)

    def __init__(self, revision: int = 0, texts: Iterable[str] = ()) -> None:
        """Empty, or with the `texts` that were offered at `revision`, the oldest first."""
        self._text_by_id: dict[str, str] = {}
        for text in texts:
            self.offer(revision, text)

    @property
    def texts(self) -> tuple[str, ...]:
        """What is offered, the oldest first."""
        return tuple(self._text_by_id.values())

    def offer(self, revision: int, text: str) -> str:
        """Keep a suggestion made at `revision`, the current one; its id.

        The id is the revision and a digest of the text: the same suggestion has the same id whenever it is made.
        """
        suggestion = f"{revision}-{blake2b(text.encode(), digest_size=8).hexdigest()}"
        if suggestion not in self._text_by_id and len(self._text_by_id) >= _CAPACITY:
            del self._text_by_id[next(iter(self._text_by_id))]
        self._text_by_id[suggestion] = text
        return suggestion

    def forget(self) -> None:
        """The revision has changed: nothing that was suggested fits any more."""
        if self._text_by_id:
            self._text_by_id = {}

    def accept(self, edit: Accept, revision: int, units: Units, path: str) -> str:
        """The text that `edit` inserts at `revision`, the current one.

        Raises RevisionConflict for a suggestion of another revision, InvalidArgument for one that was never made or
        is no longer kept, and for a `length` outside of it or inside a character.
        """
        text = self._text_by_id.get(edit.suggestion)
        if text is None:
            written = _ID.fullmatch(edit.suggestion)
            if written is not None and int(written[1]) < revision:
                raise RevisionConflict(
                    f"{path}.suggestion: made at revision {written[1]}, the session is at {revision}: ask for new ones",
                    revision,
                )
            raise InvalidArgument(f"{path}.suggestion", "no such suggestion: name one of the last answers, or insert")
        if edit.length is None:
            return text
        return text[: prefix_length(text, measure(text), edit.length, units, f"{path}.length")]
