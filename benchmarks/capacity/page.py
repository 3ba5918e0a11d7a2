"""The tables of docs/capacity.md, put between its markers: the page holds no figure that was written by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.capacity.costs import BASE, SQLITE, VARIANTS, Costs
from benchmarks.capacity.needs import Assumptions, Needs, kept_bytes, limits, needs, parts, scenarios
from benchmarks.machine import Circumstances
from benchmarks.report import BenchmarkError

PAGE = Path("docs/capacity.md")
_BLOCK = re.compile(r"(<!-- computed: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(page: str, costs: Costs, given: Assumptions, where: Circumstances) -> str:
    """The page with every block between its markers computed anew. Raises BenchmarkError for one that is not known."""
    made = blocks(costs, given, where)
    asked = [name for _, name, _ in _BLOCK.findall(page)]
    if sorted(asked) != sorted(made):
        raise BenchmarkError(f"{PAGE} has the blocks {', '.join(asked)}, and should have {', '.join(made)}")
    return _BLOCK.sub(lambda found: f"{found[1]}{made[found[2]]}{found[3]}", page)


def blocks(costs: Costs, given: Assumptions, where: Circumstances) -> Mapping[str, str]:
    """Each by its name."""
    return {
        "machine": f"One process of the server on {where.cpu}, {where.cores} cores shared with Valkey, Envoy and the "
        f"people (`{where.command}`, {where.at[:10]}, load {where.load_at_start:.0f} when it began).\n",
        "answer": _answer(costs, given),
        "needs": _needs(needs(costs, BASE, given), given),
        "limits": _limits(costs, given),
        "parts": _parts(costs),
        "scenarios": _scenarios(costs, given),
        "keystrokes": _keystrokes(costs),
        "others": _others(costs, given),
        "assumptions": _assumptions(given),
    }


def _answer(costs: Costs, given: Assumptions) -> str:
    """The page's first sentences."""
    base = needs(costs, BASE, given)
    first, *_ = limits(costs, given)
    each = "" if first.shipped in (None, 1) else f", each of {first.shipped}"
    answer = (
        f"**{given.people:,} people who type at once** press {base.keystrokes_per_s / 1e6:.1f} million keys a second. "
        f"With one suggestion at every key that takes **{base.replicas:,} replicas of one core**, {base.stores:,} "
        f"Valkeys, {base.proxies:,} Envoys and {base.callers_out_bits_per_s / 1e9:.0f} Gbit/s to the callers. What "
        f"`deploy/overlays/operated` ships carries **{_people(first.people_shipped)} people**: then {first.unit}{each} "
        f"has used up {first.full}."
    )
    if first.shipped != 1:
        single = next(limit for limit in limits(costs, given) if limit.shipped == 1)
        answer += f" Its one Valkey is full at {_people(single.people)} people, by {single.full}."
    return answer + "\n"


def _needs(base: Needs, given: Assumptions) -> str:
    rows = [
        ("keystrokes, each with a suggestion", f"{base.keystrokes_per_s:,.0f}/s"),
        ("model steps", f"{base.steps_per_s:,.0f}/s"),
        (
            "cores of servers that are busy",
            f"{base.server_cores:,.0f}, {base.model_cores / base.server_cores:.0%} of them with the model",
        ),
        (
            f"replicas of one core at {given.utilization:.0%}",
            f"{base.replicas:,}, {base.people_per_replica:,.0f} people each",
        ),
        (
            "memory of a replica",
            f"{_mib(base.replica_bytes)}, with {base.states_per_person:,.0f} states for each person",
        ),
        ("memory of all replicas", _gib(base.replica_bytes * base.replicas)),
        ("cores of Valkey that are busy", f"{base.store_cores:,.0f}"),
        ("Valkeys", f"{base.stores:,}, {given.people / base.stores:,.0f} people each"),
        (f"memory of all Valkeys, {given.kept} sessions for each person", _gib(base.store_bytes)),
        (
            "appended to files",
            f"{base.appended_bytes_per_s / 1e9:.1f} GB/s",
        ),
        ("cores of Envoy that are busy", f"{base.proxy_cores:,.0f}"),
        ("Envoys of one core", f"{base.proxies:,}"),
        ("from callers; to callers", f"{_gbit(base.callers_in_bits_per_s)}; {_gbit(base.callers_out_bits_per_s)}"),
        ("between replicas and Valkeys", _gbit(base.store_bits_per_s)),
    ]
    return _table(("", f"{given.people:,} people"), rows)


def _limits(costs: Costs, given: Assumptions) -> str:
    rows = [
        (
            limit.unit,
            limit.full,
            _people(limit.people),
            "as many as wanted" if limit.shipped is None else f"{limit.shipped}: {_people(limit.people_shipped)}",
        )
        for limit in limits(costs, given)
    ]
    return _table(("one", "is full by", "at people", "`deploy/overlays/operated` has"), rows)


def _parts(costs: Costs) -> str:
    found = parts(costs)
    whole = sum(found.values())
    rows = [(name, f"{seconds * 1e6:,.0f} us", f"{seconds / whole:.0%}") for name, seconds in found.items()]
    return _table(
        ("of a keystroke with one suggestion", "CPU", "share"), [*rows, ("together", f"{whole * 1e6:,.0f} us", "")]
    )


def _scenarios(costs: Costs, given: Assumptions) -> str:
    found = scenarios(costs, given)
    base = found[BASE]
    rows = [
        (
            name,
            f"{one.replicas:,}",
            f"{one.replicas / base.replicas:.2f}",
            f"{one.people_per_replica:,.0f}",
            f"{one.stores:,}" if one.stores else "a file in each replica",
        )
        for name, one in found.items()
    ]
    return _table(("", "replicas", "of the first", "people each", "Valkeys"), rows)


def _keystrokes(costs: Costs) -> str:
    rows = [
        (
            name,
            f"{one.server_s * 1e6:,.0f} us",
            f"{one.model_s * 1e6:,.0f} us",
            f"{one.steps:.1f}",
            f"{one.store_s * 1e6:,.0f} us" if VARIANTS[name].store == "valkey" else "in the server",
            f"{one.people:,}",
            f"{one.p50_ms:.1f}; {one.p99_ms:.0f} ms",
            f"{one.most_per_s:,.0f}/s",
            f"{one.undisturbed:.0%}",
        )
        for name, one in costs.keystroke.items()
    ]
    head = (
        "",
        "server's CPU",
        "of it the model",
        "steps",
        "Valkey's CPU",
        "people",
        "p50; p99",
        "at most",
        "undisturbed",
    )
    return _table(head, rows)


def _others(costs: Costs, given: Assumptions) -> str:
    base, session, wire = costs.keystroke[BASE], costs.session, costs.wire
    rows = [
        ("an Envoy's CPU for a keystroke", f"{costs.proxy_s * 1e6:,.0f} us"),
        ("from the caller for a keystroke", f"{wire.bytes_in:,.0f} bytes in {wire.segments_in:.1f} segments"),
        ("to the caller for a keystroke", f"{wire.bytes_out:,.0f} bytes in {wire.segments_out:.1f} segments"),
        ("to Valkey; from it, for a keystroke", f"{base.store_bytes_in:,.0f}; {base.store_bytes_out:,.0f} bytes"),
        ("appended to Valkey's file for a keystroke", f"{base.appended_bytes:,.0f} bytes"),
        (
            "writes that the server asks a store for, by keystroke",
            f"{base.store_operations:.2f}; SQLite {costs.keystroke[SQLITE].store_operations:.2f}",
        ),
        ("a server before anybody types", _mib(costs.server_bytes)),
        (
            f"a held session of {session.text_bytes:,} bytes, states apart",
            f"{session.resident_bytes:,.0f} bytes of the server",
        ),
        ("a state with what belongs to it", f"{session.state_bytes:,.0f} bytes"),
        (
            f"a kept session of {session.text_bytes:,} bytes, with its state",
            f"{session.store_bytes:,.0f} bytes of Valkey; {session.file_bytes:,.0f} of a SQLite file",
        ),
        (f"the same of {given.text_bytes:,} bytes", f"{kept_bytes(costs, given):,.0f} bytes of Valkey"),
    ]
    return _table(("", "measured"), rows)


def _assumptions(given: Assumptions) -> str:
    rows = [
        ("keys a second of one person", f"{given.keystrokes_per_s:g}"),
        ("of them typing at this moment", f"{given.typing:.0%}"),
        ("how busy a core shall be", f"{given.utilization:.0%}"),
        ("bytes of a session's text", f"{given.text_bytes:,}"),
        ("sessions kept for each person", f"{given.kept}"),
        ("connections of an Envoy", f"{given.proxy_connections:,}"),
        ("memory of a Valkey", _mib(given.store_limit_bytes)),
        ("replicas that the autoscaler starts", f"{given.most_replicas}"),
    ]
    return _table(("", "assumed"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _people(number: float) -> str:
    """To two digits that count: more would promise more than was measured."""
    digits = max(len(str(int(number))) - 2, 0)
    return f"{round(number, -digits):,.0f}"


def _mib(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _gib(size: float) -> str:
    return f"{size / 2**30:,.0f} GiB"


def _gbit(rate: float) -> str:
    return f"{rate / 1e9:,.1f} Gbit/s"
