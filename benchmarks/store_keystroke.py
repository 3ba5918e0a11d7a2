"""What keeping a keystroke costs: commits of many typists at once, without engine or network, by store.

`python -m benchmarks.store_keystroke [--typists 64] [--valkey URL] [--json]` prints for each store the processor time
of the loop's thread and of the whole process for one keystroke, and how many were acknowledged in a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import uvloop

from service.sessions.commands import CreateSession, EditSession, Insert, SessionId, Tenant
from service.sessions.fake_suggester import FakeSuggester
from service.sessions.ports import Store
from service.sessions.service import Sessions
from service.sessions.stores.memory import MemoryStore
from service.sessions.stores.sqlite import SqliteStore

_TENANT = Tenant("default")
_SWITCH_INTERVAL_S = 0.0005  # as the server's


async def measure(store: Store, typists: int, keystrokes: int) -> dict[str, float]:
    """Microseconds of the loop's thread and of the process for a keystroke, and keystrokes a second."""
    ids, incarnations = count(1), count(1)
    suggester = FakeSuggester()
    sessions = Sessions(
        {"fake": suggester}, store, new_id=lambda: str(next(ids)), new_incarnation=lambda: next(incarnations)
    )
    views = [await sessions.create(_TENANT, CreateSession("a" * 1_000)) for _ in range(typists)]

    async def type_in(session: SessionId) -> None:
        for index in range(keystrokes):
            await sessions.commit(_TENANT, EditSession(session, 1 + index, (Insert("x"),), f"edit-{index}"))

    clocks = (time.perf_counter, time.thread_time, time.process_time)
    began = [clock() for clock in clocks]
    await asyncio.gather(*(type_in(view.id) for view in views))
    taken = [clock() - then for clock, then in zip(clocks, began, strict=True)]
    suggester.advances.clear()
    await sessions.close()
    many = typists * keystrokes
    return {"loop_us": taken[1] / many * 1e6, "process_us": taken[2] / many * 1e6, "per_s": many / taken[0]}


def stores(folder: Path, valkey: str | None) -> dict[str, Callable[[], Store]]:
    """How to make each store."""

    def sqlite(acknowledge: Literal["store", "fsync", "memory"]) -> Callable[[], Store]:
        def made() -> Store:
            store = SqliteStore(folder / f"{acknowledge}.sqlite", acknowledge=acknowledge)
            store.opened()
            return store

        return made

    made: dict[str, Callable[[], Store]] = {"memory": MemoryStore}
    made |= {f"sqlite_{level}": sqlite(level) for level in ("store", "fsync", "memory")}
    if valkey is not None:
        from service.sessions.stores.valkey import ValkeyStore

        made["valkey_store"] = lambda: ValkeyStore(valkey)
    return made


def main() -> None:
    """Measure every store, and print a line for each or a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--typists", type=int, default=64)
    parser.add_argument("--keystrokes", type=int, default=300, help="of each typist")
    parser.add_argument("--valkey", help="URL of a server to measure, too")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    figures = {}
    with TemporaryDirectory() as folder:
        for name, make in stores(Path(folder), given.valkey).items():
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                figures[name] = runner.run(_of(make, given.typists, given.keystrokes))
    if given.json:
        print(json.dumps(figures))
        return
    for name, one in figures.items():
        times = f"{one['loop_us']:7.1f} us of the loop, {one['process_us']:7.1f} us in all"
        print(f"{name:14} {times}, {one['per_s']:9,.0f}/s")


async def _of(make: Callable[[], Store], typists: int, keystrokes: int) -> dict[str, float]:
    return await measure(make(), typists, keystrokes)


if __name__ == "__main__":
    main()
