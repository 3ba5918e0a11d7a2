"""Sessions that go on greedily, over and over, each under a tenant of its own. A worker; see benchmarks.workers.

`python -m benchmarks.efficiency.completions HOST:PORT SESSIONS PROMPT_BYTES MAX_BYTES`. A completion that ends is
followed by one from a new session with another prompt: nobody is ever told what was computed before. One that is
refused, because many begin at once, is asked for again. What arrives is counted in bytes of text, between two moments
after all have begun.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections import deque
from collections.abc import Callable

from benchmarks.lean_grpc import Connection, Stream, call_head, run
from benchmarks.texts import held_out_text
from benchmarks.workers import answer_questions
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb

_SERVICE = "/carousel.v1.Autocomplete/"
_HELD_OUT_BYTES = 600_000
_AGAIN_AFTER_S = 0.1


class Completing:
    """Every session that completes now, and what has arrived of all of them."""

    def __init__(self, target: str, sessions: int, prompt_bytes: int, max_bytes: int) -> None:
        """Connect; nothing is asked for yet."""
        self._connection = Connection(target)
        self._prompt_bytes, self._max_bytes = prompt_bytes, max_bytes
        self._text = held_out_text(_HELD_OUT_BYTES)
        self._numbers = itertools.count()
        tenants = [{"x-carousel-tenant": f"tenant-{number}"} for number in range(sessions)]
        self._create = [call_head(target, _SERVICE + "CreateSession", tenant) for tenant in tenants]
        self._complete = [call_head(target, _SERVICE + "Complete", tenant) for tenant in tenants]
        self._streams: list[Stream | None] = [None] * sessions
        self._bytes = self._messages = self._ended = 0
        self._begun: set[int] = set()
        self._again: deque[tuple[float, Callable[[], None]]] = deque()  # when, and what, in this order
        self._refused = 0

    def answer(self, warm_up_s: float, seconds: float) -> dict[str, float]:
        """Complete for so long: a worker's answer. Raises LeanGrpcError and OSError."""
        self._begun.clear()
        self._again.clear()
        before, ended, refused = self._bytes, self._ended, self._refused
        for place in range(len(self._streams)):
            self._begin(place)
        self._run_for(warm_up_s, all_begun=True)
        first = self._now()
        self._run_for(seconds)
        last = self._now()
        for stream in self._streams:
            if stream is not None:
                stream.cancel()
        self._connection.flush()
        took_s, cpu_s, received, messages = (after - at for at, after in zip(first, last, strict=True))
        return {
            "bytes_per_s": received / took_s,
            "messages_per_s": messages / took_s,
            "cpu_share": cpu_s / took_s,
            "bytes": self._bytes - before,
            "ended": self._ended - ended,
            "refused": self._refused - refused,
        }

    def _run_for(self, seconds: float, *, all_begun: bool = False) -> None:
        """Receive for so long, and until all have begun if that is wanted."""
        until_s = time.perf_counter() + seconds

        def over() -> bool:
            while self._again and self._again[0][0] <= time.perf_counter():
                self._again.popleft()[1]()
            begun = not all_begun or len(self._begun) == len(self._streams)
            return begun and time.perf_counter() >= until_s

        run([self._connection], over)

    def _now(self) -> tuple[float, float, int, int]:
        return time.perf_counter(), time.process_time(), self._bytes, self._messages

    def _begin(self, place: int) -> None:
        """A new session of this tenant, and its completion as soon as it is there."""
        number = next(self._numbers)
        name = f"session-{number}"

        def complete() -> None:
            request = pb.CompleteRequest(session_id=name, max_bytes=self._max_bytes)
            stream = self._connection.open(self._complete[place], on_message, on_end)
            stream.on_refused = on_refused
            stream.send(request.SerializeToString(), end=True)
            self._streams[place] = stream

        def on_refused(_: Stream) -> None:
            self._refused += 1
            self._again.append((time.perf_counter() + _AGAIN_AFTER_S, complete))

        def on_message(_: Stream, message: bytes) -> None:
            text = pb.CompleteResponse.FromString(message).text
            self._bytes += len(text) if text.isascii() else len(text.encode())
            self._messages += 1
            self._begun.add(place)

        def on_end(_: Stream) -> None:
            self._ended += 1
            self._begun.add(place)
            self._begin(place)

        request = pb.CreateSessionRequest(id=name, text=prompt(self._text, number, self._prompt_bytes))
        creating = self._connection.open(self._create[place], _ignore, lambda _: complete())
        creating.send(request.SerializeToString(), end=True)
        self._streams[place] = creating


def prompt(text: str, number: int, size: int) -> str:
    """A part of the text, another one for every number: the text is cut elsewhere each time it is gone through."""
    rounds, place = divmod(number, (len(text) - size) // size)
    start = place * size + rounds % size
    return text[start : start + size]


def _ignore(_: Stream, __: bytes) -> None:
    """The answer to CreateSession: the name was ours."""


def main() -> None:
    """Do what is asked until there are no more questions."""
    target, *numbers = sys.argv[1:]
    sessions, prompt_bytes, max_bytes = map(int, numbers)
    answer_questions(Completing(target, sessions, prompt_bytes, max_bytes).answer)


if __name__ == "__main__":
    main()
