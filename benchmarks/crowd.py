"""A crowd of typists, a process of its own: each presses the next key when the suggestion for the last one is there.

The same loop for every server that is compared; how a key is sent and what an answer says is the caller's.
Runs on the standard library alone, as benchmarks.lean_grpc does.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from benchmarks.lean_grpc import Connection, run

_SAMPLED_KEYS = 40


class Typist(ABC):
    """One typist and the text that is typed, from the start again once it is typed to its end."""

    def __init__(self, text: str) -> None:
        """text: ASCII, so that a character is a byte."""
        self._text, self.typed = text, 0
        self.suggested: list[str] = []  # for the first keys, what was suggested after each; bytes as Latin-1
        self._turn: Turn | None = None
        self._pressed_s = 0.0

    def begin(self, turn: Turn) -> None:
        """Press the first key of a turn."""
        self._turn = turn
        self._press(time.perf_counter())

    def answered(self, suggestion: bytes) -> None:
        """The suggestion for the last key is there: press the next one, unless the turn is over."""
        assert self._turn is not None  # nothing is pressed outside of a turn
        now_s = time.perf_counter()
        if len(self.suggested) < _SAMPLED_KEYS:
            self.suggested.append(suggestion.decode("latin-1"))
        if self._turn.answered(self._pressed_s, now_s):
            self._press(now_s)

    def _press(self, now_s: float) -> None:
        self._pressed_s = now_s
        character = self._text[self.typed % len(self._text)]
        self.typed += 1
        self.press(character)

    @abstractmethod
    def press(self, character: str) -> None:
        """Send a key; `answered` is called when its suggestion has come."""


class Turn:
    """A stretch of typing. Keys answered before its end make the rate; the latencies are those of all keys of it."""

    def __init__(self, typists: int, warm_up_s: float, seconds: float) -> None:
        """The time begins now; what is pressed in the first `warm_up_s` seconds is not counted."""
        self._begins_s = time.perf_counter() + warm_up_s
        self._ends_s = self._begins_s + seconds
        self._typing = typists
        self.seconds, self.keystrokes = seconds, 0
        self.latencies_s: list[float] = []

    @property
    def over(self) -> bool:
        """Whether the last key of everybody has been answered."""
        return self._typing == 0

    def answered(self, pressed_s: float, now_s: float) -> bool:
        """Count a key; whether another one is to be pressed."""
        if pressed_s >= self._begins_s:
            self.latencies_s.append(now_s - pressed_s)
        if now_s >= self._ends_s:
            self._typing -= 1
            return False
        if now_s >= self._begins_s:
            self.keystrokes += 1
        return True


def type_for(
    typists: Sequence[Typist], connections: Sequence[Connection], warm_up_s: float, seconds: float
) -> dict[str, Any]:
    """Everybody types for so long: a worker's answer. Raises LeanGrpcError and OSError.

    The generator's CPU is that of the whole turn, over the whole turn: `cpu_share` is of one core.
    """
    began_s, cpu_began_s = time.perf_counter(), time.process_time()
    turn = Turn(len(typists), warm_up_s, seconds)
    for typist in typists:
        typist.begin(turn)
    run(connections, lambda: turn.over)
    cpu_share = (time.process_time() - cpu_began_s) / (time.perf_counter() - began_s)
    return {
        "keystrokes": turn.keystrokes,
        "seconds": turn.seconds,
        "cpu_share": cpu_share,
        "latencies_ms": [round(latency_s * 1e3, 3) for latency_s in turn.latencies_s],
    }
