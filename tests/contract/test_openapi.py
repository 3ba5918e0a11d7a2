"""The OpenAPI document against a server: what schemathesis makes of it is answered as it says, and never by a bug.

Requests that fit the document and requests that do not, of sessions and models that there are and that there are not.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.integration.servers import IDENTITY
from tests.integration.test_process import process

TIMEOUT = "x-carousel-timeout-ms"
THERE_ARE = {"model": IDENTITY.name, "version": "1", "memory": "system"}
"""Values of path parameters that name something; `id` is that of a session, or of a model."""

# Ranges that depend on a session's text are the domain's, and a document cannot say them; bugs are looked for below.
EXCLUDED = [positive_data_acceptance, not_a_server_error]


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """Of a process of its own: hypothesis and the server would wait for each other's lock."""
    with process("log_format=json") as server:
        assert server.popen.stderr is not None
        # Every refusal is logged, and who does not read a pipe stops who writes to it.
        threading.Thread(target=server.popen.stderr.read, daemon=True).start()
        yield f"http://127.0.0.1:{json.loads(server.lines[-1])['http_port']}"


def search(base_url: str, examples: int) -> list[str]:
    """Try every operation; what it finds."""
    with httpx.Client(base_url=base_url) as client:
        session = client.post("/v1/sessions", json={"text": "import os\n"}).json()["id"]
    document = schemathesis.openapi.from_url(f"{base_url}/openapi.json")
    found, operations = [], 0
    with requests.Session() as connection:
        for result in document.get_all_operations():
            assert isinstance(result, Ok), result
            operation = result.ok()
            operations += 1
            known = {**THERE_ARE, "id": IDENTITY.name if "models" in operation.path else session}
            try:
                _try(operation, known, connection, examples)
            except (AssertionError, ExceptionGroup) as failed:
                found.append(f"{operation.label}: {_told(failed)}")
    assert operations > 40, "the document has lost paths"
    return found


def _try(operation: Any, known: dict[str, str], connection: requests.Session, examples: int) -> None:
    fitting = operation.as_strategy()
    not_fitting = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)

    @settings(max_examples=examples, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None)
    @given(case=fitting | not_fitting, is_known=st.booleans())
    def check(case: Any, is_known: bool) -> None:
        if is_known:
            case.path_parameters = {name: known.get(name, "") for name in case.path_parameters or {}}
        answer = case.call(session=connection)
        if answer.status_code == 504:  # what it asked for
            assert TIMEOUT in {name.lower() for name in case.headers}
            assert answer.headers["x-carousel-code"] == ["DEADLINE"]
        else:
            assert answer.status_code < 500, f"{answer.status_code} {answer.text} for {case.as_curl_command()}"
        case.validate_response(answer, excluded_checks=EXCLUDED)

    check()


def _told(failed: BaseException) -> str:
    parts = failed.exceptions if isinstance(failed, BaseExceptionGroup) else (failed,)
    return "; ".join(_told(one) if isinstance(one, BaseExceptionGroup) else str(one)[:800] for one in parts)


def test_every_operation_answers_as_the_document_says(base_url: str) -> None:
    assert search(base_url, 3) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_operation_answers_as_the_document_says_for_a_long_time(base_url: str) -> None:
    assert search(base_url, 200) == []


def test_every_operation_that_takes_a_body_says_that_it_may_be_too_large_or_too_slow(base_url: str) -> None:
    paths = httpx.get(f"{base_url}/openapi.json").json()["paths"]
    bodies = {
        f"{method} {path}": operation["responses"]
        for path, operations in paths.items()
        for method, operation in operations.items()
        if "requestBody" in operation
    }
    assert len(bodies) > 10
    assert {name for name, responses in bodies.items() if not {"408", "413"} <= set(responses)} == set()
