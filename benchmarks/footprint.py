"""What a replica takes: `python -m benchmarks.footprint` prints CPU and resident memory of a server at work.

The requests and limits of deploy/base come from these figures. Each typist edits a session of its own over gRPC and
asks for three suggestions: nobody at first, then people (five keystrokes a second each), then everybody as fast as
answers come, until the states fill their budget. CPU is the server's own, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from benchmarks.processor_time import cpu_seconds
from benchmarks.serving import Measured, own_server
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteStub

if TYPE_CHECKING:  # a class for type checkers alone
    from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteAsyncStub

_KEYSTROKE_S = 0.2
_BUDGET = 256 << 20
_SUGGEST = pb.SuggestOptions(count=3, max_bytes=16, stop=pb.STOP_LINE)
_WORDS = Path(__file__).read_text(encoding="utf-8").split()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="CPU and memory of a server at work.")
    parser.add_argument("--typists", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each part")
    given = parser.parse_args()
    with own_server(None, ("--state-budget", str(_BUDGET))) as server:
        asyncio.run(_measure(server, given.typists, given.seconds))


async def _measure(server: Measured, typists: int, seconds: float) -> None:
    print(f"{'':24}{'keystrokes/s':>14}{'CPU cores':>12}{'RSS MiB':>10}{'states MiB':>12}")
    await _part(server, "nobody types", 0, _KEYSTROKE_S, seconds / 2)
    await _part(server, f"{typists} people", typists, _KEYSTROKE_S, seconds)
    await _part(server, f"{typists} without a pause", typists, 0.0, seconds)
    await _part(server, f"{4 * typists} without a pause", 4 * typists, 0.0, seconds)
    print(f"most ever resident: {_memory_mib(server.pid, 'VmHWM'):.0f} MiB")


async def _part(server: Measured, name: str, typists: int, pause_s: float, seconds: float) -> None:
    until_s = time.monotonic() + seconds
    async with grpc.aio.insecure_channel(server.target) as channel:
        began_s, cpu_began_s = time.monotonic(), cpu_seconds(server.pid)
        stub = AutocompleteStub(channel)
        typed = await asyncio.gather(*(_type(stub, number, pause_s, until_s) for number in range(typists)))
        await asyncio.sleep(until_s - time.monotonic())
        passed_s = time.monotonic() - began_s
        cpu = (cpu_seconds(server.pid) - cpu_began_s) / passed_s
    states_mib = server.counter("carousel_state_bytes") / 2**20
    rate = sum(typed) / passed_s
    print(f"{name:24}{rate:14.0f}{cpu:12.2f}{_memory_mib(server.pid, 'VmRSS'):10.0f}{states_mib:12.0f}", flush=True)


async def _type(stub: AutocompleteAsyncStub, number: int, pause_s: float, until_s: float) -> int:
    """Type until the time is over; how many keystrokes were answered."""
    chosen = random.Random(number)
    await asyncio.sleep(chosen.random() * pause_s)
    made = await stub.CreateSession(pb.CreateSessionRequest(text=" ".join(chosen.sample(_WORDS, 20))))
    session, typed = made.session, 0
    for character in _text(chosen):
        if time.monotonic() >= until_s:
            break
        edit = pb.EditOperation(insert=character)
        asked = pb.EditRequest(session_id=session.id, revision=session.revision, edits=[edit], suggest=_SUGGEST)
        session = (await stub.Edit(asked)).session
        typed += 1
        await asyncio.sleep(pause_s)
    return typed


def _text(chosen: random.Random) -> Iterator[str]:
    while True:
        yield from " " + chosen.choice(_WORDS)


def _memory_mib(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(kib) / 1024


if __name__ == "__main__":
    main()
