"""OpenAI's completions field by field, with the real `openai` client, sync and async, whole and streamed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from openai.types import Completion
from openai.types.completion_choice import Logprobs

from service.engine.fake_model import FakeModel
from service.engine.ports import States, StepResult
from service.engine.requests import CompleteSpec, FinishReason, SamplingSpec
from service.engine.sampling import seed_of_sample
from service.sessions import between
from tests.integration.servers import IDENTITY, GatedModel, Running, running
from tests.unit.engine.test_completing import naive

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "for root, dirs in os."
ENDLESS = {"255": -100}
GREEDY = {"temperature": 0, "logit_bias": ENDLESS}
GREEDY_SPEC = SamplingSpec(logit_bias=((255, -100.0),))


class SyncCaller:
    """`openai.OpenAI`, in a thread, because the server shares our event loop."""

    def __init__(self, server: Running) -> None:
        self.client = openai.OpenAI(base_url=f"{server.http}/v1", api_key="none", max_retries=0)

    async def create(self, **asked: Any) -> Any:
        create: Any = self.client.completions.create
        return await asyncio.to_thread(create, model=IDENTITY.name, **asked)

    async def stream(self, **asked: Any) -> list[Completion]:
        def read() -> list[Completion]:
            return list(self.client.completions.create(model=IDENTITY.name, stream=True, **asked))

        return await asyncio.to_thread(read)

    async def models(self) -> Any:
        return await asyncio.to_thread(self.client.models.list)

    async def model(self, name: str) -> Any:
        return await asyncio.to_thread(self.client.models.retrieve, name)

    async def close(self) -> None:
        self.client.close()


class AsyncCaller:
    """`openai.AsyncOpenAI`."""

    def __init__(self, server: Running) -> None:
        self.client = openai.AsyncOpenAI(base_url=f"{server.http}/v1", api_key="none", max_retries=0)

    async def create(self, **asked: Any) -> Any:
        return await self.client.completions.create(model=IDENTITY.name, **asked)

    async def stream(self, **asked: Any) -> list[Completion]:
        chunks = await self.client.completions.create(model=IDENTITY.name, stream=True, **asked)
        return [chunk async for chunk in chunks]

    async def models(self) -> Any:
        return await self.client.models.list()

    async def model(self, name: str) -> Any:
        return await self.client.models.retrieve(name)

    async def close(self) -> None:
        await self.client.close()


Caller = SyncCaller | AsyncCaller


@asynccontextmanager
async def calling(server: Running, kind: type[SyncCaller] | type[AsyncCaller] = AsyncCaller) -> AsyncIterator[Caller]:
    caller = kind(server)
    try:
        yield caller
    finally:
        await caller.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[SyncCaller, AsyncCaller], ids=["sync", "async"])
async def caller(server: Running, request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    async with calling(server, request.param) as caller:
        yield caller


def distributions(data: bytes) -> NDArray[np.float32]:
    """What the model expects after every beginning of `data`, float32 [bytes + 1, 256]."""
    model = FakeModel()
    states: States = [np.full((1, s.width), s.initial, s.dtype) for s in model.shapes]
    rows = []
    for token in [model.start_token, *data]:
        result = model.step(np.array([[token]]), states, all_probabilities=True)
        assert result.log_probabilities is not None
        states = result.states
        rows.append(result.log_probabilities[0])
    return np.stack(rows)


def of_each_byte(data: bytes) -> list[float]:
    """The log-probability of every byte after those before it."""
    return [float(row[byte]) for row, byte in zip(distributions(data), data, strict=False)]


def spec(max_tokens: int, sampling: SamplingSpec = GREEDY_SPEC, stop: tuple[bytes, ...] = ()) -> CompleteSpec:
    return CompleteSpec(max_tokens, stop, sampling)


async def test_a_completion_has_every_field_of_openais(caller: Caller) -> None:
    answer = await caller.create(prompt=TEXT, max_tokens=20, **GREEDY)
    expected = naive(TEXT.encode(), spec(20))[0].decode()
    assert answer.id.startswith("cmpl-")
    assert (answer.object, answer.model) == ("text_completion", IDENTITY.name)
    assert answer.created > 1_700_000_000
    assert answer.system_fingerprint.startswith("fp_")
    (choice,) = answer.choices
    assert (choice.index, choice.text, choice.finish_reason, choice.logprobs) == (0, expected, "length", None)
    made = len(expected.encode())
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (len(TEXT), made, len(TEXT) + made)
    assert answer._request_id
    assert not answer.model_extra


ASKED: list[tuple[dict[str, Any], CompleteSpec]] = [
    ({"max_tokens": 12, "seed": 5}, spec(12, SamplingSpec(temperature=1.0, seed=5))),
    ({"seed": -1}, spec(16, SamplingSpec(temperature=1.0, seed=2**64 - 1))),
    (
        {"max_tokens": 30, "temperature": 1.7, "top_p": 0.8, "seed": 5},
        spec(30, SamplingSpec(temperature=1.7, top_p=0.8, seed=5)),
    ),
    (
        {"max_tokens": 30, "temperature": 0, "presence_penalty": 1.5, "frequency_penalty": 0.5},
        spec(30, SamplingSpec(presence_penalty=1.5, frequency_penalty=0.5)),
    ),
    (
        {"max_tokens": 30, "temperature": 0, "logit_bias": {"97": 4, "255": -100}},
        spec(30, SamplingSpec(logit_bias=((97, 4.0), (255, -100.0)))),
    ),
    ({"max_tokens": 60, "stop": "a", **GREEDY}, spec(60, stop=(b"a",))),
    ({"max_tokens": 60, "stop": ["h", "(", "e", "\n"], **GREEDY}, spec(60, stop=(b"h", b"(", b"e", b"\n"))),
    ({"max_tokens": 40, "temperature": 0, "logit_bias": {"255": 9}}, spec(40, SamplingSpec(logit_bias=((255, 9.0),)))),
]


@pytest.mark.parametrize(("asked", "spec"), ASKED, ids=[str(row[0])[:50] for row in ASKED])
async def test_every_parameter_has_its_effect(caller: Caller, asked: dict[str, Any], spec: CompleteSpec) -> None:
    answer = await caller.create(prompt=TEXT, **asked)
    text, reason = naive(TEXT.encode(), spec)
    finish = "length" if reason is FinishReason.LENGTH else "stop"
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == (text.decode(), finish)


async def test_no_top_p_at_all_is_the_likeliest_byte(caller: Caller) -> None:
    answer = await caller.create(prompt=TEXT, max_tokens=20, top_p=0, logit_bias=ENDLESS)
    assert answer.choices[0].text.encode() == naive(TEXT.encode(), spec(20))[0]


async def test_each_of_n_has_a_seed_of_its_own(caller: Caller) -> None:
    answer = await caller.create(prompt=TEXT, max_tokens=10, n=3, seed=8, logit_bias=ENDLESS)
    hot = replace(GREEDY_SPEC, temperature=1.0)
    expected = [naive(TEXT.encode(), spec(10, replace(hot, seed=seed_of_sample(8, index))))[0] for index in range(3)]
    assert [choice.text.encode() for choice in answer.choices] == expected
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage.prompt_tokens == len(TEXT)
    assert answer.usage.completion_tokens == sum(map(len, expected))


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("abc", ["abc"]),
        (["abc", "de", ""], ["abc", "de", ""]),
        ([97, 98, 99], ["abc"]),
        ([255, 97], ["a"]),
        ([[97], [98, 99], list("é".encode())], ["a", "bc", "é"]),
        (None, [""]),
    ],
)
async def test_a_prompt_in_any_form_with_n_completions_each(caller: Caller, prompt: Any, texts: list[str]) -> None:
    answer = await caller.create(prompt=prompt, max_tokens=8, n=2, echo=True, **GREEDY)
    expected = [text + naive(text.encode(), spec(8))[0].decode() for text in texts for _ in range(2)]
    assert [(choice.index, choice.text) for choice in answer.choices] == [*enumerate(expected)]


async def test_log_probabilities_of_what_is_generated(caller: Caller) -> None:
    answer = await caller.create(
        prompt="é" + TEXT, max_tokens=30, logprobs=3, temperature=1, seed=2, logit_bias=ENDLESS
    )
    (choice,) = answer.choices
    made, data = choice.text.encode(), ("é" + TEXT).encode()
    whole = distributions(data + made)[len(data) :]
    assert choice.logprobs.tokens == [chr(byte) if byte < 128 else rf"bytes:\x{byte:02x}" for byte in made]
    assert choice.logprobs.token_logprobs == pytest.approx([float(whole[i][byte]) for i, byte in enumerate(made)])
    for index, byte in enumerate(made):
        best = sorted(np.argsort(-whole[index], kind="stable")[:3].tolist())
        top = choice.logprobs.top_logprobs[index]
        shown = {("<|endoftext|>" if one == 255 else chr(one) if one < 128 else rf"bytes:\x{one:02x}") for one in best}
        assert shown <= top.keys() <= shown | {choice.logprobs.tokens[index]}
        assert top[choice.logprobs.tokens[index]] == pytest.approx(float(whole[index][byte]))
    characters = len("é" + TEXT)
    assert choice.logprobs.text_offset == [characters + at for at, one in enumerate(choice.text) for _ in one.encode()]


async def test_no_alternatives_are_the_byte_alone(caller: Caller) -> None:
    answer = await caller.create(prompt="ab", max_tokens=4, logprobs=0, **GREEDY)
    logprobs = answer.choices[0].logprobs
    assert [list(top) for top in logprobs.top_logprobs] == [[token] for token in logprobs.tokens]


async def test_scoring_a_text_generates_nothing(caller: Caller) -> None:
    text = "abé("
    answer = await caller.create(prompt=text, max_tokens=0, echo=True, logprobs=10)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason) == (text, "length")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 0)
    logprobs = choice.logprobs
    assert logprobs.tokens == ["a", "b", r"bytes:\xc3", r"bytes:\xa9", "("]
    assert logprobs.token_logprobs[0] is logprobs.top_logprobs[0] is None
    assert logprobs.token_logprobs[1:] == pytest.approx(of_each_byte(text.encode())[1:])
    assert all(len(top) in (10, 11) for top in logprobs.top_logprobs[1:])
    assert logprobs.text_offset == [0, 1, 2, 2, 3]


async def test_behind_the_separator_the_first_byte_has_a_log_probability(caller: Caller) -> None:
    answer = await caller.create(prompt=[255, 97, 98], max_tokens=0, echo=True, logprobs=0)
    logprobs = answer.choices[0].logprobs
    assert logprobs.tokens == ["<|endoftext|>", "a", "b"]
    assert logprobs.token_logprobs == [None, *map(pytest.approx, of_each_byte(b"ab"))]
    assert answer.usage.prompt_tokens == 3


async def test_bytes_that_are_no_characters_are_scored_and_not_gone_on_from(caller: Caller) -> None:
    answer = await caller.create(prompt=[[97, 0xC3], [0xA9]], max_tokens=0, echo=True, logprobs=1)
    assert [choice.text for choice in answer.choices] == ["a\ufffd", "\ufffd"]
    assert answer.choices[0].logprobs.token_logprobs[1] == pytest.approx(of_each_byte(b"a\xc3")[1])
    with pytest.raises(openai.BadRequestError) as refusal:
        await caller.create(prompt=[[97], [97, 0xC3]], max_tokens=1)
    assert refusal.value.param == "prompt[1]"


async def test_an_echo_with_log_probabilities_goes_on_into_the_completion(caller: Caller) -> None:
    answer = await caller.create(prompt=TEXT, max_tokens=9, echo=True, logprobs=2, **GREEDY)
    (choice,) = answer.choices
    whole = TEXT.encode() + naive(TEXT.encode(), spec(9))[0]
    assert choice.text == whole.decode()
    assert choice.logprobs.token_logprobs[0] is None
    assert choice.logprobs.token_logprobs[1:] == pytest.approx(of_each_byte(whole)[1:])
    assert len({*map(len, choice.logprobs.model_dump().values())}) == 1


async def test_reading_alone_answers_with_nothing(caller: Caller) -> None:
    answer = await caller.create(prompt=[TEXT, "b"], max_tokens=0, n=2)
    assert [(choice.text, choice.finish_reason) for choice in answer.choices] == [("", "length")] * 4


async def test_the_best_of_several_are_those_of_the_highest_mean_log_probability(caller: Caller) -> None:
    answer = await caller.create(prompt=TEXT, max_tokens=12, n=2, best_of=6, seed=3, logit_bias=ENDLESS)
    hot = replace(GREEDY_SPEC, temperature=1.0)
    made = [naive(TEXT.encode(), spec(12, replace(hot, seed=seed_of_sample(3, index))))[0] for index in range(6)]
    ranked = sorted(made, key=lambda one: -float(np.mean(of_each_byte(TEXT.encode() + one)[len(TEXT) :])))
    assert [choice.text.encode() for choice in answer.choices] == ranked[:2]
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.usage.completion_tokens == sum(map(len, made))


@pytest.mark.parametrize("temperature", [0, 1])
async def test_a_suffix_chooses_the_candidate_after_which_it_is_likeliest(caller: Caller, temperature: int) -> None:
    suffix = "a\ncd"
    asked = {"max_tokens": 24, "temperature": temperature, "seed": 6, "logit_bias": ENDLESS}
    answer = await caller.create(prompt=TEXT, suffix=suffix, **asked)
    hot = replace(GREEDY_SPEC, temperature=1.0)
    if temperature:
        specs = [replace(hot, seed=seed_of_sample(6, index)) for index in range(between.CANDIDATES)]
    else:
        drawn = replace(hot, temperature=between.DRAWN_AT)
        specs = [GREEDY_SPEC] + [replace(drawn, seed=seed_of_sample(6, index)) for index in range(3)]
    candidates = [naive(TEXT.encode(), spec(24, one))[0].decode() for one in specs]
    cuts = [cut for candidate in candidates for cut in between.cuts(candidate, suffix)]

    def likelihood(cut: str) -> float:
        left = (TEXT + cut).encode()
        return sum(of_each_byte(left + suffix.encode())[len(left) :])

    (choice,) = answer.choices
    assert likelihood(choice.text) == pytest.approx(max(map(likelihood, cuts)), abs=1e-4)
    assert choice.finish_reason == ("length" if choice.text in candidates else "stop")
    assert answer.usage.prompt_tokens == len(TEXT) + len(suffix)
    assert answer.usage.completion_tokens == sum(len(candidate.encode()) for candidate in candidates)
    assert (await caller.create(prompt=TEXT, suffix=suffix, **asked)).choices == answer.choices
    pinned = {"x-carousel-session": f"suffix-{temperature}"}
    again = await caller.create(prompt=TEXT, suffix=suffix, extra_headers=pinned, **asked)
    assert again.choices == answer.choices


STREAMED: list[dict[str, Any]] = [
    {"max_tokens": 200, **GREEDY},
    {"max_tokens": 40, "n": 3, "seed": 1, "logit_bias": {"195": 4, "255": -100}, "logprobs": 2},
    {"max_tokens": 25, "echo": True, "logprobs": 1, "seed": 1, "n": 2},
    {"max_tokens": 0, "echo": True, "logprobs": 1},
    {"max_tokens": 20, "suffix": "a\n", "n": 2, "seed": 4},
    {"max_tokens": 40, "stop": ["a"], "seed": 2},
]


@pytest.mark.parametrize("asked", STREAMED, ids=[str(one)[:50] for one in STREAMED])
@pytest.mark.parametrize("usage", [False, True], ids=["", "usage"])
async def test_a_stream_says_what_the_whole_answer_says(caller: Caller, asked: dict[str, Any], usage: bool) -> None:
    prompts = [TEXT, "é"]
    whole = await caller.create(prompt=prompts, **asked)
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = await caller.stream(prompt=prompts, **asked, **more)
    assert {(chunk.id, chunk.object, chunk.created, chunk.model) for chunk in chunks} == {
        (chunks[0].id, "text_completion", chunks[0].created, IDENTITY.name)
    }
    if usage:
        assert chunks[-1].choices == []
        assert chunks.pop().usage == whole.usage
    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in chunks)
    for expected in whole.choices:
        mine = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == expected.index]
        assert "".join(choice.text for choice in mine) == expected.text
        assert [choice.finish_reason for choice in mine] == [None] * (len(mine) - 1) + [expected.finish_reason]
        if expected.logprobs is None:
            assert all(choice.logprobs is None for choice in mine)
        else:
            for name, values in expected.logprobs.model_dump().items():
                told = [value for choice in mine for value in (choice.logprobs or Logprobs()).model_dump()[name]]
                assert told == values, name


async def test_a_stream_on_the_wire_ends_with_done(server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.http) as client:
        body = {"prompt": "ab", "max_tokens": 5, "stream": True, "stream_options": {"include_usage": True}}
        answer = await client.post("/v1/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    told = [json.loads(event.removeprefix("data: ")) for event in events]
    assert [event["usage"] for event in told[:-1]] == [None] * (len(told) - 1)
    assert told[-1]["usage"]["prompt_tokens"] == 2


async def test_models_are_listed_and_named(caller: Caller) -> None:
    listed = (await caller.models()).data
    assert [(model.id, model.object, model.owned_by) for model in listed] == [(IDENTITY.name, "model", "carousel")]
    assert (await caller.model(IDENTITY.name)) == listed[0]
    with pytest.raises(openai.NotFoundError) as refusal:
        await caller.model("davinci-002")
    assert (refusal.value.code, refusal.value.param) == ("model_not_found", "model")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"prompt": [97, 256]}, "prompt[1]"),
    ({"prompt": []}, "prompt"),
    ({"max_tokens": 4097}, "max_tokens"),
    ({"n": 17}, "n"),
    ({"n": 2, "best_of": 1}, "best_of"),
    ({"logprobs": 11}, "logprobs"),
    ({"temperature": 3}, "temperature"),
    ({"top_p": 2}, "top_p"),
    ({"presence_penalty": 5}, "presence_penalty"),
    ({"logit_bias": {"x": 1}}, "logit_bias.x"),
    ({"logit_bias": {"97": 101}}, "logit_bias.97"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"stop": [""]}, "stop[0]"),
    ({"stop": "x" * 65}, "stop[0]"),
    ({"extra_body": {"messages": []}}, "messages"),
    ({"extra_body": {"tools": None}}, "tools"),
    ({"extra_body": {"n": "one"}}, "n"),
    ({"prompt": "x" * 500_000, "max_tokens": 0, "echo": True, "logprobs": 10}, "prompt"),
]


@pytest.mark.parametrize(("asked", "param"), REFUSED, ids=[str(row[0])[:40] for row in REFUSED])
async def test_what_is_wrong_or_not_supported_is_a_bad_request(
    caller: Caller, asked: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        await caller.create(**{"prompt": "a", **asked})
    assert (refusal.value.param, refusal.value.type, refusal.value.code) == (param, "invalid_request_error", None)
    assert refusal.value.request_id
    assert isinstance(refusal.value.body, dict)
    assert set(refusal.value.body) == {"message", "type", "param", "code"}
    with pytest.raises(openai.BadRequestError):
        await caller.stream(**{"prompt": "a", **asked})


async def test_an_unknown_model_is_not_found_and_an_empty_name_is_the_default(server: Running) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.http}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError) as refusal:
            await client.completions.create(model="davinci-002", prompt="a")
        assert refusal.value.code == "model_not_found"
        assert (await client.completions.create(model="", prompt="a", max_tokens=1)).model == IDENTITY.name


async def test_a_full_engine_is_a_rate_limit_that_says_when_to_come_back() -> None:
    async with running(max_queued=3) as server, calling(server) as caller:
        for ask in (caller.create, caller.stream):
            with pytest.raises(openai.RateLimitError) as refusal:
                await ask(prompt="a", n=9)
            assert refusal.value.code == "rate_limit_exceeded"
            assert int(refusal.value.response.headers["retry-after"]) >= 1
        assert (await caller.create(prompt="a", max_tokens=5)).choices


class FailingModel(FakeModel):
    """Raises at every step after `fails_after` of them."""

    fails_after = 10**9

    def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
        if len(self.calls) >= self.fails_after:
            raise RuntimeError("out of order")
        return super().step(tokens, states, all_probabilities=all_probabilities)


async def test_a_model_that_fails_is_a_server_error_before_a_stream_and_in_it() -> None:
    model = FailingModel()
    async with running(model) as server, calling(server) as caller:
        model.fails_after = len(model.calls) + 30
        with pytest.raises(openai.APIError, match="could not be run") as failure:
            await caller.stream(prompt="ab", max_tokens=100, seed=1, logit_bias=ENDLESS)
        assert not isinstance(failure.value, openai.APIStatusError)  # the status was sent when the text began
        with pytest.raises(openai.InternalServerError) as refusal:
            await caller.create(prompt="ab", max_tokens=100, seed=1)
        assert (refusal.value.status_code, refusal.value.code) == (503, "service_unavailable")


RAW: list[tuple[str, str, dict[str, Any], int, str | None]] = [
    ("a foreign name", "post", {"json": {}, "headers": {"host": "evil.example"}}, 403, "permission_denied"),
    ("a foreign page", "post", {"json": {}, "headers": {"origin": "http://evil.example"}}, 403, "permission_denied"),
    ("too large", "post", {"content": b"x" * (1024 * 1024 + 1)}, 413, None),
    ("no JSON", "post", {"content": b"{", "headers": {"content-type": "application/json"}}, 400, None),
    ("no object", "post", {"json": [1]}, 400, None),
    ("a query", "post", {"json": {}, "params": {"api-version": "1"}}, 400, None),
    ("another method", "get", {}, 405, None),
]


@pytest.mark.parametrize(("method", "sent", "status", "code"), [row[1:] for row in RAW], ids=[row[0] for row in RAW])
async def test_every_error_of_the_path_has_openais_shape(
    server: Running, method: str, sent: dict[str, Any], status: int, code: str | None
) -> None:
    async with httpx.AsyncClient(base_url=server.http) as client:
        answer = await client.request(method, "/v1/completions", **sent)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert answer.headers["x-request-id"]


async def test_a_pinned_session_holds_the_prompt(server: Running) -> None:
    headers = {"x-carousel-session": "openai-1"}
    async with calling(server) as caller, httpx.AsyncClient(base_url=server.http) as client:
        asked = {"max_tokens": 8, "extra_headers": headers, **GREEDY}
        for revision, prompt in enumerate(["ab", "abc", "abé", "x", "x"], 1):
            raw = await client.post(
                "/v1/completions",
                json={"prompt": prompt, "max_tokens": 8, **GREEDY},
                headers=headers,
            )
            assert raw.json()["choices"][0]["text"].encode() == naive(prompt.encode(), spec(8))[0]
            assert raw.headers["x-carousel-session"] == "openai-1"
            assert raw.headers["x-carousel-revision"] == str(min(revision, 4))  # the same text is no edit
            shown = (await client.get("/v1/sessions/openai-1?include=text")).json()
            assert (shown["text"], shown["revision"], shown["cursor"]) == (prompt, min(revision, 4), len(prompt))
        undone = {"revision": 4, "edits": [{"undo_to": 2}]}
        assert (await client.post("/v1/sessions/openai-1/edits", json=undone)).status_code == 200
        chunks = await caller.stream(prompt="abcd", **asked)
        assert "".join(chunk.choices[0].text for chunk in chunks).encode() == naive(b"abcd", spec(8))[0]
        with pytest.raises(openai.BadRequestError) as refusal:
            await caller.create(prompt=["a", "b"], extra_headers=headers)
        assert refusal.value.param == "x-carousel-session"
        with pytest.raises(openai.BadRequestError) as refusal:
            await caller.create(prompt="a", extra_headers={"x-carousel-session": "not a name"})
        assert refusal.value.param == "x-carousel-session"


async def test_requests_that_pin_the_same_session_at_once_are_all_answered(server: Running) -> None:
    async with calling(server) as caller:
        answers = await asyncio.gather(
            *(
                caller.create(prompt="ab" * count, max_tokens=4, extra_headers={"x-carousel-session": "openai-2"})
                for count in range(1, 4)
            ),
            return_exceptions=True,
        )
    for answer in answers:
        if isinstance(answer, BaseException):
            assert isinstance(answer, openai.ConflictError)
            assert answer.code == "revision_conflict"
        else:
            assert answer.choices[0].finish_reason in ("stop", "length")
    assert any(not isinstance(answer, BaseException) for answer in answers)


@pytest.mark.parametrize("pinned", [{}, {"x-carousel-session": "grows"}], ids=["prompt", "pinned"])
async def test_a_prompt_that_grows_is_found_by_its_longest_beginning(pinned: dict[str, str]) -> None:
    """The next byte costs a step, one byte of it being generated another; going back costs none that was made."""
    model = FakeModel()
    async with running(model) as server, calling(server) as caller:
        long = "".join(chr(97 + index % 7) for index in range(500))

        async def steps(prompt: str, **asked: Any) -> int:
            before = model.steps
            await caller.create(prompt=prompt, max_tokens=1, extra_headers=pinned, **{**GREEDY, **asked})
            return model.steps - before

        assert await steps(long) >= 500
        grown = [await steps(long + "bcdef"[:count], seed=count) for count in range(1, 6)]
        assert max(grown) <= 2, grown
        assert await steps(long + "bc") <= 1
        assert await steps(long[:480], temperature=1) <= 33  # as far as a chunk's end is held
        assert await steps(long) <= 1


class HoldingModel(GatedModel):
    """A GatedModel whose gate closes at a call to come."""

    def __init__(self) -> None:
        super().__init__()
        self.close_at: int | None = None

    def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
        if self.close_at is not None and len(self.calls) >= self.close_at:
            self.gate.clear()
            self.close_at = None
        return super().step(tokens, states, all_probabilities=all_probabilities)


ABANDONED: list[tuple[str, dict[str, Any]]] = [
    ("whole", {"max_tokens": 4096, "logit_bias": ENDLESS}),
    ("stream", {"max_tokens": 4096, "logit_bias": ENDLESS, "stream": True}),
    ("several prompts", {"prompt": ["ab", "cd"], "max_tokens": 4096, "logit_bias": ENDLESS}),
    ("suffix", {"max_tokens": 4096, "logit_bias": ENDLESS, "suffix": "x"}),
    ("score", {"prompt": "abcdefg" * 4000, "max_tokens": 0, "echo": True, "logprobs": 1}),
]


@pytest.mark.parametrize("asked", [row[1] for row in ABANDONED], ids=[row[0] for row in ABANDONED])
async def test_a_caller_who_goes_away_stops_the_work(asked: dict[str, Any]) -> None:
    model = HoldingModel()
    async with running(model) as server:
        try:
            async with httpx.AsyncClient(base_url=server.http) as client:
                model.close_at = len(model.calls) + 20
                asking = asyncio.create_task(client.post("/v1/completions", json={"prompt": "ab", **asked}))
                assert await asyncio.to_thread(model.waiting.wait, 30)
                asking.cancel()
                await asyncio.wait([asking])
            assert await server.server.lifecycle.wait_idle(30)
            before = len(model.calls)
            model.gate.set()
            async with calling(server) as caller:
                await caller.create(prompt="\u00e9", max_tokens=1)
            assert len(model.calls) - before <= 25
        finally:
            model.gate.set()


async def test_the_documented_examples_run(server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.http) as client:
        document = (await client.get("/openapi.json")).json()
        operation = document["paths"]["/v1/completions"]["post"]
        examples = operation["requestBody"]["content"]["application/json"]["examples"]
        for name, example in examples.items():
            answer = await client.post("/v1/completions", json=example["value"])
            assert answer.status_code == 200, (name, answer.text)
    assert set(operation["responses"]) == {"200", "400", "404", "408", "409", "413", "429", "503"}
    assert list(operation["responses"]["400"]["content"]) == ["application/json"]
    assert "A token is a byte" in operation["description"].split("\n")[0]
