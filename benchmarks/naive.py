"""`carousel bench naive`: keystrokes per second, against the simplest honest server.

Both servers run the same graph with one thread, both get the same held-out code typed after the same context, and every
keystroke waits for a greedy suggestion. They are measured by turns, one idle while the other works.
"""

from __future__ import annotations

import asyncio
import http.client
import json as json_text
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmarks.machine import Circumstances, arguments_of_this_process, circumstances
from benchmarks.options import JsonOption, ModelOption, OutOption, SaveOption, caption, failing_in_one_line
from benchmarks.pictures import Bar, draw_bars
from benchmarks.ratios import Ratio, ratio_of
from benchmarks.report import RESULTS, Figure, Report, conclude
from benchmarks.serving import Measured, own_process, own_server
from benchmarks.texts import held_out_text
from carousel_client import Insert, Stop, SuggestOptions
from carousel_client.aio import AsyncClient, AsyncSession
from service.settings import shipped_model

BAR = 50.0
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One server's turn."""

    keystrokes: int
    seconds: float
    client_cpu_s: float

    @property
    def rate(self) -> float:
        """Keystrokes per second."""
        return self.keystrokes / self.seconds


@dataclass(frozen=True, slots=True)
class Compared:
    """The turns of both servers with one number of clients."""

    clients: int
    carousel: list[Turn]
    naive: list[Turn]

    @property
    def ratio(self) -> Ratio:
        """Keystrokes per second of Carousel over those of the naive server."""
        return ratio_of([turn.rate for turn in self.carousel], [turn.rate for turn in self.naive])


def naive(
    context_bytes: Annotated[int, typer.Option(min=1, help="Text before the first key.")] = 2_000,
    max_bytes: Annotated[int, typer.Option(min=1, max=512, help="Bytes of a suggestion.")] = 16,
    clients: Annotated[list[int] | None, typer.Option(help="Typists at once; 1 and 16 if none.")] = None,
    repetitions: Annotated[int, typer.Option(min=1, help="Turns of each server.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of a turn.")] = 5.0,
    precision: Annotated[Literal["fp32", "int8"], typer.Option(help="The graph that both serve.")] = "int8",
    model: ModelOption = None,
    out: OutOption = RESULTS,
    save: SaveOption = True,
    json: JsonOption = False,
) -> None:
    """Type on Carousel and on a server that feeds the whole context at every key, by turns."""
    where = circumstances(arguments_of_this_process())
    folder = model or shipped_model()
    with (
        failing_in_one_line(),
        own_server(folder, ("--precision", precision)) as measured,
        own_process("-m", "benchmarks.naive_server", str(folder), precision, str(max_bytes)) as other,
    ):
        naive_at = (str(other["host"]), int(other["port"]))
        compared = [
            compare(measured, naive_at, number, context_bytes, max_bytes, repetitions, seconds)
            for number in clients or (1, 16)
        ]
    settings = {
        "context_bytes": context_bytes,
        "max_bytes": max_bytes,
        "repetitions": repetitions,
        "seconds": seconds,
        "precision": precision,
    }
    report = report_of(compared, settings, where)

    def draw(path: Path) -> None:
        bars = [
            Bar(f"{name}, {one.clients} typist{'s'[: one.clients > 1]}", rate)
            for one in compared
            for name, rate in (("Carousel", _rate(one.carousel)), ("naive", _rate(one.naive)))
        ]
        draw_bars(path, bars, title=report.title, unit="keystrokes/s", caption=caption(where), logarithmic=True)

    conclude(report, as_json=json, folder=out if save else None, draw=draw)


def compare(
    measured: Measured,
    naive_at: tuple[str, int],
    clients: int,
    context_bytes: int,
    max_bytes: int,
    repetitions: int,
    seconds: float,
) -> Compared:
    """Both servers by turns; each typist has a text of his own. Raises BenchmarkError and CarouselErrors."""
    length = context_bytes + 4_000
    text = held_out_text(length + 997 * clients * repetitions)
    carousel, other = [], []
    for repetition in range(repetitions):
        starts = [997 * (repetition * clients + number) for number in range(clients)]
        texts = [text[start : start + length] for start in starts]
        carousel.append(asyncio.run(type_on_carousel(measured, texts, context_bytes, max_bytes, seconds)))
        other.append(type_on_naive(naive_at, texts, context_bytes, seconds))
    return Compared(clients, carousel, other)


async def type_on_carousel(
    measured: Measured, texts: Sequence[str], context_bytes: int, max_bytes: int, seconds: float
) -> Turn:
    """Every text by a typist of its own, for so long. The context is read before the time begins."""
    suggest = SuggestOptions(1, max_bytes, Stop.NONE)
    async with AsyncClient(measured.target, timeout_s=_TIMEOUT_S) as client:
        sessions = [await client.create(text[:context_bytes]) for text in texts]
        await asyncio.gather(*(session.edit([], suggest=suggest) for session in sessions))
        began_s, cpu_began_s = time.perf_counter(), time.process_time()

        async def type_on(session: AsyncSession, coming: str) -> int:
            for number, character in enumerate(coming):
                if time.perf_counter() - began_s > seconds:
                    return number
                await session.edit([Insert(character)], suggest=suggest)
            return len(coming)

        typed = await asyncio.gather(
            *(type_on(session, text[context_bytes:]) for session, text in zip(sessions, texts, strict=True))
        )
        turn = Turn(sum(typed), time.perf_counter() - began_s, time.process_time() - cpu_began_s)
        await asyncio.gather(*(session.close() for session in sessions))
    return turn


def type_on_naive(naive_at: tuple[str, int], texts: Sequence[str], context_bytes: int, seconds: float) -> Turn:
    """The same texts, each keystroke sending all of the text so far; one connection for each typist, kept open."""
    typed = [0] * len(texts)
    began_s, cpu_began_s = time.perf_counter(), time.process_time()

    def type_on(number: int, text: str) -> None:
        connection = http.client.HTTPConnection(*naive_at, timeout=_TIMEOUT_S)
        for end in range(context_bytes + 1, len(text) + 1):
            if time.perf_counter() - began_s > seconds:
                break
            body = json_text.dumps({"text": text[end - context_bytes : end]})  # so many bytes at every key
            connection.request("POST", "/suggest", body, {"content-type": "application/json"})
            json_text.loads(connection.getresponse().read())["text"]
            typed[number] += 1
        connection.close()

    threads = [threading.Thread(target=type_on, args=(number, text)) for number, text in enumerate(texts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Turn(sum(typed), time.perf_counter() - began_s, time.process_time() - cpu_began_s)


def report_of(compared: Sequence[Compared], settings: Mapping[str, object], where: Circumstances) -> Report:
    """The table: for each number of typists the ratio and both rates."""
    figures = []
    for one in compared:
        said = f"{one.clients} typist{'s' if one.clients > 1 else ''}"
        cpu = sum(turn.client_cpu_s for turn in one.carousel) / sum(turn.seconds for turn in one.carousel)
        figures += [
            Figure(
                f"over_naive_{one.clients}",
                f"keystrokes per second over the naive server's, {said}",
                one.ratio.value,
                digits=1,
                bar=f">= {BAR:.0f}",
            ),
            Figure(f"carousel_{one.clients}_per_s", "  Carousel", _rate(one.carousel), "keystrokes/s", 1),
            Figure(f"naive_{one.clients}_per_s", "  naive server", _rate(one.naive), "keystrokes/s", 2),
            Figure(f"client_cpu_share_{one.clients}", "  CPU of the load generator on Carousel, of one core", cpu),
        ]
    title = f"naive: keystrokes per second at {settings['context_bytes']:,} bytes of context"
    return Report("naive", title, tuple(figures), where, settings)


def _rate(turns: Sequence[Turn]) -> float:
    return sum(turn.keystrokes for turn in turns) / sum(turn.seconds for turn in turns)
