"""Every operation of the OpenAPI document has an example, and a real server answers every one of them as documented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.servers import IDENTITY, Running

pytestmark = pytest.mark.asyncio(loop_scope="module")

_A_SUGGESTION = "the id of a suggestion"
_NAMES = {"model": IDENTITY.name, "version": "1", "memory": "system", "region": "none"}
"""What stands for a parameter of a path that is no session's id."""
_REFUSED = {"Type", "RepositoryModelLoad", "RepositoryModelUnload", "RegionStatus", "RegisterRegion"}
"""What cannot succeed: a WebSocket that is not asked for, and what KServe's clients may ask for and never get here."""


async def _document(client: httpx.AsyncClient) -> dict[str, Any]:
    document: dict[str, Any] = (await client.get("/openapi.json")).json()
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in ("get", "put", "post", "delete"):
                yield method, path, operation


def _examples(operation: dict[str, Any]) -> list[tuple[str, Any]]:
    """The bodies, by media type; one without a body for an operation that takes none."""
    if "requestBody" not in operation:
        return [("", None)]
    found = []
    for media_type, content in operation["requestBody"]["content"].items():
        if "example" in content:
            found.append((media_type, content["example"]))
        found += [(media_type, example["value"]) for example in content.get("examples", {}).values()]
    return found


async def test_every_operation_with_a_body_has_an_example(server: Running) -> None:
    async with httpx.AsyncClient(base_url=server.http) as client:
        document = await _document(client)
        without = [operation["operationId"] for _, _, operation in _operations(document) if not _examples(operation)]
    assert not without


async def test_every_example_is_answered_as_documented(server: Running) -> None:
    """In the order of the document; those of one operation follow each other on one session."""
    async with httpx.AsyncClient(base_url=server.http, timeout=60) as client:
        document = await _document(client)
        first = next(iter(document["paths"]["/v1/sessions"]["post"]["requestBody"]["content"].values()))
        begin = next(iter(first["examples"].values()))["value"]
        await client.post("/v1/sessions", json={"id": "tab-17", "text": "def main():"})
        ran = 0
        for method, path, operation in _operations(document):
            suggestion = None
            session = (await client.post("/v1/sessions", json=begin)).json()["id"]
            for media_type, body in _examples(operation):
                where = f"{method} {path}: {json.dumps(body)[:200]}"
                names = {**_NAMES, "id": IDENTITY.name if "models" in path else session}
                url = path.format_map(names)
                query = {"model": IDENTITY.name} if operation["operationId"] == "ImportSession" else {}
                content = None if body is None else json.dumps(body).replace(_A_SUGGESTION, suggestion or "")
                headers = {"content-type": media_type} if media_type else {}
                answer = await client.request(method, url, content=content, headers=headers, params=query)
                assert str(answer.status_code) in operation["responses"], f"{where}: {answer.status_code} {answer.text}"
                if operation["operationId"] not in _REFUSED:
                    assert answer.status_code < 300, f"{where}: {answer.text}"
                told = answer.json() if answer.headers.get("content-type") == "application/json" else {}
                if isinstance(told, dict) and told.get("suggestions") and "id" in told["suggestions"][0]:
                    suggestion = told["suggestions"][0]["id"]
                ran += 1
    assert ran > 30
