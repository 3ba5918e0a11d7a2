"""`carousel bench overload`: what those who are served notice of ten times too many.

A server with a model slowed to some 200 requests per second. A request is an edit of a session (a letter nobody has
typed yet) that asks for a suggestion of 8 bytes. A closed loop finds the capacity; then an open loop offers just that,
and ten times that, by turns. Latency counts from the appointed time of a request. An open loop at capacity keeps a
queue: what bounds it there, as at ten times that, is what the engine takes on, half a second of work. Memory is flat
if what grows is no more than what each session remembers of its edits, the last 256 of them.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import string
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import grpc
import typer

from benchmarks.machine import Circumstances, arguments_of_this_process, circumstances
from benchmarks.open_loop import Ask, Load, Outcome, keep_asking, offer
from benchmarks.options import JsonOption, OutOption, SaveOption, caption, failing_in_one_line
from benchmarks.percentiles import percentile
from benchmarks.pictures import Series, draw_distribution
from benchmarks.ratios import Ratio, ratio_of
from benchmarks.report import RESULTS, Figure, Report, conclude
from benchmarks.serving import Measured, measured_of, own_process
from carousel_client.channels import CHANNEL_OPTIONS
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.generated.carousel.v1 import autocomplete_pb2_grpc as pb_grpc

P99_BAR = 2.0
_SUGGESTION_BYTES = 8
_RESIDENT = "process_resident_memory_bytes"
_CREATED_AT_ONCE = 64
_TIMEOUT_S = 60.0
_SETTLE_S = 3.0  # at capacity a queue grows slowly, and a stretch from an empty one would look better than it is


@dataclass(frozen=True, slots=True)
class Phases:
    """The stretches of load, by turns, and the server's resident bytes after each of those at ten times."""

    capacity_per_s: float
    at_capacity: list[Load]
    at_overload: list[Load]
    resident_bytes: list[float]

    @property
    def ratio(self) -> Ratio:
        """p99 of the admitted at overload over p99 at capacity."""
        return ratio_of([load.p99_s for load in self.at_overload], [load.p99_s for load in self.at_capacity])

    @property
    def growth(self) -> float:
        """Resident memory after the last stretch of overload over that after the first one."""
        return self.resident_bytes[-1] / self.resident_bytes[0]

    @property
    def bytes_per_edit(self) -> float:
        """By how much resident memory grew from the first overload on, for each edit that was committed meanwhile."""
        later = [*self.at_capacity[1:], *self.at_overload[1:]]
        edits = sum(load.outcomes[Outcome.ADMITTED] + load.outcomes[Outcome.SHED] for load in later)
        return (self.resident_bytes[-1] - self.resident_bytes[0]) / max(edits, 1)


class Editors:
    """Sessions, each under a tenant of its own, that are edited in turn; one that awaits an answer is passed over."""

    def __init__(self, stub: pb_grpc.AutocompleteAsyncStub) -> None:
        self._stub = stub
        self._chosen = random.Random(6)
        self._idle: deque[tuple[str, int]] = deque()  # id and revision
        self._numbers = itertools.count()

    async def open(self, count: int) -> None:
        """Create `count` sessions of the empty text."""
        for start in range(0, count, _CREATED_AT_ONCE):
            names = [f"editor-{number}" for number in range(start, min(start + _CREATED_AT_ONCE, count))]
            requests = [pb.CreateSessionRequest(id=name) for name in names]
            await asyncio.gather(
                *(
                    self._stub.CreateSession(request, timeout=_TIMEOUT_S, metadata=_tenant(request.id))
                    for request in requests
                )
            )
            self._idle.extend((name, 1) for name in names)

    async def edit(self) -> Outcome:
        """One edit with a suggestion, of the session that has been idle for longest."""
        name, revision = self._idle.popleft()
        request = pb.EditRequest(
            session_id=name,
            revision=revision,
            edit_id=str(next(self._numbers)),
            edits=[pb.EditOperation(insert=self._chosen.choice(string.ascii_letters))],
            suggest=pb.SuggestOptions(count=1, max_bytes=_SUGGESTION_BYTES, stop=pb.STOP_NONE),
        )
        try:
            answer = await self._stub.Edit(request, timeout=_TIMEOUT_S, metadata=_tenant(name))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            self._idle.append((name, revision))
            return Outcome.REFUSED
        self._idle.append((name, answer.session.revision))
        return Outcome.SHED if answer.finish_reason == pb.FINISH_REASON_SHED else Outcome.ADMITTED


def _tenant(name: str) -> tuple[tuple[str, str], ...]:
    return (("x-carousel-tenant", name),)


def overload(
    factor: Annotated[float, typer.Option(min=1, help="The load offered, over the capacity.")] = 10.0,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of a stretch of load.")] = 10.0,
    repetitions: Annotated[int, typer.Option(min=1, help="Stretches of each kind.")] = 3,
    ms_per_step: Annotated[float, typer.Option(min=0, help="How slow the model is, for each row of a batch.")] = 0.6,
    sessions: Annotated[int, typer.Option(min=1, help="Sessions that are edited in turn.")] = 4_000,
    out: OutOption = RESULTS,
    save: SaveOption = True,
    json: JsonOption = False,
) -> None:
    """Offer a slow server what it can do and ten times that, and compare the p99 of those who are served."""
    where = circumstances(arguments_of_this_process())
    server = ("-m", "benchmarks.slow_server", str(ms_per_step), "trust_tenant_header=true")
    with failing_in_one_line(), own_process(*server) as entry:
        phases = asyncio.run(measure(measured_of(entry), factor, seconds, repetitions, sessions))
    settings = {
        "factor": factor,
        "seconds": seconds,
        "repetitions": repetitions,
        "ms_per_step": ms_per_step,
        "sessions": sessions,
    }
    report = report_of(phases, settings, where)
    series = [
        Series(name, [second * 1e3 for load in loads for second in load.latencies_s])
        for name, loads in (("at capacity", phases.at_capacity), (f"at {factor:g} times", phases.at_overload))
    ]

    def draw(path: Path) -> None:
        draw_distribution(path, series, title=report.title, unit="ms", share_of="admitted", caption=caption(where))

    conclude(report, as_json=json, folder=out if save else None, draw=draw)


async def measure(measured: Measured, factor: float, seconds: float, repetitions: int, sessions: int) -> Phases:
    """Find the capacity, then offer it and `factor` times it by turns. Raises BenchmarkError."""
    async with grpc.aio.insecure_channel(measured.target, options=CHANNEL_OPTIONS) as channel:
        editors = Editors(pb_grpc.AutocompleteStub(channel))
        await editors.open(sessions)
        ask: Ask = editors.edit
        await keep_asking(ask, 64, min(seconds, 2.0))  # the server learns how fast it is
        capacity = (await keep_asking(ask, 64, seconds)).admitted_per_s
        phases = Phases(capacity, [], [], [])
        for _ in range(repetitions):
            phases.at_capacity.append(await offer(ask, capacity, seconds, settle_s=_SETTLE_S))
            phases.at_overload.append(await offer(ask, factor * capacity, seconds, settle_s=_SETTLE_S))
            phases.resident_bytes.append(measured.counter(_RESIDENT))
    return phases


def report_of(phases: Phases, settings: Mapping[str, object], where: Circumstances) -> Report:
    """The table."""
    factor = f"{settings['factor']:g}"
    at_capacity = [second for load in phases.at_capacity for second in load.latencies_s]
    at_overload = [second for load in phases.at_overload for second in load.latencies_s]
    turned_away = [second for load in phases.at_overload for second in load.turned_away_s] or [0.0]
    overloaded = phases.at_overload
    seconds = sum(load.seconds for load in overloaded)
    offered_for_s = sum(load.offered_for_s for load in overloaded)
    figures = (
        Figure(
            "p99_ratio",
            f"p99 of the admitted at {factor}x over p99 at capacity",
            phases.ratio.value,
            bar=f"<= {P99_BAR:g}",
        ),
        Figure("memory_growth", "resident memory, last overload over first", phases.growth, digits=3),
        Figure(
            "bytes_per_edit", "  growth per edit (a session remembers its last 256)", phases.bytes_per_edit, "bytes", 0
        ),
        Figure("resident_mib", "resident memory after the last", phases.resident_bytes[-1] / 2**20, "MiB", 0),
        Figure("capacity_per_s", "capacity", phases.capacity_per_s, "requests/s", 0),
        Figure(
            "offered_per_s",
            f"offered at {factor}x",
            sum(x.offered for x in overloaded) / offered_for_s,
            "requests/s",
            0,
        ),
        Figure("admitted_per_s", f"admitted at {factor}x", _rate(overloaded, Outcome.ADMITTED), "requests/s", 0),
        Figure("shed_per_s", "  edits without suggestions", _rate(overloaded, Outcome.SHED), "requests/s", 0),
        Figure("refused_per_s", "  edits refused", _rate(overloaded, Outcome.REFUSED), "requests/s", 0),
        Figure("p50_capacity_ms", "p50 at capacity", percentile(at_capacity, 50) * 1e3, "ms", 0),
        Figure("p99_capacity_ms", "p99 at capacity", percentile(at_capacity, 99) * 1e3, "ms", 0),
        Figure("p50_overload_ms", f"p50 of the admitted at {factor}x", percentile(at_overload, 50) * 1e3, "ms", 0),
        Figure("p99_overload_ms", f"p99 of the admitted at {factor}x", percentile(at_overload, 99) * 1e3, "ms", 0),
        Figure("p99_turned_away_ms", "p99 of those turned away", percentile(turned_away, 99) * 1e3, "ms", 0),
        Figure(
            "client_cpu_share",
            f"CPU of the load generator at {factor}x, of one core",
            sum(load.client_cpu_s for load in overloaded) / seconds,
        ),
    )
    return Report("overload", f"overload: {factor} times too many requests", figures, where, settings)


def _rate(loads: Sequence[Load], outcome: Outcome) -> float:
    return sum(load.outcomes[outcome] for load in loads) / sum(load.seconds for load in loads)
