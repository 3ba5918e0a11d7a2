"""One server per module of tests, and a caller for each facade."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.callers import Caller, calling
from tests.integration.servers import Running, running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Running]:
    async with running() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["rest", "grpc"])
async def caller(server: Running, request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    async with calling(request.param, server) as caller:
        yield caller
