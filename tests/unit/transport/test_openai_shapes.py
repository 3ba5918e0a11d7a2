"""OpenAI's prompts and log-probabilities, without a server."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.errors import InvalidArgument
from service.transport.http.openai.logprobs import logprobs_of, logprobs_of_prompt, together
from service.transport.http.openai.models import CompletionBody
from service.transport.http.openai.prompts import PromptText, prompts_of
from service.transport.http.token_scores import TokenScores, joined


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_the_four_forms_of_a_prompt_say_the_same(texts: list[str]) -> None:
    tokens = [list(text.encode()) for text in texts]
    assert prompts_of(texts) == prompts_of(tokens) == tuple(PromptText(text.encode()) for text in texts)
    if tokens[0]:
        assert prompts_of(texts[0]) == prompts_of(tokens[0])


def test_the_separator_may_come_first_and_no_prompt_is_the_empty_text() -> None:
    assert prompts_of([255, 97]) == (PromptText(b"a", separated=True),)
    assert prompts_of([255, 97])[0].tokens == 2
    assert prompts_of(None) == prompts_of("") == (PromptText(b""),)


BAD_PROMPTS: list[tuple[Any, str]] = [
    (7, "prompt"),
    ({}, "prompt"),
    ([], "prompt"),
    ([97, 256], "prompt[1]"),
    ([97, -1], "prompt[1]"),
    ([97, 255], "prompt[1]"),
    ([97, True], "prompt[1]"),
    ([97, 1.5], "prompt[1]"),
    ([97, "a"], "prompt[1]"),
    (["a", 97], "prompt[1]"),
    (["a", None], "prompt[1]"),
    ([[97], [97, 300]], "prompt[1][1]"),
    ([[97], "a"], "prompt[1]"),
    ([None], "prompt[0]"),
    (["\ud800"], "prompt[0]"),
    ([""] * 2049, "prompt"),
]


@pytest.mark.parametrize(("prompt", "field"), BAD_PROMPTS, ids=[str(row[0])[:30] for row in BAD_PROMPTS])
def test_what_is_no_prompt_is_refused_at_its_place(prompt: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        prompts_of(prompt)
    assert refusal.value.field == field


def test_only_whole_characters_are_gone_on_from() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        prompts_of([97, 0xC3])[0].whole("prompt")
    assert (refusal.value.field, "byte 1" in str(refusal.value)) == ("prompt", True)


def scores(values: list[float], tops: list[list[int]]) -> TokenScores:
    """Log-probabilities, and alternatives that are as likely as -0.5."""
    top = np.array(tops, np.int64).reshape(len(values), 1)
    return TokenScores(np.array(values, np.float32), top, np.full(top.shape, -0.5, np.float32))


def test_bytes_that_are_no_characters_are_shown_as_openai_shows_them() -> None:
    told = logprobs_of("aé".encode(), scores([-1.0, -2.0, -np.inf], [[97], [255], [0xA9]]), 3)
    assert told.tokens == ["a", r"bytes:\xc3", r"bytes:\xa9"]
    assert told.token_logprobs == [-1.0, -2.0, -9999.0]
    assert told.top_logprobs == [{"a": -0.5}, {"<|endoftext|>": -0.5, r"bytes:\xc3": -2.0}, {r"bytes:\xa9": -0.5}]
    assert told.text_offset == [3, 4, 4]


def test_nothing_comes_before_the_first_token_of_an_echo() -> None:
    prompt = PromptText(b"ab")
    told = logprobs_of_prompt(prompt, scores([-1.0, -2.0], [[97], [98]]))
    assert (told.token_logprobs, told.top_logprobs[0], told.text_offset) == ([None, -2.0], None, [0, 1])
    separated = logprobs_of_prompt(PromptText(b"ab", separated=True), scores([-1.0, -2.0], [[97], [98]]))
    assert separated.tokens == ["<|endoftext|>", "a", "b"]
    assert separated.token_logprobs == [None, -1.0, -2.0]


@given(st.lists(st.text(max_size=6), max_size=5))
def test_pieces_put_together_are_the_log_probabilities_of_the_whole(pieces: list[str]) -> None:
    whole = "".join(pieces)
    at, parts = 0, []
    told = logprobs_of(b"", scores([], []), 0)
    for piece in pieces:
        data = piece.encode()
        part = scores([-float(byte) for byte in data], [[byte ^ 1] for byte in data])
        parts.append(part)
        told = together(told, logprobs_of(data, part, at))
        at += len(piece)
    if parts:
        assert told == logprobs_of(whole.encode(), joined(parts), 0)
    assert [whole[offset] for offset in told.text_offset] == [
        character for character in whole for _ in character.encode()
    ]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"n": 0}, "n"),
    ({"n": 17}, "n"),
    ({"n": 3, "best_of": 2}, "best_of"),
    ({"best_of": 17}, "best_of"),
    ({"best_of": 2, "stream": True}, "best_of"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 4097}, "max_tokens"),
    ({"logprobs": 11}, "logprobs"),
    ({"logprobs": -1}, "logprobs"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": float("nan")}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"presence_penalty": 3}, "presence_penalty"),
    ({"frequency_penalty": -2.5}, "frequency_penalty"),
    ({"logit_bias": {"256": 1}}, "logit_bias.256"),
    ({"logit_bias": {"a": 1}}, "logit_bias.a"),
    ({"seed": 2**63}, "seed"),
    ({"stop": 5}, "stop"),
    ({"stop": ["a", 5]}, "stop"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"suffix": "\ud800"}, "suffix"),
]


@pytest.mark.parametrize(("bad", "field"), BAD, ids=[str(row[0]) for row in BAD])
def test_what_is_out_of_range_is_refused_by_openais_name(bad: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        CompletionBody.model_validate(bad).asked()
    assert refusal.value.field == field


@pytest.mark.parametrize(
    "bad", [{"messages": []}, {"n": "1"}, {"n": 1.5}, {"echo": 1}, {"user": 5}, {"logprobs": True}]
)
def test_wrong_types_and_unknown_parameters_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CompletionBody.model_validate(bad)


def test_null_is_the_same_as_nothing() -> None:
    nulls = dict.fromkeys(CompletionBody.model_fields)
    assert CompletionBody.model_validate(nulls).asked() == CompletionBody.model_validate({}).asked()


def test_openais_defaults() -> None:
    asked = CompletionBody.model_validate(json.loads("{}")).asked()
    assert (asked.max_tokens, asked.n, asked.best_of, asked.echo, asked.logprobs) == (16, 1, 1, False, None)
    assert (asked.sampling.temperature, asked.sampling.top_p, asked.stop, asked.seed) == (1, 1, (), None)
