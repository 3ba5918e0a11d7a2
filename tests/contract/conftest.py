"""A store of every kind for each test; a test that wants another `keeping` gives it as a parameter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from service.sessions.keeping import Keeping
from service.sessions.ports import Store
from tests.contract.making import STORES, Made, SharedValkey, made_store


@pytest.fixture(scope="session", autouse=True)
def _valkey_ends() -> Iterator[None]:
    yield
    SharedValkey.end()


@pytest.fixture
def keeping() -> Keeping:
    return Keeping()


@pytest_asyncio.fixture(params=list(STORES))
async def made_and_store(
    request: pytest.FixtureRequest, tmp_path: Path, keeping: Keeping
) -> AsyncIterator[tuple[Store, Made]]:
    async with made_store(request.param, tmp_path, keeping) as both:
        yield both


@pytest.fixture
def store(made_and_store: tuple[Store, Made]) -> Store:
    return made_and_store[0]


@pytest.fixture
def made(made_and_store: tuple[Store, Made]) -> Made:
    return made_and_store[1]
