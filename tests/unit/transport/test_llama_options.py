"""llama.cpp's options, prompts and stop rules, without a server."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidArgument
from service.transport.http.infill.answers import chosen
from service.transport.http.infill.ends import Ends, end_by_indent
from service.transport.http.infill.models import InfillBody, OptionsBody
from service.transport.http.infill.options import SAMPLERS, Options, options_of
from service.transport.http.infill.prompts import left_of, prompts_of


def options(**given: Any) -> Options:
    return options_of(OptionsBody.model_validate(given))


def test_llama_cpps_defaults() -> None:
    sampling = options().sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.8, 40, 0.95, 0.05)
    assert (options().samplers, options().max_bytes, options().seed) == (SAMPLERS, 4096, None)


def test_what_no_sampler_applies_is_off() -> None:
    sampling = options(samplers=["top_k", "top_p", "infill"], top_k=40, top_p=0.9, repeat_penalty=2.0).sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (1.0, 40, 0.9, 0.0)
    assert sampling.repetition_penalty == 1.0
    assert options(samplers=[]).sampling == options(samplers="").sampling


def test_letters_name_samplers() -> None:
    assert options(samplers="tkp") == options(samplers=["temperature", "top_k", "top_p"])


def test_an_order_is_refused_only_where_it_makes_a_difference() -> None:
    with pytest.raises(InvalidArgument, match="top_p before temperature"):
        options(samplers=["top_p", "temperature"], temperature=0.5)
    assert options(samplers=["top_p", "temperature"], temperature=1.0).sampling.top_p == 0.95
    assert options(samplers=["top_p", "temperature"], temperature=0).sampling.temperature == 0
    assert options(samplers=["top_k", "temperature"], temperature=0.5).sampling.temperature == 0.5


def test_null_is_the_same_as_nothing() -> None:
    assert options(**dict.fromkeys(OptionsBody.model_fields)) == options()


def test_what_cannot_change_an_answer_changes_nothing() -> None:
    harmless = {
        "t_max_prompt_ms": 1, "cache_prompt": False, "id_slot": -1, "n_keep": 4, "n_discard": 1, "n_cache_reuse": 256,
        "xtc_threshold": 0.1, "mirostat_tau": 5, "mirostat_eta": 0.1, "dry_base": 1.75, "dry_allowed_length": 2,
        "dry_penalty_last_n": -1, "dry_sequence_breakers": ["\n"], "dynatemp_exponent": 1.0, "sse_ping_interval": 9,
    }  # fmt: skip
    assert options(**harmless) == options()


OFF: dict[str, Any] = {
    "dynatemp_range": 0, "typical_p": 1.0, "top_n_sigma": -1.0, "xtc_probability": 0.0, "mirostat": 0,
    "dry_multiplier": 0.0, "adaptive_target": -1, "min_keep": 0, "grammar": "", "json_schema": None, "lora": [],
    "post_sampling_probs": False, "return_progress": False, "verbose": False,
}  # fmt: skip
ON: dict[str, Any] = {
    "dynatemp_range": 0.5, "typical_p": 0.9, "top_n_sigma": 1.0, "xtc_probability": 0.5, "mirostat": 2,
    "dry_multiplier": 0.8, "adaptive_target": 0.5, "min_keep": 2, "grammar": "root ::= 'a'", "json_schema": {},
    "lora": [{"id": 0, "scale": 0.5}], "post_sampling_probs": True, "return_progress": True, "verbose": True,
}  # fmt: skip


def test_what_is_not_there_is_accepted_while_it_is_off() -> None:
    assert options(**OFF) == options()
    assert ON.keys() == OFF.keys()


BAD: list[tuple[dict[str, Any], str]] = [
    *(({name: value}, name) for name, value in ON.items()),
    ({"n_predict": -2}, "n_predict"),
    ({"n_predict": 4097}, "n_predict"),
    ({"n_cmpl": 17}, "n_cmpl"),
    ({"n_probs": 17}, "n_probs"),
    ({"n_indent": -1}, "n_indent"),
    ({"repeat_penalty": 1.1, "repeat_last_n": 5}, "repeat_last_n"),
    ({"repeat_penalty": 0.5}, "repeat_penalty"),
    ({"samplers": ["magic"]}, "samplers[0]"),
    ({"samplers": "q"}, "samplers"),
    ({"samplers": 5}, "samplers"),
    ({"samplers": ["top_k", "top_k"]}, "samplers"),
    ({"logit_bias": [[256, 1.0]]}, "logit_bias[0]"),
    ({"logit_bias": [[97, True]]}, "logit_bias[0]"),
    ({"logit_bias": [[97]]}, "logit_bias[0]"),
    ({"logit_bias": 3}, "logit_bias"),
    ({"stop": 3}, "stop"),
]


@pytest.mark.parametrize(("bad", "field"), BAD, ids=[str(row[0]) for row in BAD])
def test_what_cannot_be_honoured_is_refused_by_name(bad: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        options(**bad)
    assert refusal.value.field == field


def test_biases_name_bytes_strings_and_what_is_banned() -> None:
    pairs = options(logit_bias=[[97, 1.5], ["bc", -1], [100, False]], ignore_eos=True).sampling.logit_bias
    assert dict(pairs) == {97: 1.5, 98: -1.0, 99: -1.0, 100: -100.0, 255: -100.0}
    assert dict(options(logit_bias={"97": 2, "é": False}).sampling.logit_bias) == {97: 2.0, 0xC3: -100, 0xA9: -100}


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("ab", "ab"),
        ([97, 98], "ab"),
        ([97, "bc", 100], "abcd"),
        (["ab", "c"], ("ab", "c")),
        ([[97], "b", ["c", 100]], ("a", "b", "cd")),
    ],
)
def test_prompts_in_all_of_llama_cpps_forms(prompt: Any, texts: Any) -> None:
    assert prompts_of(prompt) == texts


@pytest.mark.parametrize("prompt", [5, [], None, [97, 255], [0xC3], [{"prompt_string": "a"}], [[97], None]])
def test_what_is_no_prompt_is_refused(prompt: Any) -> None:
    with pytest.raises(InvalidArgument):
        prompts_of(prompt)


def test_chunks_come_before_the_prefix_and_end_their_line() -> None:
    body = {"input_prefix": "p\n", "input_suffix": "", "prompt": "x", "input_extra": [{"text": "a"}, {"text": "b\n"}]}
    assert left_of(InfillBody.model_validate(body)) == "a\nb\np\nx"


@pytest.mark.parametrize(
    ("text", "n_indent", "end"),
    [
        ("a\n    b", 4, None),
        ("a\n    b\n  c", 4, 7),
        ("a\n    b\n\nc", 4, 7),
        ("a\n\n    b", 4, None),
        ("a\n    b\n  ", 4, None),
        ("a\n\tb\nc", 1, 4),
        ("a\nb", 0, None),
        ("a\nb", 1, 1),
        ("a", 1, None),
    ],
)
def test_a_text_ends_before_the_first_line_that_is_indented_less(text: str, n_indent: int, end: int | None) -> None:
    assert end_by_indent(text, n_indent) == end


@given(st.text("a \n", max_size=30), st.integers(0, 4))
def test_where_indentation_ends_a_text_does_not_change_as_it_grows(text: str, n_indent: int) -> None:
    ends = [end_by_indent(text[:length], n_indent) for length in range(len(text) + 1)]
    found = [end for end in ends if end is not None]
    assert len(set(found)) <= 1
    assert ends == sorted(ends, key=lambda end: end is not None)


def test_time_ends_a_text_at_a_line_break_and_not_before_one() -> None:
    now = [0.0]
    ends = Ends(0, 0.25, lambda: now[0])
    ends.start()
    assert ends("a\nb") is None
    now[0] = 0.3
    assert ends("abc") is None
    assert ends("a\nb\nc") == 3


def test_response_fields_are_taken_out_of_their_objects() -> None:
    answer = {"content": "a", "timings": {"prompt_n": 3}, "stop": True}
    assert chosen(answer, ["content", "timings/prompt_n", "nothing", "content/x"]) == {
        "content": "a",
        "timings/prompt_n": 3,
    }
    assert chosen(answer, [""]) == {}
    assert chosen(answer, []) == answer
