"""OpenAI's `logprobs` of a completion: tokens as it shows them, their log-probabilities, alternatives and offsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel

from service.transport.http.openai.prompts import SEPARATOR, PromptText
from service.transport.http.token_scores import TokenScores

_LEAST: Final = -9999.0  # JSON has no infinity; OpenAI's own stand-in
_NAMES: Final = tuple(
    chr(token) if token < 0x80 else "<|endoftext|>" if token == SEPARATOR else rf"bytes:\x{token:02x}"
    for token in range(256)
)


class Logprobs(BaseModel):
    """Four lists with an entry for each token.

    A byte that is no character by itself is shown as `bytes:\\xNN`, the end of the text as `<|endoftext|>`. Offsets
    count characters of prompt and completion together, whether or not the prompt is echoed; the bytes of one character
    have the same. Nothing comes before the first token of an echoed prompt, so its entries are null.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


def logprobs_of(data: bytes, scores: TokenScores, offset: int) -> Logprobs:
    """Of the bytes of a text that begins at character `offset`."""
    return Logprobs.model_construct(
        tokens=[_NAMES[token] for token in data],
        token_logprobs=[_told(value) for value in scores.log_probabilities.tolist()],
        top_logprobs=[
            _alternatives(*row)
            for row in zip(
                data,
                scores.log_probabilities.tolist(),
                scores.top_tokens.tolist(),
                scores.top_log_probabilities.tolist(),
                strict=True,
            )
        ],
        text_offset=_offsets(data, offset),
    )


def logprobs_of_prompt(prompt: PromptText, scores: TokenScores) -> Logprobs:
    """Of an echoed prompt, whose first token has none."""
    told = logprobs_of(prompt.data, scores, 0)
    if prompt.separated:
        told.tokens.insert(0, _NAMES[SEPARATOR])
        told.token_logprobs.insert(0, None)
        told.top_logprobs.insert(0, None)
        told.text_offset.insert(0, 0)
    elif told.tokens:
        told.token_logprobs[0] = told.top_logprobs[0] = None
    return told


def together(first: Logprobs, second: Logprobs) -> Logprobs:
    """The entries of both."""
    return Logprobs.model_construct(
        tokens=first.tokens + second.tokens,
        token_logprobs=first.token_logprobs + second.token_logprobs,
        top_logprobs=first.top_logprobs + second.top_logprobs,
        text_offset=first.text_offset + second.text_offset,
    )


def _told(log_probability: float) -> float:
    return max(log_probability, _LEAST)


def _alternatives(
    token: int, log_probability: float, top_tokens: Sequence[int], top_log_probabilities: Sequence[float]
) -> dict[str, float]:
    """The likeliest ones, and the token itself wherever it stands among them."""
    named = {_NAMES[top]: _told(value) for top, value in zip(top_tokens, top_log_probabilities, strict=True)}
    named.setdefault(_NAMES[token], _told(log_probability))
    return named


def _offsets(data: bytes, offset: int) -> list[int]:
    """The character that each byte belongs to."""
    at = offset - 1
    offsets = []
    for byte in data:
        at += byte & 0xC0 != 0x80 or at < offset  # a byte that goes on with a character does not begin one
        offsets.append(at)
    return offsets
