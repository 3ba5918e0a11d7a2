"""What the tests with Triton's own client have in common: its forms, and sequences of their own."""

from __future__ import annotations

import pytest

from tests.integration.kserve.driver import FORMS, Form


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    form: Form = request.param
    return form


@pytest.fixture
def sequence(request: pytest.FixtureRequest) -> int:
    """A number that no other test uses."""
    return hash(request.node.name) & 0xFFFF_FFFF | 1
