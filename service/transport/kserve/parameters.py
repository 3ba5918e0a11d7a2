"""What a request's parameters ask for: a sequence, a timeout, how much of each output. What is not known is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from service.engine.requests import Stop, SuggestSpec
from service.errors import InvalidArgument
from service.transport.kserve.refusals import (
    LONGEST_SEQUENCE_ID,
    InferRefusals,
    reserved_parameter,
    sequence_id_too_long,
    unknown_parameter,
    wrong_type,
)

Value = bool | int | float | str
Parameters = Mapping[str, Value]

TOP_K: Final = 16
MAX_TOP_K: Final = 256
_MAX_TIMEOUT_US: Final = 2**63 - 1
_UINT64: Final = 2**64

SEQUENCE_PARAMETERS: Final = ("sequence_id", "sequence_start", "sequence_end", "priority", "timeout")
"""Those that every model takes."""
KNOWN: Final = (*SEQUENCE_PARAMETERS, "top_k", "max_bytes", "stop")
"""Those of models of text."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class InSequence:
    """A request's place in a sequence. The numbers are those of 64 bits without a sign; 42 and "42" are two."""

    id: int | str
    start: bool = False
    end: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """What the parameters ask for. timeout_us: None for no timeout.  top_k: of the next tokens that are told."""

    sequence: InSequence | None = None
    timeout_us: int | None = None
    top_k: int = TOP_K
    suggest: SuggestSpec = SuggestSpec(count=1)


def read_options(given: Parameters, refusals: InferRefusals, known: Sequence[str] = KNOWN) -> Options:
    """Raises InvalidArgument for a name that is not known, a value of a wrong type or out of range."""
    for name in given:
        if name.startswith("triton_"):
            raise reserved_parameter(name)
        if name not in known:
            raise unknown_parameter(name, "parameters", known)
    if _take(given, "priority", _integer, 0):
        raise InvalidArgument(
            "parameters.priority", "the model has no priority levels: what is typed goes first anyhow; leave it out"
        )
    default = SuggestSpec(count=1)
    timeout_us = _take(given, "timeout", _integer, 0)
    _check_range("timeout", timeout_us, 0, _MAX_TIMEOUT_US)
    top_k = _take(given, "top_k", _integer, TOP_K)
    _check_range("top_k", top_k, 1, MAX_TOP_K)
    return Options(
        _in_sequence(given, refusals),
        timeout_us or None,
        top_k,
        SuggestSpec(
            count=1,
            max_bytes=_take(given, "max_bytes", _integer, default.max_bytes),
            stop=_take(given, "stop", _stop, default.stop),
        ),
    )


def _in_sequence(given: Parameters, refusals: InferRefusals) -> InSequence | None:
    start = _take(given, "sequence_start", _boolean, False)
    end = _take(given, "sequence_end", _boolean, False)
    none: int | str = 0
    id_ = _take(given, "sequence_id", _sequence_id, none)
    if not id_:
        if start or end:
            raise refusals.no_sequence()
        return None
    return InSequence(id_, start, end)


def _take(given: Parameters, name: str, read: Callable[[str, Value], T], default: T) -> T:
    value = given.get(name)
    return default if value is None else read(name, value)


def _boolean(name: str, value: Value) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(name, "bool_param")
    return value


def _integer(name: str, value: Value) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, "int64_param or uint64_param" if name == "priority" else "int64_param")
    return value


def _sequence_id(name: str, value: Value) -> int | str:
    if isinstance(value, str):
        if len(value) > LONGEST_SEQUENCE_ID:
            raise sequence_id_too_long()
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not -_UINT64 // 2 <= value < _UINT64:
        raise wrong_type(name, "int64_param or string_param")
    return value % _UINT64


def _stop(name: str, value: Value) -> Stop:
    try:
        return Stop(str(value))
    except ValueError as error:
        raise InvalidArgument(f"parameters.{name}", f"{value!r} is none of {', '.join(Stop)}") from error


def integer_parameter(given: Parameters, name: str, default: int, *, least: int, most: int) -> int:
    """A whole number within bounds. Raises InvalidArgument."""
    value = _take(given, name, _integer, default)
    _check_range(name, value, least, most)
    return value


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidArgument(f"parameters.{name}", f"{value} is outside of {least}..{most}")
