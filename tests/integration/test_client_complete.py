"""Completions through the Python client, sync and async, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest

from carousel_client import (
    AsyncClient,
    Client,
    CompleteOptions,
    DeadlineExceeded,
    FinishReason,
    InvalidArgument,
    NotFound,
    RetryPolicy,
    Unavailable,
)
from carousel_client.edits import Insert
from service.engine.fake_model import FakeModel
from service.engine.requests import CompleteSpec, SamplingSpec
from service.settings import load_settings
from service.terminal.local_server import LocalServer
from tests.integration.servers import IDENTITY, free_port, running
from tests.unit.engine.test_completing import naive

TEXT = "for root, dirs in os."
ENDLESS = {255: -100.0}


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with LocalServer(FakeModel(), IDENTITY, load_settings({})) as server:
        yield f"127.0.0.1:{server.addresses.grpc_port}"


@pytest.fixture
def client(target: str) -> Iterator[Client]:
    with Client(target, timeout_s=20) as client:
        yield client


def expected(text: str, spec: CompleteSpec) -> str:
    return naive(text.encode(), spec)[0].decode()


def test_the_readmes_example_runs(client: Client) -> None:
    options = CompleteOptions(max_bytes=80, temperature=0.8, stop=["\n\n"], seed=7)
    told = "".join(piece.text for piece in client.complete("import os\n", options))
    assert told == expected("import os\n", CompleteSpec(80, (b"\n\n",), SamplingSpec(0.8, seed=7)))


def test_pieces_come_in_order_and_the_first_tells_what_they_depend_on(client: Client) -> None:
    options = CompleteOptions(max_bytes=300, count=2, temperature=1.0, top_k=9, top_p=0.9, min_p=0.01)
    with client.complete(TEXT, options) as completion:
        assert not completion.begun
        first = next(completion)
        assert (first.index in (0, 1), completion.model and completion.model.name) == (True, "fake")
        reasons = [piece.finish_reason for piece in completion if piece.finish_reason]
    assert len(reasons) == 2
    assert completion.seed is not None
    assert completion.revision is None
    sampling = SamplingSpec(1.0, 9, 0.9, 0.01, seed=completion.seed)
    assert completion.texts[0] == expected(TEXT, CompleteSpec(300, (), sampling))


def test_a_session_is_continued_at_its_cursor_and_stays_as_it_is(client: Client) -> None:
    with client.session("abc def") as session:
        session.move(3)
        completion = session.complete(CompleteOptions(max_bytes=20, logit_bias=ENDLESS, repetition_penalty=1.2))
        sampling = SamplingSpec(repetition_penalty=1.2, logit_bias=((255, -100.0),))
        assert completion.text() == expected("abc", CompleteSpec(20, sampling=sampling))
        assert (completion.revision, session.text(), session.cursor) == (2, "abc def", 3)


def test_what_cannot_be_had_is_a_typed_error(client: Client) -> None:
    with pytest.raises(InvalidArgument) as refused:
        client.complete(TEXT, CompleteOptions(temperature=9)).text()
    assert refused.value.field == "temperature"
    for options, field in (
        (CompleteOptions(max_bytes=-1), "max_bytes"),
        (CompleteOptions(stop=["a", "\ud800"]), "stop[1]"),
        (CompleteOptions(logit_bias={-1: 0.0}), "logit_bias.-1"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            client.complete(TEXT, options)
        assert refused.value.field == field
    with pytest.raises(NotFound):
        client.complete(TEXT, model="none").text()
    session = client.session("x")
    session.close()
    with pytest.raises(NotFound):
        session.complete().text()


def test_a_cancelled_completion_ends_and_the_client_goes_on(client: Client) -> None:
    with client.complete(TEXT, CompleteOptions(max_bytes=4096, count=16, logit_bias=ENDLESS)) as completion:
        next(completion)
    assert list(completion) == []
    assert client.complete(TEXT, CompleteOptions(max_bytes=5)).text()


def test_a_completion_ends_at_its_deadline_with_what_it_has(client: Client) -> None:
    options = CompleteOptions(max_bytes=4096, count=16, temperature=1.0, top_p=0.9, seed=1, logit_bias=ENDLESS)
    completion = client.complete(TEXT, options, timeout_s=1.0)
    reasons: list[FinishReason] = []
    with suppress(DeadlineExceeded):  # on a machine that pauses, the last messages come too late
        reasons.extend(piece.finish_reason for piece in completion if piece.finish_reason)
        assert set(reasons) <= {FinishReason.DEADLINE, FinishReason.LENGTH}
    whole = SamplingSpec(1.0, top_p=0.9, seed=1, logit_bias=((255, -100.0),))
    said = completion.texts[0]
    assert said
    assert expected(TEXT, CompleteSpec(len(said.encode()) + 4, sampling=whole)).startswith(said)


def test_a_server_that_is_not_there_is_asked_again_until_the_time_is_up() -> None:
    with Client(f"127.0.0.1:{free_port()}", timeout_s=0.3) as client, pytest.raises(Unavailable):
        client.complete(TEXT).text()


async def test_the_same_is_there_to_be_awaited(target: str) -> None:
    async with AsyncClient(target, timeout_s=20) as client:
        completion = client.complete(TEXT, CompleteOptions(max_bytes=100, logit_bias=ENDLESS))
        pieces = [piece async for piece in completion]
        endless = SamplingSpec(logit_bias=((255, -100.0),))
        assert "".join(piece.text for piece in pieces) == expected(TEXT, CompleteSpec(100, sampling=endless))
        assert pieces[-1].finish_reason is FinishReason.LENGTH
        async with client.session("abc") as session:
            await session.edit([Insert("d")])
            assert await session.complete(CompleteOptions(max_bytes=9)).text() == expected("abcd", CompleteSpec(9))
        with pytest.raises(InvalidArgument):
            await client.complete(TEXT, CompleteOptions(count=17)).text()
        async with client.complete(TEXT, CompleteOptions(max_bytes=4096, count=16, logit_bias=ENDLESS)) as abandoned:
            await anext(abandoned)
        assert [piece async for piece in abandoned] == []


async def test_a_server_that_comes_later_answers_what_was_asked_before() -> None:
    port = free_port()
    patient = RetryPolicy(attempts=50, first_delay_s=0.02, max_delay_s=0.2)
    async with AsyncClient(f"127.0.0.1:{port}", timeout_s=20, retry=patient) as client:
        text = asyncio.create_task(client.complete(TEXT, CompleteOptions(max_bytes=9)).text())
        await asyncio.wait([text], timeout=0.1)
        async with running(grpc_port=port):
            assert await text == expected(TEXT, CompleteSpec(9))
