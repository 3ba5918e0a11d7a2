"""Triton's own client, unchanged, in all of its forms: `http`, `grpc`, `http.aio`, `grpc.aio`, callbacks, streams."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator
from math import fsum
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from service.engine.fake_model import FakeModel
from tests.integration.kserve.driver import FORMS, NO_CLIENT, PYTHON, Driver, Form, Json, Refused, driving, text, tokens
from tests.integration.servers import Running

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not PYTHON.exists(), reason=NO_CLIENT),
]
GRPC_FORMS: tuple[Form, ...] = ("grpc", "grpc.aio")
OUTPUTS = ["LOG_PROBABILITIES", "TOP_TOKENS", "TOP_LOG_PROBABILITIES", "LOG_LIKELIHOOD", "SUGGESTION", "FINISH_REASON"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(server: Running) -> AsyncIterator[Driver]:
    async with driving(server) as driver:
        yield driver


def values(answer: Json, name: str) -> list[Any]:
    found: list[Any] = answer["outputs"][name]["values"]
    return found


def likelihood(data: bytes, start: int = 0) -> float:
    """Of `data[start:]`, by the model itself, one byte at a time."""
    model = FakeModel()
    states = [np.full((1, shape.width), shape.initial, shape.dtype) for shape in model.shapes]
    result = model.step(np.array([[model.start_token]], np.int64), states, all_probabilities=True)
    found = []
    for byte in data:
        assert result.log_probabilities is not None
        found.append(float(result.log_probabilities[0, byte]))
        result = model.step(np.array([[byte]], np.int64), result.states, all_probabilities=True)
    return fsum(found[start:])


async def test_server_and_model_are_live_ready_and_described(driver: Driver, form: Form) -> None:
    assert await driver.ask(form, "is_server_live")
    assert await driver.ask(form, "is_server_ready")
    assert await driver.ask(form, "is_model_ready", model_name="fake")
    assert await driver.ask(form, "is_model_ready", model_name="fake", model_version="1")
    for other in ({"model_name": "none"}, {"model_name": "fake", "model_version": "2"}):
        assert not await driver.ask(form, "is_model_ready", **other)
    server = await driver.ask(form, "get_server_metadata")
    assert server["name"] == "carousel"
    assert "sequence(string_id)" in server["extensions"]
    model = await driver.ask(form, "get_model_metadata", model_name="fake")
    assert [tensor["name"] for tensor in model["outputs"]] == OUTPUTS
    assert [(tensor["name"], tensor["datatype"]) for tensor in model["inputs"]] == [
        ("TEXT", "BYTES"),
        ("TOKENS", "INT64"),
    ]
    config = await driver.ask(form, "get_model_config", model_name="fake")
    config = config.get("config", config)
    assert config["max_batch_size"] == 64
    assert config["parameters"]["numerics_id"]["string_value"] == "numerics"
    assert "oldest" in config["sequence_batching"]
    index = await driver.ask(form, "get_model_repository_index")
    models = index["models"] if isinstance(index, dict) else index
    assert [(one["name"], one["version"], one["state"]) for one in models] == [("fake", "1", "READY")]


async def test_what_is_declared_is_what_is_answered(driver: Driver, form: Form) -> None:
    model = await driver.ask(form, "get_model_metadata", model_name="fake")
    answer = await driver.infer(form, text("one", "two", "three"))
    dtypes = {"FP32": "float32", "FP64": "float64", "INT64": "int64", "BYTES": "object"}
    assert list(answer["outputs"]) == OUTPUTS
    for declared in model["outputs"]:
        given = answer["outputs"][declared["name"]]
        assert given["dtype"] == dtypes[declared["datatype"]]
        shape = [int(size) for size in declared["shape"]]
        assert all(size in (-1, found) for size, found in zip(shape, given["shape"], strict=True))
        assert given["shape"][0] == 3


async def test_the_outputs_are_the_model_s_own(driver: Driver, form: Form) -> None:
    answer = await driver.infer(form, text("def f"), request_id="abc", parameters={"top_k": 5})
    assert (answer["id"], answer["model"], answer["version"]) == ("abc", "fake", "1")
    assert answer["parameters"] == {"model_digest": "0" * 64, "numerics_id": "numerics"}
    distribution = np.array(values(answer, "LOG_PROBABILITIES"), np.float32)
    assert np.exp(distribution.astype(np.float64)).sum() == pytest.approx(1.0, abs=1e-5)
    best = np.argsort(-distribution, kind="stable")[:5]
    assert values(answer, "TOP_TOKENS") == best.tolist()
    assert values(answer, "TOP_LOG_PROBABILITIES") == distribution[best].tolist()
    assert values(answer, "LOG_LIKELIHOOD") == [likelihood(b"def f")]
    assert values(answer, "SUGGESTION")[0]
    assert values(answer, "FINISH_REASON")[0] in ("stop", "length", "end")


async def test_only_the_outputs_that_are_named_are_answered_in_the_model_s_order(driver: Driver, form: Form) -> None:
    answer = await driver.infer(form, text("a"), outputs=["SUGGESTION", "TOP_TOKENS"])
    assert list(answer["outputs"]) == ["TOP_TOKENS", "SUGGESTION"]


async def test_the_rows_of_a_batch_are_answered_as_each_by_itself(driver: Driver, form: Form) -> None:
    rows = ("import o", "", "é", "import os")
    together = await driver.infer(form, text(*rows))
    for number, row in enumerate(rows):
        alone = await driver.infer(form, text(row))
        for name in OUTPUTS:
            width = len(values(alone, name))
            assert values(together, name)[number * width : (number + 1) * width] == values(alone, name)


async def test_tokens_are_the_bytes_of_text_and_may_end_inside_a_character(driver: Driver, form: Form) -> None:
    assert await driver.infer(form, tokens("hé".encode())) == await driver.infer(form, text("hé"))
    cut = await driver.infer(form, tokens("hé".encode()[:2]))
    assert values(cut, "LOG_LIKELIHOOD") == [likelihood("hé".encode()[:2])]
    assert (values(cut, "SUGGESTION"), values(cut, "FINISH_REASON")) == ([""], ["inside_character"])


async def test_a_sequence_is_answered_as_the_whole_text_would_be(driver: Driver, form: Form, sequence: int) -> None:
    whole = b""
    pieces = [b"import os\n", b"for \xe2", b"\x82\xac", b" in", b""]
    for number, piece in enumerate(pieces):
        first, last = number == 0, number == len(pieces) - 1
        given = tokens(piece) if piece else tokens(b"")
        answer = await driver.infer(form, given, sequence_id=sequence, sequence_start=first, sequence_end=last)
        started, whole = len(whole), whole + piece
        at_once = await driver.infer(form, tokens(whole))
        for name in set(OUTPUTS) - {"LOG_LIKELIHOOD"}:
            assert values(answer, name) == values(at_once, name), name
        assert values(answer, "LOG_LIKELIHOOD") == [likelihood(whole, started)]


async def test_numbers_and_strings_name_two_sequences(driver: Driver, form: Form, sequence: int) -> None:
    only = ["LOG_LIKELIHOOD"]
    await driver.infer(form, text("a"), sequence_id=sequence, sequence_start=True, outputs=only)
    await driver.infer(form, text("bb"), sequence_id=str(sequence), sequence_start=True, outputs=only)
    number = await driver.infer(form, text("c"), sequence_id=sequence, sequence_end=True, outputs=only)
    string = await driver.infer(form, text("c"), sequence_id=str(sequence), sequence_end=True, outputs=only)
    assert values(number, "LOG_LIKELIHOOD") == [likelihood(b"ac", 1)]
    assert values(string, "LOG_LIKELIHOOD") == [likelihood(b"bbc", 2)]


async def test_start_on_a_live_sequence_begins_it_anew(driver: Driver, form: Form, sequence: int) -> None:
    for _ in range(2):
        await driver.infer(form, text("abc"), sequence_id=sequence, sequence_start=True)
    answer = await driver.infer(form, text("d"), sequence_id=sequence)
    assert values(answer, "LOG_LIKELIHOOD") == [likelihood(b"abcd", 3)]


async def test_start_and_end_at_once_leave_nothing(driver: Driver, form: Form, sequence: int) -> None:
    await driver.infer(form, text("abc"), sequence_id=sequence, sequence_start=True)
    answer = await driver.infer(form, text("x"), sequence_id=sequence, sequence_start=True, sequence_end=True)
    assert values(answer, "LOG_LIKELIHOOD") == [likelihood(b"x")]
    with pytest.raises(Refused, match="must specify the START flag"):
        await driver.infer(form, text("d"), sequence_id=sequence)


async def test_a_sequence_that_was_not_started_or_has_ended_is_refused_in_triton_s_words(
    driver: Driver, form: Form, sequence: int
) -> None:
    sentence = (
        f"inference request for sequence {sequence} to model 'fake' must specify the START flag on the first request "
        "of the sequence"
    )
    status = "StatusCode.INVALID_ARGUMENT" if form in GRPC_FORMS else "400"
    for name in (sequence, str(sequence)):
        with pytest.raises(Refused) as refused:
            await driver.infer(form, text("a"), sequence_id=name)
        assert (refused.value.message, refused.value.status) == (sentence, status)
    await driver.infer(form, text("a"), sequence_id=sequence, sequence_start=True)
    await driver.infer(form, text("a"), sequence_id=sequence, sequence_end=True)
    with pytest.raises(Refused) as refused:
        await driver.infer(form, text("a"), sequence_id=sequence, sequence_end=True)
    assert refused.value.message == sentence


async def test_a_sequence_of_one_form_goes_on_in_another(driver: Driver, sequence: int) -> None:
    whole = b""
    for number, form in enumerate(FORMS):
        answer = await driver.infer(form, text(form), sequence_id=sequence, sequence_start=number == 0)
        whole += form.encode()
        assert values(answer, "LOG_LIKELIHOOD") == [likelihood(whole, len(whole) - len(form))]


async def test_an_idle_sequence_blocks_nobody_and_is_there_when_it_goes_on(driver: Driver, sequence: int) -> None:
    only = ["LOG_LIKELIHOOD"]
    await driver.infer("grpc", text("idle"), sequence_id=sequence, sequence_start=True, outputs=only)
    for other in range(1, 700):  # more than may be awake at a time
        begun: Json = {"sequence_id": sequence + other, "sequence_start": True, "outputs": only}
        await driver.infer("grpc", text("x"), **begun)
    answer = await driver.infer("grpc", text("!"), sequence_id=sequence, outputs=only)
    assert values(answer, "LOG_LIKELIHOOD") == [likelihood(b"idle!", 4)]


async def test_a_sequence_is_a_session_to_everybody_else(server: Running, driver: Driver, sequence: int) -> None:
    await driver.infer("http", text("one"), sequence_id=sequence, sequence_start=True)
    async with httpx.AsyncClient(base_url=server.http) as client:
        path = f"/v1/sessions/sequence.4.fake.i.{sequence}"
        shown = (await client.get(path, params={"include": "text"})).json()
        assert shown["text"] == "one"
        edit = {"revision": shown["revision"], "edits": [{"insert": " two"}]}
        assert (await client.post(f"{path}/edits", json=edit)).status_code == 200
    answer = await driver.infer("http", text("!"), sequence_id=sequence)
    assert values(answer, "LOG_LIKELIHOOD") == [likelihood(b"one two!", 7)]


@pytest.mark.parametrize("form", ["http", "grpc"])
async def test_callbacks_and_futures_are_answered_too(driver: Driver, form: Form) -> None:
    assert await driver.infer(form, text("a"), call="async_infer") == await driver.infer(form, text("a"))
    with pytest.raises(Refused, match="unknown model"):
        await driver.infer(form, text("a"), call="async_infer", model_name="none")


@pytest.mark.parametrize("form", GRPC_FORMS)
async def test_a_stream_answers_in_order_and_stays_open_after_errors(driver: Driver, form: Form, sequence: int) -> None:
    def request(number: int, piece: str, **more: Any) -> Json:
        asked: Json = {"model_name": "fake", "inputs": [text(piece)], "outputs": ["LOG_LIKELIHOOD"]}
        return {**asked, "request_id": str(number), **more}

    answers = await driver.stream(
        form,
        [
            request(0, "a", sequence_id=sequence),
            request(1, "ab", sequence_id=sequence, sequence_start=True),
            request(2, "c", sequence_id=sequence),
            request(3, "no sequence"),
            request(4, "x", model_name="none"),
            request(5, "d", sequence_id=sequence, sequence_end=True, enable_empty_final_response=True),
            request(6, "e", sequence_id=sequence),
            request(7, "f", model_version="7"),
        ],
    )
    assert [answer["result"]["id"] for answer in answers if "result" in answer] == ["1", "2", "3", "5"]
    found = [values(answer["result"], "LOG_LIKELIHOOD")[0] for answer in answers if "result" in answer]
    assert found == [likelihood(b"ab"), likelihood(b"abc", 2), likelihood(b"no sequence"), likelihood(b"abcd", 3)]
    assert all(answer["result"]["parameters"]["triton_final_response"] for answer in answers if "result" in answer)
    errors = [answer["error"] for answer in answers if "error" in answer]
    assert [error.partition(" for ")[2] for error in errors] == [
        f"sequence {sequence} to model 'fake' must specify the START flag on the first request of the sequence",
        "unknown model: 'none' is not found",
        f"sequence {sequence} to model 'fake' must specify the START flag on the first request of the sequence",
        "unknown model: 'fake' version 7 is not found",
    ]


@pytest.mark.parametrize("form", GRPC_FORMS)
async def test_many_requests_in_flight_of_one_sequence_are_done_in_their_order(
    driver: Driver, form: Form, sequence: int
) -> None:
    pieces = [f"{number} " for number in range(200)]
    answers = await driver.stream(
        form,
        [
            {
                "model_name": "fake",
                "inputs": [text(piece)],
                "outputs": ["LOG_LIKELIHOOD"],
                "sequence_id": sequence,
                "sequence_start": number == 0,
            }
            for number, piece in enumerate(pieces)
        ],
    )
    whole = "".join(pieces).encode()
    found = fsum(values(answer["result"], "LOG_LIKELIHOOD")[0] for answer in answers)
    assert found == pytest.approx(likelihood(whole), rel=1e-12)


async def test_an_error_ends_the_stream_if_its_caller_wants_that(driver: Driver) -> None:
    asked = {"model_name": "none", "inputs": [text("a")]}
    answers = await driver.stream("grpc", [asked], headers={"triton_grpc_error": "true"})
    assert answers == [{"error": "Request for unknown model: 'none' is not found", "status": "StatusCode.NOT_FOUND"}]


@pytest.mark.parametrize("form", ["http", "http.aio"])
@pytest.mark.parametrize("sent", [True, False])
async def test_tensors_go_as_bytes_and_as_json_and_mean_the_same(driver: Driver, form: Form, sent: bool) -> None:
    mixed = [{"name": name, "binary": number % 2 == 0} for number, name in enumerate(OUTPUTS)]
    as_bytes = await driver.infer(form, text("é", binary=True))
    assert await driver.infer(form, text("é", binary=sent), outputs=mixed) == as_bytes
    assert await driver.infer(form, tokens("é".encode(), binary=sent)) == as_bytes


@pytest.mark.parametrize("form", ["http", "http.aio"])
@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
async def test_bodies_may_be_compressed_both_ways(driver: Driver, form: Form, algorithm: str) -> None:
    given = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
    assert await driver.infer(form, text("abc"), **given) == await driver.infer(form, text("abc"))


@pytest.mark.parametrize("form", GRPC_FORMS)
async def test_messages_may_be_compressed_too(driver: Driver, form: Form) -> None:
    for algorithm in ("gzip", "deflate"):
        given = {"compression_algorithm": algorithm}
        assert await driver.infer(form, text("abc" * 100), **given) == await driver.infer(form, text("abc" * 100))


async def test_statistics_count_what_was_done(driver: Driver, form: Form) -> None:
    async def counted() -> tuple[int, int, int, int, dict[int, int]]:
        (found,) = (await driver.ask(form, "get_inference_statistics", model_name="fake"))["model_stats"]
        stats = found["inference_stats"]
        batches = {int(of["batch_size"]): int(of["compute_infer"]["count"]) for of in found["batch_stats"]}
        rows, requests = int(found["inference_count"]), int(found["execution_count"])
        return rows, requests, int(stats["success"]["count"]), int(stats["fail"].get("count", 0)), batches

    await driver.infer(form, text("a", "b", "c"))
    rows, requests, succeeded, failed, batches = await counted()
    await driver.infer(form, text("a", "b", "c"))
    with pytest.raises(Refused):
        await driver.infer(form, text("a"), outputs=["NONE"])
    assert await counted() == (rows + 3, requests + 1, succeeded + 1, failed + 1, {**batches, 3: batches[3] + 1})


async def test_what_is_off_is_refused_and_what_is_empty_is_empty(driver: Driver, form: Form) -> None:
    for call in ("load_model", "unload_model"):
        with pytest.raises(Refused, match="explicit model load / unload is not allowed"):
            await driver.ask(form, call, model_name="fake")
    for memory in ("system", "cuda"):
        status = await driver.ask(form, f"get_{memory}_shared_memory_status")
        assert status in ([], {})
        await driver.ask(form, f"unregister_{memory}_shared_memory")
    with pytest.raises(Refused, match="failed to register shared memory region: 'x', not supported"):
        await driver.ask(form, "register_system_shared_memory", name="x", key="/x", byte_size=8)
    settings = await driver.ask(form, "get_trace_settings")
    assert settings.get("settings", settings)["trace_level"] in (["OFF"], {"value": ["OFF"]})
    with pytest.raises(Refused, match="requests are not traced"):
        await driver.ask(form, "update_trace_settings", settings={"trace_level": ["TIMESTAMPS"]})
    settings = await driver.ask(form, "get_log_settings")
    assert settings.get("settings", settings)["log_error"] in (True, {"bool_param": True})
    with pytest.raises(Refused, match="logging is the operator's"):
        await driver.ask(form, "update_log_settings", settings={"log_verbose_level": 1})


async def test_a_timeout_that_is_over_is_refused_as_by_triton(driver: Driver, form: Form, sequence: int) -> None:
    await driver.infer(form, text("a"), sequence_id=sequence, sequence_start=True, timeout=60_000_000)
    with pytest.raises(Refused) as refused:
        await driver.infer(form, text("b" * 40_000), sequence_id=sequence, timeout=1)
    status = "StatusCode.UNAVAILABLE" if form in GRPC_FORMS else "503"
    assert (refused.value.message, refused.value.status) == ("Request timeout expired", status)
    answer = await driver.infer(form, text("c"), sequence_id=sequence)
    assert values(answer, "LOG_LIKELIHOOD") == [likelihood(b"ac", 1)]


async def test_what_cannot_be_honoured_is_refused(driver: Driver, form: Form) -> None:
    for given, said in (
        ({"priority": 1}, "no priority levels"),
        ({"parameters": {"temperature": 1.0}}, "there is no such parameter"),
        ({"parameters": {"max_bytes": 100_000}}, "parameters.max_bytes"),
    ):
        with pytest.raises(Refused, match=said):
            await driver.infer(form, text("a"), **given)


async def test_the_bytes_on_the_wire_are_those_that_the_protocol_says(server: Running) -> None:
    header = json.dumps(
        {
            "inputs": [
                {"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": 7}},
            ],
            "outputs": [
                {"name": "TOP_TOKENS", "parameters": {"binary_data": True}},
                {"name": "TOP_LOG_PROBABILITIES"},
            ],
            "parameters": {"top_k": 2},
        }
    ).encode()
    async with httpx.AsyncClient(base_url=server.http) as client:
        answer = await client.post(
            "/v2/models/fake/infer",
            content=header + struct.pack("<I", 3) + b"abc",
            headers={"Inference-Header-Content-Length": str(len(header))},
        )
    length = int(answer.headers["inference-header-content-length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    told = json.loads(answer.content[:length])
    assert [output.get("parameters") for output in told["outputs"]] == [{"binary_data_size": 16}, None]
    assert len(struct.unpack("<2q", answer.content[length:])) == len(told["outputs"][1]["data"]) == 2
