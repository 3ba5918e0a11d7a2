"""Types a text through a `Type` stream, one keystroke at a time, and measures each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.replay.typist import Key, next_keystroke
from benchmarks.report import BenchmarkError
from carousel_client import Client, Edit, Rejected, Suggested, Suggestion, SuggestOptions, TypingStream


@dataclass(slots=True)
class Replayed:
    """What typing some texts took. `latencies_s`: from sending a keystroke to its suggestions, in order."""

    text_bytes: int = 0
    characters: int = 0
    keys: Counter[Key] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def keystrokes(self) -> int:
        """Keys that were pressed."""
        return self.keys.total()

    @property
    def savings(self) -> float:
        """The share of characters that took no key of their own: 1 - keystrokes / characters."""
        return 1 - self.keystrokes / self.characters


def replay_text(
    client: Client,
    text: str,
    suggest: SuggestOptions,
    replayed: Replayed,
    *,
    typed: Callable[[int], None],
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Type `text` into an empty session and add what it took to `replayed`; `typed` hears of progress, in characters.

    The next key is pressed when the suggestions for the last one are there, as a reading typist would. Raises
    BenchmarkError if the session does not end with exactly `text`, and CarouselErrors.
    """
    began_s = clock()
    with client.session() as session:
        with session.typing() as stream:
            suggestions = _press(stream, None, suggest, replayed, clock)
            position = 0
            while position < len(text):
                keystroke = next_keystroke(text[position : position + suggest_reach(suggest)], suggestions)
                position += keystroke.length
                replayed.keys[keystroke.key] += 1
                suggestions = _press(stream, keystroke.edit, suggest, replayed, clock)
                typed(keystroke.length)
            stream.drain()
        if session.text() != text:
            raise BenchmarkError("the session does not hold the text that was typed: the server or the replay is wrong")
    replayed.characters += len(text)
    replayed.text_bytes += len(text.encode())
    replayed.seconds += clock() - began_s


def suggest_reach(suggest: SuggestOptions) -> int:
    """Characters of the coming text that a suggestion can cover; looking no further keeps long files linear."""
    return (suggest.max_bytes or 512) + 1


def _press(
    stream: TypingStream,
    edit: Edit | None,
    suggest: SuggestOptions,
    replayed: Replayed,
    clock: Callable[[], float],
) -> tuple[Suggestion, ...]:
    """Send one keystroke and wait for its suggestions. Raises the error if it is refused."""
    at_s = clock()
    edit_id = stream.send(*([] if edit is None else [edit]), suggest=suggest)
    for event in stream:
        if isinstance(event, Suggested) and event.edit_id == edit_id:
            if edit is not None:
                replayed.latencies_s.append(clock() - at_s)
            return event.suggestions
        if isinstance(event, Rejected):
            raise event.error
    raise BenchmarkError("the server ended the stream")
