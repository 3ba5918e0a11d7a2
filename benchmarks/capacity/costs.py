"""What one keystroke and one session cost, as measured; everything that the calculation knows of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class KeystrokeCosts:
    """Of one keystroke, on average, at a load that leaves a third of the server's core free. Seconds are of CPU."""

    server_s: float  # everything that the server's process does, the model included
    model_s: float  # of that, the model's steps
    steps: float
    store_s: float  # of the store's own process; 0 for one inside of the server's
    store_operations: float  # writes that the server has asked for
    store_bytes_in: float
    store_bytes_out: float
    appended_bytes: float  # to the store's file
    p50_ms: float  # from the key to its answer
    p99_ms: float
    people: int  # who typed
    most_per_s: float  # keystrokes for a second of CPU, when everybody typed as fast as answers came
    undisturbed: float  # the share of the time in which the server could run that it had a core; 1 if nobody else ran
    client_cpu_share: float  # of the people's own process, of one core


@dataclass(frozen=True, slots=True)
class SessionCosts:
    """Of one session that was typed in and rests. Bytes; its text is `text_bytes` of them where it is kept."""

    text_bytes: int
    resident_bytes: float  # of the server, while it holds it, states apart
    state_bytes: float  # one state with what belongs to it
    store_bytes: float  # of the Valkey's memory, text and snapshot included
    file_bytes: float  # of a SQLite file, likewise


@dataclass(frozen=True, slots=True)
class WireCosts:
    """Of one keystroke between a caller and the server: bytes and segments of TCP, without its headers."""

    bytes_in: float
    bytes_out: float
    segments_in: float
    segments_out: float


@dataclass(frozen=True, slots=True)
class Costs:
    """All that was measured. `keystroke` by variant (see VARIANTS); `proxy_s`: CPU of an Envoy for a keystroke."""

    keystroke: Mapping[str, KeystrokeCosts]
    session: SessionCosts
    wire: WireCosts
    proxy_s: float
    server_bytes: float  # resident, before anybody typed
    budget_bytes: float  # of states, as deploy/base sets it

    def as_json(self) -> dict[str, Any]:
        """What `of_json` reads."""
        return asdict(self)

    @classmethod
    def of_json(cls, document: Mapping[str, Any]) -> Self:
        """Raises KeyError or TypeError for another document."""
        given = {one.name: document[one.name] for one in fields(cls)}
        return cls(
            **{
                **given,
                "keystroke": {name: KeystrokeCosts(**one) for name, one in given["keystroke"].items()},
                "session": SessionCosts(**given["session"]),
                "wire": WireCosts(**given["wire"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Variant:
    """What is served and asked for. `count`: suggestions at every key."""

    precision: str
    count: int
    store: str


BASE = "int8, one suggestion"
SQLITE = "int8, one suggestion, SQLite"
UNASKED = "int8, no suggestions"
VARIANTS: Mapping[str, Variant] = {
    BASE: Variant("int8", 1, "valkey"),
    "int8, three suggestions": Variant("int8", 3, "valkey"),
    "fp32, one suggestion": Variant("fp32", 1, "valkey"),
    "fp32, three suggestions": Variant("fp32", 3, "valkey"),
    UNASKED: Variant("int8", 0, "valkey"),
    SQLITE: Variant("int8", 1, "sqlite"),
}
