"""The promise over the wire: 64 sessions at once get, byte for byte, what each gets on a server of its own.

Real graphs, real gRPC. Every session is a tenant's own, so that none can use what another has computed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.model.manifest import Precision
from service.runtime.onnx_model import OnnxStepModel, load_model
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteStub
from tests.integration.servers import Running, running
from tests.unit.runtime.test_onnx_model import write_model

if TYPE_CHECKING:  # a class for type checkers alone
    from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteAsyncStub

SESSIONS = 64
_LONGER_S = 0.004
KEYSTROKES = 6  # after a paste of 20 bytes and more: differences may hide for some steps
SUGGEST = pb.SuggestOptions(count=3, max_bytes=4, stop=pb.STOP_NONE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


def texts() -> list[str]:
    """What each session pastes and types; no two alike, and of different lengths."""
    generator = np.random.default_rng(5)
    lengths = generator.integers(20, 90, SESSIONS)
    return ["".join(map(chr, generator.integers(32, 127, n + KEYSTROKES))) for n in lengths]


async def typed(stub: AutocompleteAsyncStub, number: int, text: str) -> list[bytes]:
    """Paste all but the last bytes, type those one by one; every answer's suggestions as they came over the wire."""
    own = (("x-carousel-tenant", f"tenant-{number}"),)
    pasted, keys = text[:-KEYSTROKES], text[-KEYSTROKES:]
    created = await stub.CreateSession(pb.CreateSessionRequest(text=pasted, suggest=SUGGEST), metadata=own)
    session = created.session
    answers = [await _shown(stub, own, created)]
    for key in keys:
        request = pb.EditRequest(
            session_id=session.id,
            revision=session.revision,
            edits=[pb.EditOperation(insert=key)],
            suggest=SUGGEST,
        )
        answer = await stub.Edit(request, metadata=own)
        session = answer.session
        answers.append(await _shown(stub, own, answer))
    return answers


async def _shown(
    stub: AutocompleteAsyncStub, own: tuple[tuple[str, str]], answer: pb.CreateSessionResponse | pb.EditResponse
) -> bytes:
    """Text, probability and reason to the last bit; ids are random and not part of what is promised.

    On a busy machine suggestions may be shed; then they are asked for again.
    """
    for _ in range(200):
        if answer.suggestions:
            break
        assert answer.finish_reason == pb.FINISH_REASON_SHED
        await asyncio.sleep(0.01)
        again = pb.EditRequest(session_id=answer.session.id, revision=answer.session.revision, suggest=SUGGEST)
        answer = await stub.Edit(again, metadata=own)
    found = pb.EditResponse(suggestions=answer.suggestions)
    assert found.suggestions, "suggestions were shed every time: there is nothing to compare"
    for suggestion in found.suggestions:
        suggestion.id = ""
    return found.SerializeToString(deterministic=True)


def unhurried(model: OnnxStepModel) -> OnnxStepModel:
    """The model, each call of which takes longer: a small one is done before a second caller has come."""

    def later(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        time.sleep(_LONGER_S)
        return call(*arguments, **named)

    for name in ("step", "follow", "read"):
        setattr(model, name, partial(later, getattr(model, name)))
    return model


@asynccontextmanager
async def serving(model: OnnxStepModel) -> AsyncIterator[tuple[Running, AutocompleteAsyncStub]]:
    async with (
        running(model, trust_tenant_header=True) as server,
        grpc.aio.insecure_channel(server.grpc) as channel,
    ):
        yield server, AutocompleteStub(channel)


async def rows_of_a_batch(server: Running) -> float:
    """The mean, over the server's life."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(server.metrics)).text
    samples = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}
    return samples["carousel_batch_rows_sum"] / samples["carousel_batch_rows_count"]


@pytest.mark.parametrize("precision", ["int8", "fp32"])
async def test_64_sessions_at_once_get_the_bytes_that_each_gets_alone(folder: Path, precision: Precision) -> None:
    async with serving(unhurried(load_model(folder, precision))) as (server, stub):
        together = await asyncio.gather(*(typed(stub, number, text) for number, text in enumerate(texts())))
        assert await rows_of_a_batch(server) > 10, "the sessions did not share batches"
    async with serving(load_model(folder, precision)) as (_, stub):
        alone = [await typed(stub, number, text) for number, text in enumerate(texts())]
    assert len(together) == SESSIONS and len(together[0]) == 1 + KEYSTROKES
    assert together == alone
