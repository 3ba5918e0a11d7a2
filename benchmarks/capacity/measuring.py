"""Counts what keystrokes and sessions cost, on servers of its own: by what Linux and they themselves count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.capacity.backing import Valkey, own_envoy, own_valkey
from benchmarks.capacity.costs import BASE, VARIANTS, Costs, KeystrokeCosts, SessionCosts, Variant, WireCosts
from benchmarks.capacity.scheduled import Scheduled, scheduled
from benchmarks.memory import state_bytes, texts
from benchmarks.percentiles import percentile
from benchmarks.report import BenchmarkError
from benchmarks.serving import Measured, own_server
from benchmarks.texts import held_out_text
from benchmarks.workers import Worker
from carousel_client import Insert, Stop, SuggestOptions
from carousel_client.aio import AsyncClient
from service.settings import shipped_model

MAX_BYTES = 16  # of a suggestion
_BUDGET = 256 << 20  # as deploy/base
_COLUMNS_BYTES = 144  # what the state tree keeps of a node beside its state
_CONNECTIONS = 4  # a proxy brings many people over few
_CROWD = 64
_TEXT_BYTES = 4_000  # typed by each, from another part of the held-out code
_SESSION_TEXT, _DISTINCT = 2_000, 64
_STORED, _AT_ONCE = 8, 32  # one in so many is stored with its state
_SETTLED_S, _SETTLED_WITHIN_S = 0.5, 10.0
_WIRE_KEYS_S, _WIRE_PAUSE_S = 4.0, 0.1
_TIMEOUT_S = 60.0
_APART_BYTES, _PHASE_BYTES = 100, 17
_ALONE = 1.5  # how much more a keystroke costs, as a guess, when people type at their pace: batches are smaller
_NEAR = 1.15  # how far from the plan's load is near enough
_WORKER = "benchmarks.capacity.people"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long is typed, how fast by each, how busy the server shall be, and how well it must have served."""

    seconds: float = 5.0
    warm_up_s: float = 1.5
    pause_s: float = 1 / 4.3
    utilization: float = 0.7
    sessions: int = 4_000  # that are held, to know what one takes
    answered: float = 0.95  # the share of keys whose suggestions must come, not shed and not overtaken
    trials: int = 5  # to find how many people make the server as busy as it shall be


Say = Callable[[str], None]


def measure(plan: Plan, model: Path | None, say: Say) -> Costs:
    """Everything, in some two minutes. `say` hears what is measured now. Raises BenchmarkError."""
    keystroke = {}
    for name, variant in VARIANTS.items():
        say(name)
        keystroke[name] = keystroke_costs(plan, variant, model)
    say("through Envoy")
    proxy_s = _proxy_seconds(plan, model, keystroke[BASE].people)
    say("the wire")
    wire, server_bytes = _wire(model)
    say("sessions")
    return Costs(keystroke, _sessions(plan.sessions, model), wire, proxy_s, server_bytes, _BUDGET)


@dataclass(frozen=True, slots=True)
class _Served:
    """A server of one variant, and what it keeps sessions in."""

    measured: Measured
    valkey: Valkey | None
    folder: Path


@contextmanager
def _served(variant: Variant, model: Path | None) -> Iterator[_Served]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        valkey = stack.enter_context(own_valkey(folder)) if variant.store == "valkey" else None
        store = f"sqlite:{folder / 'sessions.sqlite'}" if valkey is None else valkey.url
        flags = ("--precision", variant.precision, "--state-budget", str(_BUDGET), "--store", store)
        yield _Served(stack.enter_context(own_server(model, flags)), valkey, folder)


def keystroke_costs(plan: Plan, variant: Variant, model: Path | None) -> KeystrokeCosts:
    """First as fast as answers come, to know what is the most; then as many people as the plan has, at their pace.

    Raises BenchmarkError.
    """
    with _served(variant, model) as served:
        target = served.measured.target
        with _people(target, _CROWD, variant.count) as crowd:
            crowd.ask(do="type", seconds=plan.warm_up_s / 2, pause_s=0.0)
            before = scheduled(served.measured.pid)
            typed = crowd.ask(do="type", seconds=plan.seconds / 2, pause_s=0.0)
            ran_s = (scheduled(served.measured.pid) - before).ran_s
            each_s = ran_s / max(len(typed["latencies_ms"]), 1)  # what was shed was no answer
        most_per_s = 1 / each_s
        count = _count(plan, _ALONE * each_s)
        for trial in range(1, plan.trials + 1):
            with _people(target, count, variant.count, phase=trial) as people:
                people.ask(do="type", seconds=plan.warm_up_s, pause_s=plan.pause_s)
                earlier = _counted(served)
                typed = people.ask(do="type", seconds=plan.seconds, pause_s=plan.pause_s)
                later = _counted(served)
            if not typed["latencies_ms"]:
                count = max(count // 3, 1)
                continue
            costs = _costs_of(typed, earlier, later, people=count, most_per_s=most_per_s)
            answered = len(typed["latencies_ms"]) >= plan.answered * typed["keystrokes"]
            wanted = _count(plan, costs.server_s)
            if answered and (count <= wanted * _NEAR or trial == plan.trials):
                return costs
            # What a keystroke costs depends on how many type; or somebody else wants this machine, too.
            count = wanted if answered else max(min(wanted, count // 2), 1)
    raise BenchmarkError("the server could not answer what it should: measure on a machine that is not busy")


def _count(plan: Plan, keystroke_s: float) -> int:
    """How many people keep a server as busy as the plan has it, if a keystroke costs so much."""
    return max(int(plan.utilization * plan.pause_s / keystroke_s), 1)


def _costs_of(
    typed: Mapping[str, Any], earlier: _Counted, later: _Counted, *, people: int, most_per_s: float
) -> KeystrokeCosts:
    keys = typed["keystrokes"]
    each = {name: (later.counters[name] - earlier.counters[name]) / keys for name in later.counters}
    server, store = later.server - earlier.server, later.store - earlier.store
    return KeystrokeCosts(
        server_s=server.ran_s / keys,
        model_s=each["model_s"] * server.share,  # steps are timed by the clock, which goes on while others run
        steps=each["steps"],
        store_s=store.ran_s / keys,
        store_operations=each["appends"],
        store_bytes_in=each["bytes_in"],
        store_bytes_out=each["bytes_out"],
        appended_bytes=each["appended"],
        p50_ms=percentile(typed["latencies_ms"], 50),
        p99_ms=percentile(typed["latencies_ms"], 99),
        people=people,
        most_per_s=most_per_s,
        undisturbed=server.share,
        client_cpu_share=typed["cpu_share"],
    )


@contextmanager
def _people(
    target: str, count: int, suggestions: int, *, connections: int = _CONNECTIONS, phase: int = 0
) -> Iterator[Worker]:
    """Each types from another place in the held-out code; those of another `phase` from others again.

    A text that begins as another one has its states already, which people who type for themselves do not find.
    """
    text = held_out_text((count + 1) * _APART_BYTES + _TEXT_BYTES)
    with Worker(_WORKER, target, str(min(connections, count))) as worker:
        starts = [number * _APART_BYTES + phase * _PHASE_BYTES for number in range(count)]
        own = [text[start : start + _TEXT_BYTES] for start in starts]
        worker.ask(do="open", texts=own, count=suggestions, max_bytes=MAX_BYTES)
        yield worker


@dataclass(frozen=True, slots=True)
class _Counted:
    """Everything that grows by the keystroke."""

    counters: Mapping[str, float]
    server: Scheduled
    store: Scheduled


def _counted(served: _Served) -> _Counted:
    server, valkey = served.measured, served.valkey
    stored = dict.fromkeys(("bytes_in", "bytes_out", "appended"), 0.0) if valkey is None else valkey.counted()
    counters = {
        **stored,
        "steps": server.counter("carousel_model_steps_total"),
        "model_s": server.counter("carousel_step_duration_seconds_sum"),
        "appends": server.counter("carousel_store_duration_seconds_count", op="append"),
    }
    store = Scheduled(0.0, 0.0) if valkey is None else scheduled(valkey.pid)
    return _Counted(counters, scheduled(server.pid), store)


def _proxy_seconds(plan: Plan, model: Path | None, count: int) -> float:
    """CPU of an Envoy for a keystroke, every person with a connection of his own."""
    with (
        TemporaryDirectory() as folder,
        _served(VARIANTS[BASE], model) as served,
        own_envoy(Path(folder), served.measured) as (target, pid),
        _people(target, count, VARIANTS[BASE].count, connections=count) as people,
    ):
        people.ask(do="type", seconds=plan.warm_up_s, pause_s=plan.pause_s)
        before = scheduled(pid)
        typed = people.ask(do="type", seconds=plan.seconds, pause_s=plan.pause_s)
        return (scheduled(pid) - before).ran_s / float(typed["keystrokes"])


def _wire(model: Path | None) -> tuple[WireCosts, float]:
    """Of one person with a connection of his own; and what the server took before he came."""
    with _served(VARIANTS[BASE], model) as served:
        server_bytes = served.measured.counter("process_resident_memory_bytes")
        with _people(served.measured.target, 1, VARIANTS[BASE].count) as person:
            person.ask(do="type", seconds=1.0, pause_s=_WIRE_PAUSE_S)
            before = person.ask(do="wire")
            typed = person.ask(do="type", seconds=_WIRE_KEYS_S, pause_s=_WIRE_PAUSE_S)
            after = person.ask(do="wire")
    each = {name: (after[name] - before[name]) / typed["keystrokes"] for name in after}
    return WireCosts(each["sent"], each["received"], each["segments_out"], each["segments_in"]), server_bytes


def _sessions(count: int, model: Path | None) -> SessionCosts:
    """What a server grows by that holds sessions without states, and what stores grow by, with states beside texts."""
    with _served(VARIANTS[BASE], model) as served:
        asyncio.run(_typed_once(served.measured, texts(count // 4, _SESSION_TEXT, _DISTINCT), None))
        before = served.measured.counter("process_resident_memory_bytes")
        asyncio.run(_typed_once(served.measured, texts(count, _SESSION_TEXT, _DISTINCT), None))
        resident = (served.measured.counter("process_resident_memory_bytes") - before) / count
    stored = {}
    for store in ("valkey", "sqlite"):
        with _served(Variant("int8", 1, store), model) as served:
            empty = _stored(served)
            every = texts(count // _STORED, _SESSION_TEXT, _DISTINCT)
            asyncio.run(_typed_once(served.measured, every, SuggestOptions(1, MAX_BYTES, Stop.NONE)))
            stored[store] = (_stored(served) - empty) / len(every)
    state = state_bytes(model or shipped_model(), "int8") + _COLUMNS_BYTES
    return SessionCosts(_SESSION_TEXT + 1, resident, state, stored["valkey"], stored["sqlite"])


def _stored(served: _Served) -> float:
    """Bytes of its store, once nothing is written any more: states are written after the edits that they belong to."""
    size, before = -1.0, -2.0
    until_s = time.monotonic() + _SETTLED_WITHIN_S
    while size != before and time.monotonic() < until_s:
        time.sleep(_SETTLED_S)
        before = size
        files = sum(path.stat().st_size for path in served.folder.glob("sessions.sqlite*"))
        size = float(files) if served.valkey is None else served.valkey.counted()["memory"]
    return size


async def _typed_once(server: Measured, every: Sequence[str], suggest: SuggestOptions | None) -> None:
    """A session of each text, with a key typed in it."""
    left = iter(every)

    async def one_after_another(client: AsyncClient) -> None:
        for text in left:
            await (await client.create(text)).edit([Insert("x")], suggest=suggest)

    async with AsyncClient(server.target, timeout_s=_TIMEOUT_S) as client, asyncio.TaskGroup() as tasks:
        for _ in range(_AT_ONCE):
            tasks.create_task(one_after_another(client))
