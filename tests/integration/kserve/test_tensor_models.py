"""Models of numbers and of words, shipped with the lab, in a real server and asked by Triton's own client."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import pytest_asyncio

from service.model.example_request import infer_path
from service.settings import ModelConfig
from service.tensor_serving import load_tensor_model
from service.tensors.ports import TensorModel
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteStub
from tests.integration.kserve.driver import NO_CLIENT, PYTHON, Driver, Form, Json, Refused, driving, text
from tests.integration.servers import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")
NEEDS_CLIENT = pytest.mark.skipif(not PYTHON.exists(), reason=NO_CLIENT)
_LAB = Path(__file__).resolve().parents[3] / "models" / "lab"
_YEAR = [180.0, 8.0, 9.0, 7.0, 8.0, 9.0, 10.0, 7.0, 8.0, 9.0, 8.0, 9.0]
_WAY_OUT = "ask it over /v2/models/season/infer"


def _models() -> list[TensorModel]:
    return [load_tensor_model(ModelConfig(_LAB / name, None, 1, False)) for name in ("season", "gates")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[Running]:
    async with running(models=[], tensors=_models()) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(served: Running) -> AsyncIterator[Driver]:
    async with driving(served) as driver:
        yield driver


def values(*rows: list[float], **more: Any) -> Json:
    flat = [one for row in rows for one in row]
    return {"name": "VALUES", "shape": [len(rows), len(rows[0]), 1], "datatype": "FP32", "values": flat, **more}


async def expected(driver: Driver, form: Form, *rows: list[float], **given: Any) -> list[float]:
    answer = await driver.infer(form, values(*rows), model_name="season", **given)
    found: list[float] = answer["outputs"]["EXPECTED"]["values"]
    return found


@NEEDS_CLIENT
async def test_the_tensors_of_both_kinds_are_declared_and_answered(driver: Driver, form: Form) -> None:
    season = await driver.ask(form, "get_model_metadata", model_name="season")
    assert [(one["name"], one["datatype"]) for one in season["inputs"]] == [("VALUES", "FP32")]
    assert [list(map(int, one["shape"])) for one in season["outputs"]] == [[-1, -1, 1], [-1, -1, 1]]
    answer = await driver.infer(form, values(_YEAR), model_name="season", parameters={"steps": 5})
    assert answer["outputs"]["EXPECTED"]["shape"] == [1, 12, 1]
    assert answer["outputs"]["FORECAST"]["shape"] == [1, 5, 1]
    assert answer["outputs"]["FORECAST"]["values"][0] == answer["outputs"]["EXPECTED"]["values"][-1]
    gates = await driver.ask(form, "get_model_config", model_name="gates")
    vocabulary = json.loads(gates.get("config", gates)["parameters"]["vocabulary"]["string_value"])
    assert vocabulary[0] == "" and "croissant" in vocabulary
    assert await driver.ask(form, "is_model_ready", model_name="gates", model_version="1")


async def test_the_example_that_start_up_prints_is_answered_with_sense(served: Running) -> None:
    answers = {}
    for model in _models():
        path = f"http://127.0.0.1:{served.addresses.http_port}{infer_path(model.identity.name)}"
        async with httpx.AsyncClient() as client:
            answer = (await client.post(path, json=model.example)).raise_for_status().json()
        answers[model.identity.name] = answer["outputs"][0]["data"]
    assert {"croissant", "baguette", "quiche"} >= set(answers["gates"]) and len(answers["gates"]) == 3
    assert max(answers["season"]) == answers["season"][10] > 250
    assert sorted(answers["season"])[-2] < 20


@NEEDS_CLIENT
async def test_it_forecasts_a_december_that_has_grown(driver: Driver, form: Form) -> None:
    months = [120 * 1.2**year if month == 0 else 6.0 for year in range(5) for month in range(12)]
    answer = await driver.infer(form, values(months), model_name="season", parameters={"steps": 13})
    forecast = answer["outputs"]["FORECAST"]["values"]
    december = 120 * 1.2**5
    assert forecast[0] == pytest.approx(december, rel=0.15)
    assert max(forecast[1:12]) < december / 5
    assert forecast[12] == pytest.approx(december * 1.2, rel=0.2)


@NEEDS_CLIENT
async def test_a_sequence_in_any_pieces_is_the_series_at_once(driver: Driver, form: Form, sequence: int) -> None:
    months = [*_YEAR, 200.0, 8.0, 9.5]
    whole = await expected(driver, form, months)
    found: list[float] = []
    for start, end in pairwise((0, 1, 2, 9, 15)):
        flags = {"sequence_start": start == 0, "sequence_end": end == 15}
        found += await expected(driver, form, months[start:end], sequence_id=sequence, **flags)
    assert found == whole
    with pytest.raises(Refused, match="must specify the START flag"):
        await expected(driver, form, [1.0], sequence_id=sequence)


@NEEDS_CLIENT
async def test_rows_of_a_batch_are_each_themselves(driver: Driver, form: Form) -> None:
    rows = [[float(row * month) for month in range(1, 5)] for row in range(9)]
    together = await expected(driver, form, *rows)
    for row, series in enumerate(rows):
        assert await expected(driver, form, series) == together[4 * row : 4 * row + 4]


@NEEDS_CLIENT
async def test_a_stream_carries_sequences_and_goes_on_after_an_error(driver: Driver, sequence: int) -> None:
    def request(given: Json, **flags: Any) -> Json:
        return {"model_name": "season", "inputs": [given], "outputs": ["EXPECTED"], "sequence_id": sequence, **flags}

    answers = await driver.stream(
        "grpc",
        [
            request(values(_YEAR), sequence_start=True),
            request(values([float("nan")])),
            request(values([200.0])),
        ],
    )
    assert "nan is no number" in answers[1]["error"]
    assert (
        answers[2]["result"]["outputs"]["EXPECTED"]["values"] == (await expected(driver, "grpc", [*_YEAR, 200.0]))[-1:]
    )


@NEEDS_CLIENT
async def test_what_is_no_series_is_refused_with_its_place(driver: Driver, form: Form) -> None:
    for given, message in (
        (values([1.0, float("nan")]), r"inputs.VALUES\[0\]\[1\]\[0\]: nan is no number"),
        (values([float("-inf")]), "-inf is no number"),
        ({**values([1.0, 2.0]), "shape": [1, 2]}, r"Expected \[-1,-1,1\], got \[1,2\]"),
        ({**values([1.0, 2.0]), "shape": [1, 1, 2]}, r"Expected \[-1,-1,1\], got \[1,1,2\]"),
        ({**values([1.0]), "datatype": "FP64"}, "data-type is 'FP64', but model 'season' expects 'FP32'"),
        ({**values([1.0]), "datatype": "INT64"}, "data-type is 'INT64', but model 'season' expects 'FP32'"),
        (text("a"), "unexpected inference input 'TEXT' for model 'season'"),
        (values(*[[1.0]] * 65), "batch-size must be <= 64 for 'season'"),
    ):
        with pytest.raises(Refused, match=message) as refused:
            await driver.infer(form, given, model_name="season")
        assert refused.value.status in ("400", "StatusCode.INVALID_ARGUMENT")
    for parameters, message in (({"steps": 0}, "0 is outside"), ({"top_k": 3}, "there is no such parameter")):
        with pytest.raises(Refused, match=message):
            await driver.infer(form, values([1.0]), model_name="season", parameters=parameters)


@NEEDS_CLIENT
async def test_words_are_read_as_text_and_as_tokens(driver: Driver, form: Form, sequence: int) -> None:
    sentence = "In France, Mary ate her"
    whole = await driver.infer(form, text(sentence), model_name="gates", parameters={"top_k": 3})
    words = whole["outputs"]["TOP_WORDS"]["values"]
    assert set(words) <= {"croissant", "baguette", "quiche"}
    likelihood = 0.0
    for piece in ("In France,", "Mary ate", "her"):
        flags: dict[str, Any] = {"sequence_id": sequence, "sequence_start": piece == "In France,"}
        part = await driver.infer(form, text(piece), model_name="gates", parameters={"top_k": 3}, **flags)
        likelihood += part["outputs"]["LOG_LIKELIHOOD"]["values"][0]
    assert part["outputs"]["LOG_PROBABILITIES"] == whole["outputs"]["LOG_PROBABILITIES"]
    assert likelihood == pytest.approx(whole["outputs"]["LOG_LIKELIHOOD"]["values"][0], abs=1e-9)
    tokens = {"name": "TOKENS", "shape": [1, 6], "datatype": "INT64", "values": [6, 4, 1, 11, 15, 25]}
    by_number = await driver.infer(form, tokens, model_name="gates", parameters={"top_k": 3})
    assert by_number["outputs"] == whole["outputs"]
    both = await driver.infer(form, text("In Italy", sentence), model_name="gates", parameters={"top_k": 3})
    assert both["outputs"]["TOP_WORDS"]["values"][3:] == words


@NEEDS_CLIENT
async def test_what_is_no_word_is_refused_with_its_place(driver: Driver, form: Form) -> None:
    for given, message in (
        (text("In Spain"), r"inputs.TEXT\[0\]\[0\]: 'Spain' is no word of this model"),
        ({"name": "TOKENS", "shape": [1, 1], "datatype": "INT64", "values": [51]}, "51 is no token.* 0 to 50"),
        ({"name": "TOKENS", "shape": [1, 1], "datatype": "INT64", "values": [-1]}, "-1 is no token"),
        ({"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "values": ["\xff"]}, "is no UTF-8"),
    ):
        with pytest.raises(Refused, match=message):
            await driver.infer(form, given, model_name="gates")
    with pytest.raises(Refused, match=r"52 is outside of 1\.\.51"):
        await driver.infer(form, text("In"), model_name="gates", parameters={"top_k": 52})


async def _infer(http: str, model: str = "season", **body: Any) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.post(f"{http}/v2/models/{model}/infer", json=body)


def _json_values(*months: float) -> list[Json]:
    return [{"name": "VALUES", "shape": [1, len(months), 1], "datatype": "FP32", "data": list(months)}]


async def test_sequences_that_share_the_process_are_each_themselves(served: Running) -> None:
    draws = random.Random(0)
    months = {name: [round(draws.uniform(0, 300), 3) for _ in range(12)] for name in "abcdefgh"}
    at, found = dict.fromkeys(months, 0), {name: [] for name in months}  # type: dict[str, int], dict[str, list[float]]

    async def go_on(name: str) -> None:
        start, end = at[name], min(12, at[name] + draws.randint(1, 5))
        at[name] = end
        asked = {"sequence_id": name, "sequence_start": start == 0}
        answer = await _infer(served.http, inputs=_json_values(*months[name][start:end]), parameters=asked)
        found[name] += answer.json()["outputs"][0]["data"]

    while unfinished := [name for name in months if at[name] < 12]:
        await asyncio.gather(*map(go_on, unfinished))
    for name, series in months.items():
        whole = await _infer(served.http, inputs=_json_values(*series))
        assert found[name] == whole.json()["outputs"][0]["data"]


async def test_every_text_facade_refuses_it_and_says_where_to_ask(served: Running) -> None:
    async with httpx.AsyncClient(base_url=served.http) as client:
        for path, body, status in (
            ("/v1/sessions", {"text": "a", "model": "season"}, 422),
            ("/v1/sessions", {"text": "a"}, 422),
            ("/v1/complete", {"prompt": "a"}, 422),
            ("/v1/score", {"text": "a", "model": "season"}, 422),
            ("/v1/completions", {"prompt": "a", "model": "season"}, 400),
            ("/infill", {"input_prefix": "a", "input_suffix": ""}, 400),
        ):
            answer = await client.post(path, json=body)
            assert answer.status_code == status, answer.text
            assert _WAY_OUT in answer.text
        assert (await client.get("/v1/models")).json()["data"] == []
        words = await client.post("/v1/completions", json={"prompt": "a", "model": "gates"})
        assert "ask it over /v2/models/gates/infer" in words.text


async def test_native_grpc_refuses_it_too(served: Running) -> None:
    async with grpc.aio.insecure_channel(served.grpc) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match=_WAY_OUT) as refused:
            await AutocompleteStub(channel).CreateSession(pb.CreateSessionRequest(text="a", model="season"))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_numbers_that_json_says_otherwise_are_refused(served: Running) -> None:
    async with httpx.AsyncClient(base_url=served.http) as client:
        for data, message in (
            ("[NaN]", "nan is no number"),
            ("[1e39]", "inf is no number"),
            ("[-1e400]", "-inf is no number"),
            ("[" + "9" * 400 + "]", "holds a number that is no FP32"),
            ('["1"]', "something else than numbers"),
            ("[true]", "something else than numbers"),
            ("[[[[1]]]]", "something else than numbers"),
            ("[1, 2]", "input byte size mismatch for input 'VALUES'"),
        ):
            one = '{"name": "VALUES", "shape": [1, 1, 1], "datatype": "FP32", "data": '
            body = '{"inputs": [' + one + data + "}]}"
            answer = await client.post("/v2/models/season/infer", content=body)
            assert answer.status_code == 400, answer.text
            assert message in answer.json()["error"]
        empty = [{"name": "VALUES", "shape": [1, 0, 1], "datatype": "FP32", "data": []}]
        answer = await client.post("/v2/models/season/infer", json={"inputs": empty})
        assert (answer.status_code, "give at least one" in answer.text) == (400, True)


async def test_a_sequence_goes_on_after_a_restart_and_can_be_deleted_as_a_session(tmp_path: Path) -> None:
    store, go_on = f"sqlite:{tmp_path / 'kept.db'}", {"sequence_id": "shop"}
    whole: list[float] = []
    for months, flags in ((_YEAR, {"sequence_start": True}), ([200.0, 8.0], {}), ([9.0], {})):
        async with running(models=[], tensors=_models(), store=store) as server:
            answer = await _infer(server.http, inputs=_json_values(*months), parameters={**go_on, **flags})
            whole += answer.json()["outputs"][0]["data"]
    async with running(models=[], tensors=_models(), store=store) as server:
        at_once = await _infer(server.http, inputs=_json_values(*_YEAR, 200.0, 8.0, 9.0))
        assert whole == at_once.json()["outputs"][0]["data"]
        async with httpx.AsyncClient(base_url=server.http) as client:
            name = "/v1/sessions/sequence.6.season.s.shop"
            assert _WAY_OUT in (await client.get(name)).text
            assert (await client.delete(name)).status_code == 204
        answer = await _infer(server.http, inputs=_json_values(9.0), parameters=go_on)
        assert "must specify the START flag" in answer.text


async def test_the_metrics_tell_of_the_models_and_of_the_states_in_memory(served: Running) -> None:
    await _infer(served.http, inputs=_json_values(1.0), parameters={"sequence_id": "shown", "sequence_start": True})
    async with httpx.AsyncClient() as client:
        told = (await client.get(served.metrics)).text
    assert 'name="season"' in told
    found = {line.split()[0]: float(line.split()[1]) for line in told.splitlines() if "carousel_tensor_" in line[:16]}
    assert found["carousel_tensor_sequences"] >= 1
    assert found["carousel_tensor_state_bytes"] >= 24 * 2 * 4


async def test_it_is_served_beside_a_model_of_text_that_stays_the_default() -> None:
    async with running(tensors=_models()) as server, httpx.AsyncClient(base_url=server.http) as client:
        created = await client.post("/v1/sessions", json={"text": "a"})
        assert (created.status_code, created.json()["model"]["name"]) == (201, "fake")
        assert [one["id"] for one in (await client.get("/v1/models")).json()["data"]] == ["fake"]
        index = (await client.post("/v2/repository/index")).json()
        assert [one["name"] for one in index] == ["fake", "season", "gates"]
        assert (await client.post("/v2/repository/models/season/load")).status_code == 403
        answer = await _infer(server.http, inputs=_json_values(*_YEAR))
        found = np.array(answer.json()["outputs"][0]["data"], np.float32)
        (season, _) = _models()
        said, _ = season.reader.read_chunk(
            np.array(_YEAR, np.float32).reshape(-1, 1, 1), season.reader.initial_states(1)
        )
        assert found.tobytes() == said.tobytes()
