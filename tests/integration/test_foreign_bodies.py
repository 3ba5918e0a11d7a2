"""No body whatever makes OpenAI's or llama.cpp's paths fail: it is answered, or refused in their own shape."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.transport.http.infill.models import InfillBody, LlamaCompletionBody
from service.transport.http.models import Body
from service.transport.http.openai.models import CompletionBody
from tests.integration.servers import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODIES: dict[str, type[Body]] = {
    "/v1/completions": CompletionBody,
    "/completion": LlamaCompletionBody,
    "/infill": InfillBody,
}
REQUIRED: dict[str, dict[str, Any]] = {
    "/v1/completions": {"max_tokens": 3},
    "/completion": {"prompt": "a", "n_predict": 3},
    "/infill": {"input_prefix": "a", "input_suffix": "b", "n_predict": 3},
}

numbers = st.integers(-3, 20) | st.floats() | st.integers()
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def nearly_right(path: str) -> st.SearchStrategy[bytes]:
    names = st.sampled_from(sorted(BODIES[path].model_fields)) | st.text(max_size=3)
    given = st.dictionaries(names, values, max_size=3)
    return given.map(lambda fields: json.dumps({**REQUIRED[path], **fields}).encode())


@pytest.mark.parametrize("path", BODIES)
async def test_no_body_makes_a_foreign_path_fail(server: Running, path: str) -> None:
    def search() -> None:
        with httpx.Client(base_url=server.http, timeout=30) as client:

            @settings(max_examples=60, deadline=None)
            @given(nearly_right(path) | st.binary(max_size=60))
            def check(body: bytes) -> None:
                answer = client.post(path, content=body, headers={"content-type": "application/json"})
                assert answer.status_code in (200, 400, 404, 429), (body, answer.text)
                if answer.status_code != 200:
                    assert list(answer.json()) == ["error"]

            check()

    await asyncio.to_thread(search)
