"""Several models in one process: each request has the one that it names, all states are under one budget."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from service.engine.fake_model import FakeModel
from service.engine.ports import States, StepResult
from service.engine.requests import ModelIdentity
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteStub
from tests.integration.callers import Caller, Refused, Shown, calling
from tests.integration.servers import Running, running

if TYPE_CHECKING:  # a class for type checkers alone
    from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteAsyncStub


class Contrary(FakeModel):
    """Likes least what a FakeModel likes best of its sixteen."""

    def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
        result = super().step(tokens, states, all_probabilities=all_probabilities)
        return StepResult(
            result.states, result.top_tokens[:, ::-1], result.top_log_probabilities, result.log_probabilities
        )


def texts(session: Shown) -> list[str]:
    return [suggestion.text for suggestion in session.suggestions]


FIRST, SECOND = ModelIdentity("first", "1" * 64, "one"), ModelIdentity("second", "2" * 64, "two")
ASKED: dict[str, Any] = {"text": "import os", "suggest": {"count": 1, "max_bytes": 8, "stop": "none"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both() -> AsyncIterator[Running]:
    async with running(models=[(FakeModel(), FIRST), (Contrary(), SECOND)]) as server:
        yield server


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["rest", "grpc"])
async def caller(both: Running, request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    async with calling(request.param, both) as caller:
        yield caller


async def test_a_session_has_the_model_that_it_names_and_the_first_if_it_names_none(caller: Caller) -> None:
    default, named, other = [
        await caller.create(**{**ASKED, **model}) for model in ({}, {"model": "first"}, {"model": "second"})
    ]
    assert [session.model[0] for session in (default, named, other)] == ["first", "first", "second"]
    assert texts(default) == texts(named) != texts(other)


async def test_an_unknown_model_is_not_found_and_the_answer_names_those_there_are(caller: Caller) -> None:
    with pytest.raises(Refused) as refused:
        await caller.create(text="", model="third")
    assert refused.value.code == "NOT_FOUND"
    assert "third" in refused.value.message and "first, second" in refused.value.message


async def test_metrics_tell_the_models_apart(both: Running, caller: Caller) -> None:
    await caller.create(**ASKED, model="second")
    async with httpx.AsyncClient() as client:
        text = (await client.get(both.metrics)).text
    steps = {
        sample.labels["model"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "carousel_model_steps_total"
    }
    assert steps.keys() == {"first", "second"} and min(steps.values()) > 0
    infos = [line for line in text.splitlines() if line.startswith("carousel_model_info{")]
    assert len(infos) == 2


async def test_a_completion_comes_from_the_model_that_it_names(both: Running) -> None:
    found = {}
    async with grpc.aio.insecure_channel(both.grpc) as channel:
        stub: AutocompleteAsyncStub = AutocompleteStub(channel)
        for name in ("", "first", "second"):
            request = pb.CompleteRequest(prompt="import os", model=name, max_bytes=8)
            pieces = [piece async for piece in stub.Complete(request)]
            assert pieces[0].completion.model.name == (name or "first")
            found[name] = "".join(piece.text for piece in pieces)
        with pytest.raises(grpc.aio.AioRpcError, match="there are: first, second"):
            await anext(aiter(stub.Complete(pb.CompleteRequest(prompt="a", model="third"))))
    assert found[""] == found["first"] != found["second"]


async def test_the_budget_is_one_for_all_models() -> None:
    models = [(FakeModel(), FIRST), (FakeModel(), SECOND)]
    async with running(models=models, state_budget=200_000) as server, calling("rest", server) as caller:
        for number in range(60):
            text = f"{number:02d}" * 40
            for model in ("first", "second") if number > 30 else ("first",):
                await caller.create(text=text, model=model, suggest={"count": 3})
        async with httpx.AsyncClient() as client:
            text = (await client.get(server.metrics)).text
    held = [float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("carousel_state_bytes{")]
    assert len(held) == 2 and sum(held) <= 200_000
    assert min(held) > 200_000 / 4 - 20_000, "each has at least what is guaranteed to it"
