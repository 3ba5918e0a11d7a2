"""The JSON of OpenAI's completions and models. A token is a byte of UTF-8, everywhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from service.engine.requests import SamplingSpec
from service.errors import InvalidArgument
from service.sessions.limits import Limits
from service.sessions.units import check_text
from service.transport.http.models import Body
from service.transport.http.openai.logprobs import Logprobs
from service.transport.http.openai.prompts import PromptText, prompts_of

MOST_LOGPROBS: Final = 10
_LIMITS: Final = Limits()
_LEAST_SEED, _MOST_SEED = -(2**63), 2**63 - 1
_SEED_MASK: Final = 2**64 - 1
_BYTES: Final = {str(byte): byte for byte in range(256)}

_TOKENS: Final[dict[str, Any]] = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}}
_STRINGS: Final[dict[str, Any]] = {"type": "array", "items": {"type": "string"}}
_PromptJson = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {**_STRINGS, "minItems": 1},
                {**_TOKENS, "minItems": 1},
                {"type": "array", "items": _TOKENS, "minItems": 1},
                {"type": "null"},
            ]
        }
    ),
]
_StopJson = Annotated[
    Any, WithJsonSchema({"anyOf": [{"type": "string"}, {**_STRINGS, "maxItems": 4}, {"type": "null"}]})
]


class StreamOptions(Body):
    """What a stream tells beside the text."""

    include_usage: bool | None = Field(default=None, description="Tell the usage in a last chunk without choices.")
    include_obfuscation: Literal[False] | None = Field(default=None, description="There is none.")


class CompletionBody(Body):
    """OpenAI's request; null is the same as leaving a parameter out. What is not listed here is refused."""

    model: str | None = Field(default=None, description="One of `/v1/models`; the default model if left out or empty.")
    prompt: _PromptJson = Field(
        default=None,
        description="A text, several, the tokens of one, or of several; a token is a byte of UTF-8. 255, the separator "
        "that every text begins after, may come first and changes nothing.",
    )
    best_of: int | None = Field(
        default=None, description="So many are made, and the `n` of the highest mean log-probability told."
    )
    echo: bool | None = Field(default=None, description="Tell the prompt before each completion.")
    frequency_penalty: float | None = Field(default=None, description="-2 to 2, for each time a byte was generated.")
    logit_bias: dict[str, float] | None = Field(
        default=None, description="Per byte from 0 to 255, -100 to 100; byte 255 is the end of the text."
    )
    logprobs: int | None = Field(default=None, description="Tell this many likeliest bytes at each place, 0 to 10.")
    max_tokens: int | None = Field(default=None, description="Bytes of UTF-8, 0 to 4096; 16 if left out.")
    n: int | None = Field(default=None, description="How many completions of each prompt, 1 to 16; 1 if left out.")
    presence_penalty: float | None = Field(default=None, description="-2 to 2, for bytes that were generated.")
    seed: int | None = Field(default=None, description="The same request with the same seed gives the same text.")
    stop: _StopJson = Field(default=None, description="Up to 4 strings; a completion ends before the first of them.")
    stream: bool | None = Field(default=None, description="Tell it as it comes, as server-sent events.")
    stream_options: StreamOptions | None = Field(default=None, description="Only with `stream`.")
    suffix: str | None = Field(
        default=None,
        description="What comes after the completion: several candidates are made, cut where it may follow, and told "
        "in the order of its likelihood after each.",
    )
    temperature: float | None = Field(default=None, description="0 to 2; 0 takes the likeliest byte; 1 if left out.")
    top_p: float | None = Field(default=None, description="0 to 1; 1 if left out.")
    user: str | None = Field(default=None, description="Changes nothing.")

    def asked(self) -> Asked:
        """What it comes to. Raises InvalidArgument that names the parameter."""
        n = _in_range("n", self.n, 1, _LIMITS.max_completions, 1)
        best_of = _in_range("best_of", self.best_of, 1, _LIMITS.max_completions, n)
        stream = bool(self.stream)
        if best_of < n:
            raise InvalidArgument("best_of", f"{best_of} is less than n, {n}: the n best of them are told")
        if best_of > n and stream:
            raise InvalidArgument("best_of", "the best are known only at the end; leave out stream, or best_of")
        if self.stream_options is not None and not stream:
            raise InvalidArgument("stream_options", "only together with stream: true")
        if self.suffix is not None:
            check_text(self.suffix, "suffix")
        logprobs = None if self.logprobs is None else _in_range("logprobs", self.logprobs, 0, MOST_LOGPROBS, 0)
        return Asked(
            model=self.model or None,
            prompts=prompts_of(self.prompt),
            n=n,
            best_of=best_of,
            most_candidates=self.best_of is not None,
            max_tokens=_in_range("max_tokens", self.max_tokens, 0, _LIMITS.max_completion_bytes, 16),
            echo=bool(self.echo),
            logprobs=logprobs,
            suffix=self.suffix or None,
            stop=_stops(self.stop),
            sampling=self._sampling(),
            seed=None if self.seed is None else _in_range("seed", self.seed, _LEAST_SEED, _MOST_SEED, 0) & _SEED_MASK,
            stream=stream,
            include_usage=self.stream_options is not None and bool(self.stream_options.include_usage),
        )

    def _sampling(self) -> SamplingSpec:
        top_p = _number("top_p", self.top_p, 0, 1, 1)
        bias = self.logit_bias or {}
        return SamplingSpec(
            temperature=_number("temperature", self.temperature, 0, 2, 1),
            top_p=top_p or sys.float_info.min,  # nothing is the likeliest byte alone
            logit_bias=tuple((_byte(name), added) for name, added in bias.items()),
            presence_penalty=_number("presence_penalty", self.presence_penalty, -2, 2, 0),
            frequency_penalty=_number("frequency_penalty", self.frequency_penalty, -2, 2, 0),
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """A request whose defaults are filled in and whose ranges are right. most_candidates: `best_of` was given."""

    model: str | None
    prompts: tuple[PromptText, ...]
    n: int
    best_of: int
    most_candidates: bool
    max_tokens: int
    echo: bool
    logprobs: int | None
    suffix: str | None
    stop: tuple[str, ...]
    sampling: SamplingSpec
    seed: int | None
    stream: bool
    include_usage: bool

    @property
    def prompt_tokens(self) -> int:
        """The tokens of all prompts, and of the suffix after each."""
        suffix = 0 if self.suffix is None else len(self.suffix.encode()) * len(self.prompts)
        return sum(prompt.tokens for prompt in self.prompts) + suffix


def _in_range(field: str, value: int | None, least: int, most: int, default: int) -> int:
    if value is None:
        return default
    if not least <= value <= most:
        raise InvalidArgument(field, f"{value} is outside of {least}..{most}")
    return value


def _number(field: str, value: float | None, least: float, most: float, default: float) -> float:
    if value is None:
        return default
    if not least <= value <= most:  # also what is no number
        raise InvalidArgument(field, f"{value} is outside of {least}..{most}")
    return value


def _byte(name: str) -> int:
    if name not in _BYTES:
        raise InvalidArgument(
            f"logit_bias.{name}", "is no token: a token is a byte, 0..255, of which 255 ends the text"
        )
    return _BYTES[name]


def _stops(given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise InvalidArgument("stop", "must be a string or a list of strings")
    return tuple(given)


class Choice(BaseModel):
    """One completion, or the next piece of it; `finish_reason` is null until its last piece."""

    text: str
    index: int
    logprobs: Logprobs | None = None
    finish_reason: Literal["stop", "length"] | None = None


class Usage(BaseModel):
    """Tokens are bytes. What `best_of` and `suffix` made and did not tell is counted, too."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionChunk(BaseModel):
    """A piece of a stream; `usage` is there if it was asked for, and null but in the last one."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str = Field(description="Changes when the same seed may give another text.")
    choices: list[Choice]


class CompletionAnswer(CompletionChunk):
    """Every completion, whole."""

    usage: Usage | SkipJsonSchema[None] = None


class ModelCard(BaseModel):
    """A model that may be named."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["carousel"] = "carousel"


class ModelList(BaseModel):
    """All of them, the default first."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
