"""What the parameters of a request may be, and how everything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.requests import Stop, SuggestSpec
from service.errors import InvalidArgument
from service.transport.kserve.parameters import InSequence, Options, Value, read_options
from service.transport.kserve.refusals import InferRefusals

REFUSALS = InferRefusals("m")


def read(**given_parameters: Value) -> Options:
    return read_options(given_parameters, REFUSALS)


def refusal(**given_parameters: Value) -> str:
    with pytest.raises(InvalidArgument) as refused:
        read(**given_parameters)
    return str(refused.value)


def test_nothing_given_is_a_request_about_its_own_text_without_a_timeout() -> None:
    assert read() == Options(None, None, 16, SuggestSpec(count=1))
    assert read(timeout=0, sequence_start=False, sequence_end=False, priority=0) == read()


def test_everything_that_may_be_given_is_read() -> None:
    options = read(sequence_id="a", sequence_end=True, timeout=5000, top_k=3, max_bytes=7, stop="word")
    assert options == Options(InSequence("a", end=True), 5000, 3, SuggestSpec(1, 7, Stop.WORD))


def test_a_number_and_the_string_that_shows_it_are_two_sequences() -> None:
    number, string = read(sequence_id=42), read(sequence_id="42")
    assert number.sequence == InSequence(42)
    assert string.sequence == InSequence("42")


def test_a_negative_number_is_the_one_without_a_sign_of_the_same_bits_as_in_triton() -> None:
    assert read(sequence_id=-1).sequence == read(sequence_id=2**64 - 1).sequence == InSequence(2**64 - 1)


def test_start_or_end_of_no_sequence_is_refused_in_triton_s_words() -> None:
    sentence = "inference request to model 'm' must specify a non-zero or non-empty correlation ID"
    for given_parameters in ({}, {"sequence_id": 0}, {"sequence_id": ""}):
        assert refusal(sequence_start=True, **given_parameters) == sentence
        assert refusal(sequence_end=True, **given_parameters) == sentence


def test_wrong_types_are_refused_in_triton_s_words() -> None:
    expected = "expected int64_param or string_param."
    for value in (True, 1.5, 2**64, -(2**63) - 1):
        assert refusal(sequence_id=value) == f"invalid value type for 'sequence_id' parameter, {expected}"
    for name in ("sequence_start", "sequence_end"):
        assert refusal(sequence_id=1, **{name: 1}) == f"invalid value type for '{name}' parameter, expected bool_param."
    assert refusal(timeout="1") == "invalid value type for 'timeout' parameter, expected int64_param."
    assert "expected int64_param or uint64_param." in refusal(priority="1")
    assert refusal(sequence_id="a" * 129) == "string correlation ID cannot be longer than 128 characters"
    assert "reserved for Triton usage" in refusal(triton_x=1)


def test_what_cannot_be_honoured_is_refused_and_says_so() -> None:
    assert "no priority levels" in refusal(priority=1)
    assert "there is no such parameter; there are: sequence_id" in refusal(temperature=0.5)
    assert "outside of 0..9223372036854775807" in refusal(timeout=-1)
    assert "outside of 1..256" in refusal(top_k=0)
    assert "'paragraph' is none of word, line, block, none" in refusal(stop="paragraph")


@given(
    st.dictionaries(
        st.sampled_from(
            ["sequence_id", "sequence_start", "timeout", "top_k", "stop", "max_bytes", "priority", "other"]
        ),
        st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    )
)
def test_any_parameters_are_either_read_or_refused_with_their_field(parameters: dict[str, Value]) -> None:
    fault = None
    try:
        read_options(parameters, REFUSALS)
    except InvalidArgument as refused:
        fault = refused.field
    assert fault is None or fault.startswith("parameters.")
