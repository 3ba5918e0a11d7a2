"""The metrics port, with exactly the names that dashboards and alerts are made from."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.callers import Refused, calling
from tests.integration.servers import IDENTITY, Running, running

NAMES = {
    "carousel_requests_total",
    "carousel_request_duration_seconds_bucket",
    "carousel_step_duration_seconds_bucket",
    "carousel_batch_rows_bucket",
    "carousel_queue_depth",
    "carousel_sessions",
    "carousel_model_steps_total",
    "carousel_tree_lookups_total",
    "carousel_moved_bytes_total",
    "carousel_state_bytes",
    "carousel_store_duration_seconds_bucket",
    "carousel_api_keys_current",
}


async def scrape(server: Running) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    async with httpx.AsyncClient() as client:
        text = (await client.get(server.metrics)).text
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


async def test_every_name_is_there_and_requests_are_counted_by_facade_operation_and_code() -> None:
    async with running() as server:
        async with calling("rest", server) as caller:
            session = await caller.create(text="import os", suggest={})
            with pytest.raises(Refused):
                await caller.edit(session.id, 9, [{"insert": "x"}])
        async with calling("grpc", server) as caller:
            await caller.edit(session.id, 1, [{"insert": "x"}])
        samples = await scrape(server)
    assert {name for name, _ in samples} >= NAMES

    def count(facade: str, operation: str, code: str) -> float:
        labels = (("code", code), ("facade", facade), ("operation", operation))
        return samples["carousel_requests_total", labels]

    assert count("rest", "CreateSession", "OK") == 1
    assert count("rest", "Edit", "REVISION_CONFLICT") == 1
    assert count("grpc", "Edit", "OK") == 1
    assert samples["carousel_store_duration_seconds_count", (("op", "append"),)] == 1
    assert samples["carousel_sessions", ()] == 1
    of_the_model = (("model", IDENTITY.name),)
    assert samples["carousel_queue_depth", of_the_model] == 0
    assert samples["carousel_model_steps_total", of_the_model] > 0
    assert samples["carousel_state_bytes", of_the_model] > 0


async def test_a_path_that_somebody_made_up_makes_no_label() -> None:
    async with running() as server:
        async with httpx.AsyncClient(base_url=server.http) as client:
            await client.get("/made-up")
        samples = await scrape(server)
    assert not any("made-up" in value for _, labels in samples for _, value in labels)
