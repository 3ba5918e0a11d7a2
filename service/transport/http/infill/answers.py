"""llama.cpp's answer: field by field what its `server_task_result_cmpl_final` tells (tools/server/server-task.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from service.engine.requests import FinishReason
from service.transport.http.continued import Continued
from service.transport.http.infill.models import CompletionProb, LlamaCompletion, Partial, Timings, TokenProb
from service.transport.http.infill.options import Options
from service.transport.http.token_scores import TokenScores

StopType = Literal["none", "eos", "limit", "word"]

_STOP_TYPES: dict[FinishReason, StopType] = {
    reason: "eos" if reason is FinishReason.END else "word" if reason is FinishReason.STOP else "limit"
    for reason in FinishReason
}


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt that was read: how many of its bytes, how many of those took a step, and how long it took."""

    text: str
    length: int
    steps: int
    seconds: float


def timings_of(reading: Reading, predicted: int, seconds: float) -> Timings:
    """What llama.cpp's plug-ins show beside a completion."""
    return Timings(
        cache_n=max(reading.length - reading.steps, 0),
        prompt_n=reading.steps,
        prompt_ms=reading.seconds * 1e3,
        prompt_per_token_ms=_ratio(reading.seconds * 1e3, reading.steps),
        prompt_per_second=_ratio(reading.steps, reading.seconds),
        predicted_n=predicted,
        predicted_ms=seconds * 1e3,
        predicted_per_token_ms=_ratio(seconds * 1e3, predicted),
        predicted_per_second=_ratio(predicted, seconds),
    )


def answer_of(
    index: int, completion: Continued, reading: Reading, seconds: float, options: Options, model: str
) -> dict[str, Any]:
    """The whole answer, or the fields of it that were asked for."""
    data = completion.text.encode()
    stop_type = _STOP_TYPES[completion.finish]
    answer = LlamaCompletion.model_construct(
        index=index,
        content=completion.text,
        tokens=list(data) if options.return_tokens else [],
        id_slot=options.id_slot,
        stop=True,
        model=model,
        tokens_predicted=len(data),
        tokens_evaluated=reading.length,
        generation_settings=settings_of(options),
        prompt=reading.text,
        has_new_line="\n" in completion.text,
        truncated=False,
        stop_type=stop_type,
        # Which of several it was is not told by the engine; the text ends before it in any case.
        stopping_word=options.stop[0] if stop_type == "word" and len(options.stop) == 1 else "",
        tokens_cached=max(reading.length - reading.steps, 0),
        timings=timings_of(reading, len(data), seconds),
    ).model_dump(exclude_unset=True)
    if options.n_probs and completion.scores is not None:
        answer["completion_probabilities"] = [
            one.model_dump() for one in probabilities_of(data, completion.scores, options.n_probs)
        ]
    return chosen(answer, options.response_fields)


def partial_of(index: int, text: str, told: int, reading: Reading, options: Options) -> dict[str, Any]:
    """A piece of a stream; `told` counts the bytes up to its end."""
    data = text.encode()
    return Partial(
        index=index,
        content=text,
        tokens=list(data),
        id_slot=options.id_slot,
        tokens_predicted=told,
        tokens_evaluated=reading.length,
    ).model_dump()


def chosen(answer: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """The fields alone, those inside of others by their whole path; what is not there is left out."""
    if not fields:
        return answer
    told: dict[str, Any] = {}
    for path in fields:
        value: Any = answer
        for name in path.split("/"):
            value = value.get(name, _NOTHING) if isinstance(value, dict) else _NOTHING
        if value is not _NOTHING:
            told[path] = value
    return told


_NOTHING = object()


def settings_of(options: Options) -> dict[str, Any]:
    """What was applied, under llama.cpp's names; -1 is any seed."""
    sampling = options.sampling
    return {
        "seed": -1 if options.seed is None else options.seed,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_last_n": 64,
        "repeat_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "stop": list(options.stop),
        "max_tokens": options.max_bytes,
        "n_predict": options.max_bytes,
        "n_indent": options.n_indent,
        "ignore_eos": any(token == 255 and bias <= -100 for token, bias in sampling.logit_bias),
        "stream": options.stream,
        "logit_bias": [{"token": token, "bias": bias} for token, bias in sampling.logit_bias],
        "n_probs": options.n_probs,
        "samplers": list(options.samplers),
        "timings_per_token": options.timings_per_token,
    }


def probabilities_of(data: bytes, scores: TokenScores, n_probs: int) -> list[CompletionProb]:
    """Of each byte, with the likeliest at its place."""
    return [
        CompletionProb(
            **_prob(token, log_probability).model_dump(),
            top_logprobs=[_prob(*one) for one in zip(tops[:n_probs], values[:n_probs], strict=True)],
        )
        for token, log_probability, tops, values in zip(
            data,
            scores.log_probabilities.tolist(),
            scores.top_tokens.tolist(),
            scores.top_log_probabilities.tolist(),
            strict=True,
        )
    ]


def _prob(token: int, log_probability: float) -> TokenProb:
    """A byte that is no character by itself, and the end of the text, have no text."""
    shown = chr(token) if token < 0x80 else ""
    return TokenProb(id=token, token=shown, bytes=[token] if token < 255 else [], logprob=log_probability)


def _ratio(value: float, by: float) -> float:
    return value / by if by else 0.0
