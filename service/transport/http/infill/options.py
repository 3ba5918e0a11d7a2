"""llama.cpp's options: which are honoured, which cannot change an answer, and which are refused unless they are off.

Names, defaults and meanings are those of its tools/server/README.md and server-schema.cpp. A token is a byte of UTF-8.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from service.engine.requests import SamplingSpec
from service.engine.sampling import PENALIZED_BYTES
from service.errors import InvalidArgument
from service.sessions.limits import Limits
from service.sessions.units import check_text
from service.transport.http.infill.models import OptionsBody

MOST_PREDICTED: Final = Limits().max_completion_bytes
MOST_PROBS: Final = 16
SAMPLERS: Final = ("penalties", "temperature", "top_k", "top_p", "min_p")
"""Those that are applied, in this order."""

_INFILL: Final = "infill"  # an infill is fitted to its suffix whether or not it asks for this one
_OFF_ANYWAY: Final = ("dry", "top_n_sigma", "typ_p", "xtc", "adaptive_p")  # their parameters are refused unless off
_LETTERS: Final = {
    "e": "penalties", "d": "dry", "s": "top_n_sigma", "k": "top_k", "y": "typ_p", "p": "top_p", "m": "min_p",
    "x": "xtc", "t": "temperature", "i": _INFILL, "a": "adaptive_p",
}  # fmt: skip
Value = TypeVar("Value")

_DO_NOT_COMMUTE: Final = (("temperature", "top_p"), ("temperature", "min_p"), ("top_k", "top_p"), ("top_p", "min_p"))
_RANDOM_SEEDS: Final = (-1, 0xFFFFFFFF)
_SEED_MASK: Final = 2**64 - 1
_BANNED: Final = -100.0
_SEPARATOR: Final = 255

# What would change an answer and is not there: each is refused unless it has a value that switches it off.
_OFF: Final[Mapping[str, tuple[Any, ...]]] = {
    "dynatemp_range": (0,), "typical_p": (1,), "xtc_probability": (0,), "mirostat": (0,), "dry_multiplier": (0,),
    "grammar": ("",), "lora": ([],), "min_keep": (0,), "post_sampling_probs": (False,), "return_progress": (False,),
    "verbose": (False,), "json_schema": (),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """What a request asks for, its defaults filled in. seed: None is any.  max_bytes: 0 reads the prompt alone."""

    model: str | None
    max_bytes: int
    count: int
    stop: tuple[str, ...]
    sampling: SamplingSpec
    seed: int | None
    samplers: tuple[str, ...]
    n_indent: int
    n_probs: int
    t_max_predict_s: float | None
    stream: bool
    return_tokens: bool
    timings_per_token: bool
    response_fields: tuple[str, ...]
    id_slot: int


def options_of(body: OptionsBody) -> Options:
    """What `body` comes to. Raises InvalidArgument that names the field."""
    _refuse_what_is_not_there(body)
    max_bytes = _given(body.n_predict, body.max_tokens, body.max_completion_tokens, -1)
    if not -1 <= max_bytes <= MOST_PREDICTED:
        raise InvalidArgument("n_predict", f"{max_bytes} is outside of -1..{MOST_PREDICTED}; a token is a byte")
    n_probs = _in_range("n_probs", _given(body.n_probs, body.logprobs, 0), 0, MOST_PROBS)
    limit_ms = body.t_max_predict_ms or 0
    samplers = _samplers(body.samplers)
    sampling = _sampling(body, samplers)
    _check_order(samplers, sampling)
    return Options(
        model=body.model or None,
        max_bytes=MOST_PREDICTED if max_bytes == -1 else max_bytes,
        count=_in_range("n_cmpl", _given(body.n_cmpl, body.n, 1), 1, Limits().max_completions),
        stop=_stops(body.stop),
        sampling=sampling,
        seed=None if body.seed is None or body.seed in _RANDOM_SEEDS else body.seed & _SEED_MASK,
        samplers=samplers,
        n_indent=_in_range("n_indent", body.n_indent or 0, 0, sys.maxsize),
        n_probs=n_probs,
        t_max_predict_s=limit_ms / 1e3 if limit_ms > 0 else None,
        stream=bool(body.stream),
        return_tokens=bool(body.return_tokens),
        timings_per_token=bool(body.timings_per_token),
        response_fields=tuple(body.response_fields or ()),
        id_slot=max(_given(body.id_slot, 0), 0),
    )


def _refuse_what_is_not_there(body: OptionsBody) -> None:
    for name, off in _OFF.items():
        value = getattr(body, name)
        if value is not None and value not in off:
            way_out = f"; {off[0]!r} switches it off" if off else ""
            raise InvalidArgument(name, f"is not supported by this server: leave it out{way_out}")
    for name in ("top_n_sigma", "adaptive_target"):
        value = getattr(body, name)
        if value is not None and not value <= 0:
            raise InvalidArgument(name, "is not supported by this server: leave it out; -1 switches it off")


def _sampling(body: OptionsBody, samplers: Sequence[str]) -> SamplingSpec:
    penalized, last_n = "penalties" in samplers, _given(body.repeat_last_n, PENALIZED_BYTES)
    repeat_penalty = _given(body.repeat_penalty, 1.0) if penalized and last_n else 1.0
    if not 1 <= repeat_penalty <= 10:  # also what is no number
        raise InvalidArgument("repeat_penalty", f"{repeat_penalty} is outside of 1..10; 1 is none")
    if repeat_penalty != 1.0 and last_n != PENALIZED_BYTES:
        raise InvalidArgument("repeat_last_n", f"{PENALIZED_BYTES} bytes are looked at by this server; or 0 for none")
    top_k = _given(body.top_k, 40) if "top_k" in samplers else 0
    top_p = min(_given(body.top_p, 0.95), 1.0) if "top_p" in samplers else 1.0
    min_p = max(_given(body.min_p, 0.05), 0.0) if "min_p" in samplers else 0.0
    return SamplingSpec(
        temperature=max(_given(body.temperature, 0.8), 0.0) if "temperature" in samplers else 1.0,
        top_k=top_k if 0 < top_k < 256 else 0,
        top_p=top_p if top_p > 0 else sys.float_info.min,  # nothing is the likeliest byte alone
        min_p=min_p,
        repetition_penalty=repeat_penalty,
        logit_bias=_biases(body),
        presence_penalty=_given(body.presence_penalty, 0.0) if penalized else 0.0,
        frequency_penalty=_given(body.frequency_penalty, 0.0) if penalized else 0.0,
    )


def _samplers(given: Any) -> tuple[str, ...]:
    if given is None:
        return SAMPLERS
    if isinstance(given, str):
        unknown = next((letter for letter in given if letter not in _LETTERS), None)
        if unknown is not None:
            raise InvalidArgument("samplers", f"there is no sampler {unknown!r}; there are: {''.join(_LETTERS)}")
        return tuple(_LETTERS[letter] for letter in given)
    if not isinstance(given, list):
        raise InvalidArgument("samplers", "must be a list of names or a string of letters")
    for index, name in enumerate(given):
        if name not in _LETTERS.values():
            known = ", ".join(_LETTERS.values())
            raise InvalidArgument(f"samplers[{index}]", f"there is no sampler {name!r}; there are: {known}")
    return tuple(given)


def _check_order(samplers: Sequence[str], sampling: SamplingSpec) -> None:
    """Raises InvalidArgument if they are applied here in another order, and that makes a difference."""
    active = {
        "temperature": sampling.temperature not in (0.0, 1.0),
        "top_k": sampling.top_k > 0,
        "top_p": sampling.top_p < 1.0,
        "min_p": sampling.min_p > 0.0,
    }
    at_work = [name for name in samplers if active.get(name)]
    if len(at_work) != len(set(at_work)):
        raise InvalidArgument("samplers", "each is applied once; name it once")
    for earlier, later in _DO_NOT_COMMUTE:
        if earlier in at_work and later in at_work and at_work.index(later) < at_work.index(earlier):
            order = ", ".join(SAMPLERS)
            raise InvalidArgument(
                "samplers", f"{later} before {earlier} is not supported; this server's order: {order}"
            )


def _biases(body: OptionsBody) -> tuple[tuple[int, float], ...]:
    given = body.logit_bias or []
    pairs = list(given.items()) if isinstance(given, dict) else given
    if not isinstance(pairs, list):
        raise InvalidArgument("logit_bias", "must be a list of pairs or an object")
    biases: dict[int, float] = {}
    for index, pair in enumerate(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InvalidArgument(f"logit_bias[{index}]", "must be a pair of a token and a bias")
        bias = _BANNED if pair[1] is False else pair[1]
        if isinstance(bias, bool) or not isinstance(bias, int | float):
            raise InvalidArgument(f"logit_bias[{index}]", "the bias must be a number, or false to ban the token")
        # The keys of an object are strings; those that are numbers are tokens.
        named = int(pair[0]) if isinstance(given, dict) and pair[0].isdecimal() else pair[0]
        biases |= dict.fromkeys(_tokens(named, f"logit_bias[{index}]"), float(bias))
    if body.ignore_eos:
        biases[_SEPARATOR] = _BANNED
    return tuple(biases.items())


def _tokens(named: Any, field: str) -> Sequence[int]:
    """The bytes of a string, or the one that a number names."""
    if isinstance(named, str):
        check_text(named, field)
        return named.encode()
    if type(named) is not int or not 0 <= named <= _SEPARATOR:
        raise InvalidArgument(field, "is no token: tokens are bytes, 0..255, of which 255 ends the text")
    return (named,)


def _stops(given: Any) -> tuple[str, ...]:
    several = [given] if isinstance(given, str) else given or []
    if not isinstance(several, list) or not all(isinstance(one, str) for one in several):
        raise InvalidArgument("stop", "must be a list of strings")
    return tuple(one for one in several if one)  # an empty one stops nothing, as there


def _in_range(field: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise InvalidArgument(field, f"{value} is outside of {least}..{most}")
    return value


def _given(*values: Value | None) -> Value:
    """The first that is not null; the last one never is."""
    return next(value for value in values if value is not None)
