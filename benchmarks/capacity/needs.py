"""What people who type at once need: arithmetic over measured costs and stated assumptions, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchmarks.capacity.costs import BASE, UNASKED, VARIANTS, Costs, KeystrokeCosts

BITS_PER_BYTE = 8


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is not measured. docs/capacity.md says where each comes from.

    segment_bytes: headers of a segment: Ethernet 14, IPv4 20, TCP 20 and its timestamps 12.
    """

    people: int = 1_000_000
    keystrokes_per_s: float = 4.3  # of one person
    typing: float = 1.0  # the share of them who type at this moment
    utilization: float = 0.7  # of a core
    text_bytes: int = 8_000  # of a session
    kept: int = 10  # sessions that each of them has in the store, the one that is typed in among them
    segment_bytes: int = 66
    proxy_connections: int = 20_000  # deploy/envoy/envoy.yaml
    store_limit_bytes: int = 640 << 20  # deploy/components/valkey/valkey.conf
    most_replicas: int = 16  # deploy/components/keda
    link_bits_per_s: float = 10e9


@dataclass(frozen=True, slots=True)
class Needs:
    """Of all people together. Cores are those that are busy; replicas, stores and proxies have one core each."""

    keystrokes_per_s: float
    steps_per_s: float
    server_cores: float
    model_cores: float  # of those, what the model takes
    replicas: int
    people_per_replica: float
    replica_bytes: float  # of memory, of each
    states_per_person: float  # that the budget of a replica holds
    store_cores: float
    stores: int
    store_bytes: float  # of memory, of all
    appended_bytes_per_s: float
    proxy_cores: float
    proxies: int
    callers_in_bits_per_s: float
    callers_out_bits_per_s: float
    store_bits_per_s: float


def needs(costs: Costs, variant: str, given: Assumptions) -> Needs:
    """Raises KeyError for a variant that was not measured."""
    key = costs.keystroke[variant]
    typing = given.people * given.typing
    rate = typing * given.keystrokes_per_s
    server_cores, store_cores, proxy_cores = rate * key.server_s, rate * key.store_s, rate * costs.proxy_s
    replicas = _ceil(server_cores / given.utilization)
    per_replica = typing / replicas
    shared = VARIANTS[variant].store == "valkey"
    store_bytes = given.people * given.kept * kept_bytes(costs, given) if shared else 0.0
    stores = max(_ceil(store_cores / given.utilization), _ceil(store_bytes / given.store_limit_bytes)) if shared else 0
    wire = costs.wire
    return Needs(
        keystrokes_per_s=rate,
        steps_per_s=rate * key.steps,
        server_cores=server_cores,
        model_cores=rate * key.model_s,
        replicas=replicas,
        people_per_replica=per_replica,
        replica_bytes=costs.server_bytes + costs.budget_bytes + per_replica * costs.session.resident_bytes,
        states_per_person=costs.budget_bytes / (per_replica * costs.session.state_bytes),
        store_cores=store_cores,
        stores=stores,
        store_bytes=store_bytes,
        appended_bytes_per_s=rate * key.appended_bytes,
        proxy_cores=proxy_cores,
        proxies=max(_ceil(proxy_cores / given.utilization), _ceil(given.people / given.proxy_connections)),
        callers_in_bits_per_s=rate * _bits(wire.bytes_in, wire.segments_in, given),
        callers_out_bits_per_s=rate * _bits(wire.bytes_out, wire.segments_out, given),
        store_bits_per_s=rate * _bits(key.store_bytes_in + key.store_bytes_out, 2 * key.store_operations, given)
        if shared
        else 0.0,
    )


def kept_bytes(costs: Costs, given: Assumptions) -> float:
    """Of the store's memory, for a session of the assumed text."""
    return costs.session.store_bytes - costs.session.text_bytes + given.text_bytes


@dataclass(frozen=True, slots=True)
class Limit:
    """How many people one unit carries until it is full. `shipped`: how many deploy/ has; None: as many as wanted."""

    unit: str
    full: str  # of what
    people: float
    shipped: int | None

    @property
    def people_shipped(self) -> float:
        """That all that deploy/ has carry together."""
        return math.inf if self.shipped is None else self.people * self.shipped


def limits(costs: Costs, given: Assumptions, variant: str = BASE) -> list[Limit]:
    """Of every unit, with the one first that is full first as people come to what deploy/ ships."""
    key = costs.keystroke[variant]
    per_person_s = given.typing * given.keystrokes_per_s
    wire_bits = per_person_s * _bits(costs.wire.bytes_out, costs.wire.segments_out, given)
    found = [
        Limit("a replica", "its core", given.utilization / (per_person_s * key.server_s), given.most_replicas),
        Limit("an Envoy", "its core", given.utilization / (per_person_s * costs.proxy_s), None),
        Limit("an Envoy", "its connections", given.proxy_connections, None),
        Limit("a link of 10 Gbit/s", "what goes out to callers", given.link_bits_per_s / wire_bits, None),
    ]
    if key.store_s:
        memory = given.store_limit_bytes / (given.kept * kept_bytes(costs, given))
        found.append(Limit("a Valkey", "its core", given.utilization / (per_person_s * key.store_s), 1))
        found.append(Limit("a Valkey", "its memory", memory, 1))
    return sorted(found, key=lambda limit: (limit.people_shipped, limit.people))


def scenarios(costs: Costs, given: Assumptions) -> Mapping[str, Needs]:
    """The variants, and the first of them with half of the people typing and at the pace of telephones."""
    by_variant = {name: needs(costs, name, given) for name in costs.keystroke}
    telephones = replace(given, keystrokes_per_s=36.2 * 5 / 60)
    return {
        **by_variant,
        f"{BASE}, half of them typing": needs(costs, BASE, replace(given, typing=given.typing / 2)),
        f"{BASE}, on telephones": needs(costs, BASE, telephones),
    }


def parts(costs: Costs) -> Mapping[str, float]:
    """Where a keystroke's CPU goes, in seconds, the store and the proxy included; by what is done."""
    base = costs.keystroke[BASE]
    unasked: KeystrokeCosts = costs.keystroke[UNASKED]
    plain = unasked.server_s - unasked.model_s
    return {
        "the model's steps": base.model_s,
        "an edit: gRPC, session, writing to the store": plain,
        "the suggestion: tree, batch, decoding, its message": max(base.server_s - base.model_s - plain, 0.0),
        "Valkey": base.store_s,
        "Envoy": costs.proxy_s,
    }


def _bits(payload_bytes: float, segments: float, given: Assumptions) -> float:
    return BITS_PER_BYTE * (payload_bytes + segments * given.segment_bytes)


def _ceil(number: float) -> int:
    return max(math.ceil(number), 1)
