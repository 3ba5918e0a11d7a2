"""A crowd of typists on Carousel and the same crowd on Triton, by turns: keystrokes per second, and how long each took.

Everybody types real held-out code of his own, from its beginning, and presses the next key when the 16 bytes that the
same graph finds likeliest have come. Whichever server is not measured has nobody typing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.percentiles import percentile
from benchmarks.processor_time import ProcessorTime
from benchmarks.profiling import profiled
from benchmarks.ratios import Ratio, ratio_of
from benchmarks.report import BenchmarkError
from benchmarks.serving import own_server
from benchmarks.texts import held_out_text
from benchmarks.triton.server import TritonModel, interpreter, own_triton
from benchmarks.workers import Worker
from service.model.manifest import Precision

_TEXT_BYTES = 10_000  # of each typist; typed again from its beginning when it is done
_FIRST_SEQUENCE = 1
_TRIALS = 2
_TRIAL_S = 1.5
_SEPARATOR = b"\xff"  # it cannot occur in text; where it is likeliest, a suggestion ends
_CONNECTIONS = 1
# Measured with 64 typists: 2.5 k keystrokes/s without delay, 2.8 k with 1 ms, 3.3 k with 5 ms, and the lowest p99.
_TRITON_DELAY_US = 5_000


@dataclass(frozen=True, slots=True)
class CrowdPlan:
    """Who types, for how long, and on which model."""

    typists: int
    seconds: float
    warm_up_s: float
    repetitions: int
    max_bytes: int
    folder: Path


@dataclass(frozen=True, slots=True)
class CrowdTurn:
    """One turn of one server. Shares are of one core; the server's is that of all of its processes."""

    keystrokes_per_s: float
    latencies_ms: Sequence[float]
    generator_cpu_share: float
    server_cpu_share: float
    shed: int = 0

    @property
    def p99_ms(self) -> float:
        """Of the keystrokes of this turn."""
        return percentile(self.latencies_ms, 99)


@dataclass(frozen=True, slots=True)
class Crowds:
    """All turns. `triton` is empty where there is no Triton; `streamed` says how it was faster."""

    carousel: list[CrowdTurn]
    triton: list[CrowdTurn]
    streamed: bool = False
    compared: int = 0  # suggestions found to be the same on both

    @property
    def rate_ratio(self) -> Ratio:
        """Keystrokes per second over Triton's."""
        return ratio_of([turn.keystrokes_per_s for turn in self.carousel], [t.keystrokes_per_s for t in self.triton])

    @property
    def p99_ratio(self) -> Ratio:
        """The p99 over Triton's."""
        return ratio_of([turn.p99_ms for turn in self.carousel], [turn.p99_ms for turn in self.triton])


class _Crowd:
    """Typists in a process of their own, and the process of the server that they load."""

    def __init__(self, worker: Worker, server_pid: int) -> None:
        self._worker, self.server_pid = worker, server_pid

    def open(self, texts: Sequence[str], **options: Any) -> None:
        self._worker.ask(do="open", texts=texts, **options)

    def samples(self) -> list[list[str]]:
        found: list[list[str]] = self._worker.ask(do="samples")["samples"]
        return found

    def turn(self, warm_up_s: float, seconds: float) -> CrowdTurn:
        server = ProcessorTime(self.server_pid)
        typed = self._worker.ask(do="type", warm_up_s=warm_up_s, seconds=seconds)
        return CrowdTurn(
            typed["keystrokes"] / typed["seconds"],
            typed["latencies_ms"],
            typed["cpu_share"],
            server.share,
            typed.get("shed", 0),
        )


def compare_crowds(
    plan: CrowdPlan, precision: Precision, environment: Path | None, profile: Path | None = None
) -> Crowds:
    """Type on both by turns with that graph, or on Carousel alone if `environment`, Triton's, is None.

    With `profile`, py-spy records Carousel's server in one more turn, which is not counted. Raises BenchmarkError, also
    if a suggestion is not the same on both servers, and WorkerError.
    """
    texts = texts_of(plan.typists)
    carousel, triton = [], []
    with _on_carousel(plan, precision) as ours:
        ours.open(texts)
        with nullcontext() if environment is None else _on_triton(plan, precision, environment) as other:
            streamed = other is not None and _faster_streamed(other, texts)
            if other is not None:
                other.open(texts, streamed=streamed, first_sequence=_FIRST_SEQUENCE)
            for _ in range(plan.repetitions):
                if other is not None:
                    triton.append(other.turn(plan.warm_up_s, plan.seconds))
                carousel.append(ours.turn(plan.warm_up_s, plan.seconds))
            compared = 0 if other is None else count_same(ours.samples(), other.samples())
        if profile is not None:
            with profiled(ours.server_pid, profile, plan.seconds):
                ours.turn(plan.warm_up_s, plan.seconds)
    return Crowds(carousel, triton, streamed, compared)


def texts_of(typists: int) -> list[str]:
    """Held-out code, another part of it for each."""
    text = held_out_text(typists * _TEXT_BYTES)
    return [text[start : start + _TEXT_BYTES] for start in range(0, len(text), _TEXT_BYTES)]


def count_same(ours: Sequence[Sequence[str]], others: Sequence[Sequence[str]]) -> int:
    """How many suggestions were compared and found the same; bytes as Latin-1, by typist and key.

    What is not ASCII is not compared: Carousel never suggests half a character, Triton's backend does not know of them.
    Raises BenchmarkError if one differs, or there is nothing to compare.
    """
    compared = 0
    for typist, (one, other) in enumerate(zip(ours, others, strict=True)):
        for key, (suggested, raw) in enumerate(zip(one, other, strict=False)):
            expected = raw.encode("latin-1").split(_SEPARATOR)[0]
            if not expected.isascii():
                continue
            if suggested.encode("latin-1") != expected:
                differing = f"Carousel suggests {suggested!r}, Triton {expected!r} by the same graph"
                raise BenchmarkError(f"typist {typist}, key {key}: {differing}")
            compared += 1
    if compared == 0:
        raise BenchmarkError("the typists were suggested nothing that can be compared")
    return compared


@contextmanager
def _on_carousel(plan: CrowdPlan, precision: Precision) -> Iterator[_Crowd]:
    flags = ("--store", "memory:", "--precision", precision)
    with own_server(plan.folder, flags) as measured:
        arguments = (measured.target, str(_CONNECTIONS), str(plan.max_bytes))
        with Worker("benchmarks.replay.carousel_typists", *arguments) as worker:
            yield _Crowd(worker, measured.pid)


@contextmanager
def _on_triton(plan: CrowdPlan, precision: Precision, environment: Path) -> Iterator[_Crowd]:
    model = TritonModel(plan.folder, precision, plan.typists, plan.max_bytes, _TRITON_DELAY_US)
    python = interpreter(environment)
    if python is None:
        raise BenchmarkError(f"there is no Triton in {environment}; make it with: make triton-env")
    with (
        own_triton(model, environment) as server,
        Worker("benchmarks.triton.typists", server.target, str(_CONNECTIONS), python=python) as worker,
    ):
        yield _Crowd(worker, server.pid)


def _faster_streamed(triton: _Crowd, texts: Sequence[str]) -> bool:
    """Whether Triton answers more keystrokes over streams than over unary calls: the better one is compared."""
    most = {True: 0.0, False: 0.0}
    for _ in range(_TRIALS):
        for streamed in most:
            triton.open(texts, streamed=streamed, first_sequence=_FIRST_SEQUENCE)
            most[streamed] = max(most[streamed], triton.turn(_TRIAL_S / 3, _TRIAL_S).keystrokes_per_s)
    return most[True] > most[False]
