"""What a keystroke costs in the sessions alone: commit, record and movement, without engine, store or network.

`python -m benchmarks.session_keystroke [--json]` prints the median in microseconds by what the text is made of.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from itertools import count
from statistics import median
from time import perf_counter

from service.sessions.commands import CreateSession, EditSession, Insert, Tenant, Units
from service.sessions.fake_suggester import FakeSuggester
from service.sessions.service import Sessions
from service.sessions.stores.memory import MemoryStore

_KEYSTROKES = 2_000
_TENANT = Tenant("default")
_TEXTS = {
    "empty_us": "",
    "ascii_100k_us": "a" * 100_000,
    "accents_100k_us": "é" * 50_000,
    "emoji_100k_us": "😀" * 25_000,
    "ascii_1000k_us": "a" * 1_000_000,
}


async def keystroke_us(text: str, units: Units) -> float:
    """The median cost of one byte typed at the end of `text`, in microseconds."""
    ids, incarnations = count(1), count(1)
    suggester = FakeSuggester()
    sessions = Sessions(
        {"fake": suggester},
        MemoryStore(),
        new_id=lambda: str(next(ids)),
        new_incarnation=lambda: next(incarnations),
    )
    view = await sessions.create(_TENANT, CreateSession(text))
    taken = []
    for index in range(_KEYSTROKES):
        command = EditSession(view.id, 1 + index, (Insert("x"),), f"edit-{index}", units)
        started = perf_counter()
        await sessions.commit(_TENANT, command)
        taken.append(perf_counter() - started)
        suggester.advances.clear()
    await sessions.close()
    return median(taken) * 1e6


def main() -> None:
    """Measure every text in UTF-16 units, as editors send them, and print a line or a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    as_json = parser.parse_args().json
    figures = {name: round(asyncio.run(keystroke_us(text, Units.UTF16)), 1) for name, text in _TEXTS.items()}
    if as_json:
        print(json.dumps(figures))
    else:
        for name, figure in figures.items():
            print(f"{name:18} {figure:8.1f}")


if __name__ == "__main__":
    main()
