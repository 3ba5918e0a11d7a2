"""One server per module of tests, a caller for each facade, and the log that they write."""

from __future__ import annotations

import io
import logging
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from service.telemetry.logs import configure_logs
from tests.integration.callers import Caller, calling
from tests.integration.servers import Running, running


@pytest.fixture(scope="session", autouse=True)
def log() -> Iterator[io.StringIO]:
    """What the servers of these tests log, as JSON lines."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logs("info", "json", stream=stream)
    yield stream
    root.handlers = handlers
    root.setLevel(level)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Running]:
    async with running() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["rest", "grpc"])
async def caller(server: Running, request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    async with calling(request.param, server) as caller:
        yield caller
