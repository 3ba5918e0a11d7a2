"""llama.cpp's `/infill` and `/completion`: recorded requests of its editor plug-ins, and every field of the answers."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from service.engine.fake_model import FakeModel
from service.engine.requests import CompleteSpec, SamplingSpec
from service.engine.sampling import seed_of_sample
from service.sessions import between
from service.transport.http.infill.ends import end_by_indent
from tests.integration.servers import IDENTITY, Running, running
from tests.integration.test_openai import of_each_byte
from tests.unit.engine.test_completing import naive

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLUGINS = Path(__file__).parent / "llama_plugins"
TEXT = "for root, dirs in os."
GREEDY = {"temperature": 0, "ignore_eos": True}
GREEDY_SPEC = SamplingSpec(top_k=40, top_p=0.95, min_p=0.05, logit_bias=((255, -100.0),))
ALL = {
    "index", "content", "tokens", "id_slot", "stop", "model", "tokens_predicted", "tokens_evaluated",
    "generation_settings", "prompt", "has_new_line", "truncated", "stop_type", "stopping_word", "tokens_cached",
    "timings",
}  # fmt: skip
TIMINGS = {
    "cache_n", "prompt_n", "prompt_ms", "prompt_per_token_ms", "prompt_per_second", "predicted_n", "predicted_ms",
    "predicted_per_token_ms", "predicted_per_second",
}  # fmt: skip


def recorded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((PLUGINS / f"{name}.json").read_text("utf-8"))
    return content


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.http) as client:
        yield client


async def ask(client: httpx.AsyncClient, path: str, **body: Any) -> Any:
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def told(client: httpx.AsyncClient, path: str, **body: Any) -> list[dict[str, Any]]:
    """The events of a stream."""
    answer = await client.post(path, json={**body, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, rest = answer.text.split("\n\n")
    assert rest == ""
    return [json.loads(event.removeprefix("data: ")) for event in events]


@pytest.mark.parametrize("name", ["vim_typing", "vim_speculative", "vim_first_release"])
async def test_llama_vim_is_answered_as_it_reads_it(client: httpx.AsyncClient, name: str) -> None:
    asked = recorded(name)
    answer = await client.post("/infill", json=asked)
    assert answer.status_code == 200, answer.text
    assert "\n" not in answer.text  # its callback gets a line at a time
    assert re.match(r"\s*\{", answer.text) and re.search(r'"content"\s*:"', answer.text)  # how it knows a whole answer
    body = answer.json()
    assert set(body) == set(asked["response_fields"])
    assert isinstance(body["content"], str)
    assert body["truncated"] is False
    assert body["timings/predicted_n"] <= asked["n_predict"]
    assert all(isinstance(body[field], int | float) for field in body if field.startswith("timings/"))
    assert end_by_indent(body["content"], asked["n_indent"]) is None


async def test_llama_vscode_is_answered_as_it_reads_it(client: httpx.AsyncClient) -> None:
    body = await ask(client, "/infill", **recorded("vscode_typing"))
    assert set(body) == ALL
    assert set(body["timings"]) == TIMINGS
    assert body["generation_settings"]["top_p"] == 0.99
    assert len(body["content"].encode()) == body["tokens_predicted"] == body["timings"]["predicted_n"]


async def test_llama_vscodes_several_completions_are_a_list_of_distinct_texts(client: httpx.AsyncClient) -> None:
    asked = recorded("vscode_parallel")
    answers = await ask(client, "/infill", **asked)
    assert [one["index"] for one in answers] == [0, 1, 2]
    assert len({one["content"] for one in answers}) == 3
    assert all(set(one) == ALL for one in answers)
    assert isinstance(await ask(client, "/infill", **{**asked, "n_cmpl": 1}), dict)


@pytest.mark.parametrize("name", ["vim_warm_up", "vim_first_release_warm_up", "vscode_warm_up", "vscode_first_release"])
async def test_warming_up_answers_and_makes_the_next_request_cheap(name: str) -> None:
    model = FakeModel()
    async with running(model) as server, httpx.AsyncClient(base_url=server.http) as client:
        asked = recorded(name)
        answer = await ask(client, "/infill", **asked)
        assert answer == {} if "response_fields" in asked else answer["tokens_predicted"] == asked["n_predict"]
        read = "".join(chunk["text"] for chunk in asked["input_extra"])
        typed = {**recorded("vscode_typing"), "input_extra": asked["input_extra"], "n_predict": 0}
        before = model.steps
        body = await ask(client, "/infill", **typed)
        new = typed["input_prefix"] + typed["prompt"]
        assert model.steps - before == len(new.encode()) == body["timings"]["prompt_n"]
        assert body["tokens_cached"] == body["timings"]["cache_n"] == len(read)
        assert (body["content"], body["stop_type"], body["prompt"]) == ("", "limit", read + new)


async def test_a_keystroke_reads_the_new_byte_alone(client: httpx.AsyncClient) -> None:
    asked = {**recorded("vim_typing"), "response_fields": []}
    await ask(client, "/infill", **asked)
    for typed in ("p", "pa", "pat"):
        body = await ask(client, "/infill", **{**asked, "prompt": asked["prompt"] + typed})
        assert body["timings"]["prompt_n"] <= 1
        assert body["tokens_cached"] >= body["tokens_evaluated"] - 1


async def test_an_infill_is_the_candidate_after_which_the_suffix_is_likeliest(client: httpx.AsyncClient) -> None:
    suffix = "a\ncd"
    body = await ask(
        client, "/infill", input_prefix=TEXT, input_suffix=suffix, prompt="x", n_predict=24, seed=6, samplers=[],
        ignore_eos=True,
    )  # fmt: skip
    hot = SamplingSpec(temperature=1.0, logit_bias=((255, -100.0),))
    left = (TEXT + "x").encode()
    candidates = [
        naive(left, CompleteSpec(24, (), replace(hot, seed=seed_of_sample(6, index))))[0].decode()
        for index in range(between.CANDIDATES)
    ]
    cuts = [cut for candidate in candidates for cut in between.cuts(candidate, suffix)]

    def likelihood(cut: str) -> float:
        before = left + cut.encode()
        return sum(of_each_byte(before + suffix.encode())[len(before) :])

    assert likelihood(body["content"]) == pytest.approx(max(map(likelihood, cuts)), abs=1e-4)
    assert body["stop_type"] == ("limit" if body["content"] in candidates else "eos")


async def test_nothing_after_the_cursor_leaves_a_completion(client: httpx.AsyncClient) -> None:
    body = await ask(client, "/infill", input_prefix="a", input_suffix="\n\n", prompt="b", n_predict=9, **GREEDY)
    assert body["content"].encode() == naive(b"ab", CompleteSpec(9, (), GREEDY_SPEC))[0]


async def test_a_completion_has_every_field_of_llama_cpps(client: httpx.AsyncClient) -> None:
    body = await ask(client, "/completion", prompt=TEXT, n_predict=20, return_tokens=True, id_slot=3, **GREEDY)
    expected = naive(TEXT.encode(), CompleteSpec(20, (), GREEDY_SPEC))[0]
    assert set(body) == ALL
    assert body["content"].encode() == bytes(body["tokens"]) == expected
    assert (body["stop"], body["stop_type"], body["stopping_word"]) == (True, "limit", "")
    assert (body["index"], body["id_slot"], body["model"], body["prompt"]) == (0, 3, IDENTITY.name, TEXT)
    assert (body["tokens_predicted"], body["tokens_evaluated"]) == (len(expected), len(TEXT))
    assert body["has_new_line"] is (b"\n" in expected)
    settings = body["generation_settings"]
    assert (settings["temperature"], settings["top_k"], settings["ignore_eos"]) == (0, 40, True)


async def test_how_a_text_ended_is_told(client: httpx.AsyncClient) -> None:
    word = await ask(client, "/completion", prompt=TEXT, stop=["a"], n_predict=60, **GREEDY)
    assert (word["stop_type"], word["stopping_word"]) == ("word", "a")
    end = await ask(client, "/completion", prompt=TEXT, temperature=0, logit_bias=[[255, 50]])
    assert (end["stop_type"], end["content"]) == ("eos", "")


async def test_sampling_is_as_asked(client: httpx.AsyncClient) -> None:
    asked = {"temperature": 1.5, "top_k": 9, "top_p": 0.9, "min_p": 0.01, "seed": 12, "presence_penalty": 0.5}
    body = await ask(client, "/completion", prompt=TEXT, n_predict=30, **asked, logit_bias={"a": 2, "255": False})
    sampling = SamplingSpec(1.5, 9, 0.9, 0.01, seed=12, presence_penalty=0.5, logit_bias=((97, 2.0), (255, -100.0)))
    assert body["content"].encode() == naive(TEXT.encode(), CompleteSpec(30, (), sampling))[0]


async def test_several_prompts_and_completions_are_a_list(client: httpx.AsyncClient) -> None:
    answers = await ask(client, "/completion", prompt=["ab", [99, "d"]], n_cmpl=2, n_predict=5, **GREEDY)
    assert [(one["index"], one["prompt"]) for one in answers] == [(0, "ab"), (1, "ab"), (2, "cd"), (3, "cd")]
    alone = await ask(client, "/completion", prompt=["ab"], n_predict=5, **GREEDY)
    assert [one["content"] for one in alone] == [answers[0]["content"]]


async def test_probabilities_of_what_was_generated(client: httpx.AsyncClient) -> None:
    body = await ask(client, "/completion", prompt=TEXT, n_predict=12, n_probs=3, **GREEDY)
    told = body["completion_probabilities"]
    made = body["content"].encode()
    assert [one["id"] for one in told] == list(made)
    assert [one["logprob"] for one in told] == pytest.approx(of_each_byte(TEXT.encode() + made)[len(TEXT) :])
    assert all(len(one["top_logprobs"]) == 3 for one in told)
    assert all(one["token"].encode() in (bytes(one["bytes"]), b"") for one in told)


async def test_lines_that_are_indented_less_end_a_text(client: httpx.AsyncClient) -> None:
    asked = {"prompt": TEXT, "n_predict": 400, "seed": 1, "temperature": 2.0, "samplers": ["temperature"]}
    whole = await ask(client, "/completion", **asked, ignore_eos=True)
    end = end_by_indent(whole["content"], 2)
    assert end is not None
    cut = await ask(client, "/completion", **asked, ignore_eos=True, n_indent=2)
    assert (cut["content"], cut["stop_type"]) == (whole["content"][:end], "limit")
    events = await told(client, "/completion", **asked, ignore_eos=True, n_indent=2)
    assert "".join(event["content"] for event in events) == cut["content"]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/completion", {"prompt": TEXT, "n_predict": 60, "n_cmpl": 2, "seed": 3, "timings_per_token": True}),
        ("/completion", {"prompt": [TEXT, "é"], "n_predict": 20, "seed": 3}),
        ("/completion", {"prompt": TEXT, "n_predict": 0}),
        ("/infill", {"input_prefix": TEXT, "input_suffix": "a\n", "n_predict": 20, "seed": 3}),
        ("/infill", {"input_prefix": TEXT, "input_suffix": "", "n_predict": 20, "seed": 3}),
    ],
)
async def test_a_stream_says_what_the_whole_answer_says(
    client: httpx.AsyncClient, path: str, asked: dict[str, Any]
) -> None:
    whole = await ask(client, path, **asked)
    events = await told(client, path, **asked)
    for expected in whole if isinstance(whole, list) else [whole]:
        *partial, last = [event for event in events if event["index"] == expected["index"]]
        assert "".join(event["content"] for event in partial) == expected["content"]
        assert bytes(token for event in partial for token in event["tokens"]) == expected["content"].encode()
        assert [event["stop"] for event in partial] == [False] * len(partial)
        assert (last["stop"], last["content"], last["stop_type"]) == (True, "", expected["stop_type"])
        assert last["tokens_predicted"] == expected["tokens_predicted"]
        assert all(("timings" in event) == ("timings_per_token" in asked) for event in partial)


async def test_time_ends_a_text_at_its_next_line_break() -> None:
    async with running() as server, httpx.AsyncClient(base_url=server.http, timeout=60) as client:
        body = await ask(
            client, "/completion", prompt=TEXT, n_predict=4096, t_max_predict_ms=1, temperature=1, seed=1, n_cmpl=4,
            ignore_eos=True,
        )  # fmt: skip
        for one in body:
            assert one["stop_type"] == "limit"
            assert one["tokens_predicted"] < 4000


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("/completion", {}, "prompt"),
    ("/completion", {"prompt": 5}, "prompt"),
    ("/completion", {"prompt": "a", "mirostat": 2}, "mirostat"),
    ("/completion", {"prompt": "a", "grammar": "root ::= 'a'"}, "grammar"),
    ("/completion", {"prompt": "a", "temperature": 9}, "temperature"),
    ("/completion", {"prompt": "a", "unheard_of": 1}, "unheard_of"),
    ("/completion", {"prompt": "a", "stop": ["a"] * 5}, "stop"),
    ("/infill", {"input_suffix": ""}, "input_prefix"),
    ("/infill", {"input_prefix": ""}, "input_suffix"),
    ("/infill", {"input_prefix": "", "input_suffix": "", "prompt": [1]}, "prompt"),
    ("/infill", {"input_prefix": "", "input_suffix": "", "input_extra": {}}, "input_extra"),
    *(
        ("/infill", {"input_prefix": "", "input_suffix": "", "input_extra": [chunk]}, "input_extra[0]")
        for chunk in ({}, {"filename": "ok"}, {"filename": 123, "text": "abc"}, {"filename": "a", "text": 456})
    ),
    ("/infill", {"input_prefix": "", "input_suffix": "", "lora": [{"id": 0, "scale": 0.5}]}, "lora"),
]


@pytest.mark.parametrize(("path", "body", "field"), REFUSED, ids=[f"{row[0]} {row[1]}"[:60] for row in REFUSED])
async def test_what_is_wrong_or_not_supported_is_refused_in_llama_cpps_shape(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], field: str
) -> None:
    answer = await client.post(path, json=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert (set(error), error["code"], error["type"]) == ({"code", "message", "type"}, 400, "invalid_request_error")
    assert error["message"].startswith(field)


async def test_other_errors_have_the_same_shape(client: httpx.AsyncClient) -> None:
    answers = [
        (await client.post("/completion", json={"prompt": "a", "model": "qwen"}), 404, "not_found_error"),
        (await client.post("/infill", json={}, headers={"host": "evil.example"}), 403, "permission_error"),
        (await client.post("/infill", content=b"x" * (1024 * 1024 + 1)), 413, "invalid_request_error"),
        (await client.get("/infill"), 405, "invalid_request_error"),
    ]
    for answer, status, kind in answers:
        assert answer.status_code == answer.json()["error"]["code"] == status
        assert answer.json()["error"]["type"] == kind


async def test_health_and_properties(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json() == (await client.get("/v1/health")).json() == {"status": "ok"}
    props = (await client.get("/props")).json()
    assert props["default_generation_settings"]["params"]["temperature"] == 0.8
    assert (props["model_path"], props["total_slots"]) == (IDENTITY.name, 1)


async def test_health_says_that_the_server_ends() -> None:
    async with running() as server, httpx.AsyncClient(base_url=server.http) as client:
        server.server.lifecycle.drain()
        answer = await client.get("/health")
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "unavailable_error")


async def test_a_long_prefix_is_read_from_a_line_that_stays(client: httpx.AsyncClient) -> None:
    lines = [f"value_{number} = {number * 7919 % 1000}  {'#' * (number % 31)}" for number in range(400)]
    read = set()
    for first in range(20):
        window = "\n".join(lines[first : first + 256]) + "\n"
        body = await ask(client, "/infill", input_prefix=window, input_suffix="", n_predict=0)
        assert window.endswith(body["prompt"])
        assert 4096 <= body["tokens_evaluated"] <= 8192
        read.add(body["prompt"][:60])
    assert len(read) <= 3


async def test_the_documented_examples_run(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for path in ("/infill", "/completion"):
        operation = document["paths"][path]["post"]
        for name, example in operation["requestBody"]["content"]["application/json"]["examples"].items():
            answer = await client.post(path, json=example["value"])
            assert answer.status_code == 200, (name, answer.text)
        assert set(operation["responses"]) == {"200", "400", "404", "408", "413", "429", "503"}
