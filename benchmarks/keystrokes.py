"""A typist on one `Type` stream, and the time of each key: from sending it to having its suggestion."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.report import BenchmarkError
from benchmarks.texts import unforeseen_letter
from carousel_client import Client, Edit, Insert, Rejected, Suggested, SuggestOptions, TypingStream

_PASTE_BYTES = 50_000  # below the server's limit of one edit


class Typist:
    """One session under one pair of hands. `suggestion` is the last one that was shown, empty if there was none."""

    def __init__(self, stream: TypingStream, suggest: SuggestOptions, clock: Callable[[], float]) -> None:
        self._stream, self._suggest, self._clock = stream, suggest, clock
        self.suggestion = ""

    def press(self, *edits: Edit) -> float:
        """Send one key and wait for its suggestion; seconds. Raises the error of a refusal, and BenchmarkError."""
        at_s = self._clock()
        edit_id = self._stream.send(*edits, suggest=self._suggest)
        for event in self._stream:
            if isinstance(event, Suggested) and event.edit_id == edit_id:
                taken_s = self._clock() - at_s
                self.suggestion = event.suggestions[0].text if event.suggestions else ""
                return taken_s
            if isinstance(event, Rejected):
                raise event.error
        raise BenchmarkError("the server ended the stream")

    def press_unforeseen(self, chosen: random.Random) -> float:
        """Type a letter that was not suggested, so that its state has to be computed; seconds."""
        return self.press(Insert(unforeseen_letter(self.suggestion, chosen)))

    def type_blindly(self, text: str) -> None:
        """Type every character without looking at suggestions, as fast as the stream takes them."""
        for character in text:
            self._stream.send(Insert(character))
            if self._stream.unanswered >= 32:
                self._await_answers(8)
        self._await_answers(0)

    def _await_answers(self, left: int) -> None:
        while self._stream.unanswered > left:
            event = next(self._stream)
            if isinstance(event, Rejected):
                raise event.error


@contextmanager
def typing_after(
    client: Client, text: str, suggest: SuggestOptions, *, clock: Callable[[], float] = time.perf_counter
) -> Iterator[Typist]:
    """A typist in a session of this text, whose states are computed before the first key. Deleted when it is left."""
    with client.session() as session, session.typing() as stream:
        typist = Typist(stream, suggest, clock)
        for start in range(0, len(text), _PASTE_BYTES):
            typist.press(Insert(text[start : start + _PASTE_BYTES]))
        yield typist
        stream.drain()
