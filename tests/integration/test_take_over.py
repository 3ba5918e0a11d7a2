"""Servers one after the other on one store: a session is taken over with its state and goes on to the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from service.engine.fake_model import FakeModel
from service.runtime.onnx_model import load_model
from service.settings import shipped_model
from tests.contract.valkey_server import ValkeyServer
from tests.integration.servers import Running, running

TEXT = "def grüße(namen):\n    for name in namen: print(f'Grüß Gott, {name}')\n" * 24


@pytest.fixture(params=["sqlite", "valkey"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path}/sessions.sqlite"
        return
    valkey = ValkeyServer(tmp_path).start()
    yield valkey.url()
    valkey.kill()


async def ask(server: Running, method: str, path: str, **body: Any) -> Any:
    # No certificates are read: that takes longer than what is asked here.
    async with httpx.AsyncClient(verify=False, timeout=30) as http:
        answer = await http.request(method, f"{server.http}/v1/sessions{path}", json=body or None)
    assert answer.is_success, answer.text
    return answer.json()


async def first_keystroke(store: str, *, snapshots: bool) -> tuple[Any, int]:
    """What a server that is new to the session suggests, and the model's steps for it."""
    model = FakeModel()
    async with running(model, store=store, snapshots=snapshots) as server:
        before = model.steps
        body = {"edits": [{"insert": "pri"}], "edit_id": "e1", "suggest": {"count": 3}}
        return (await ask(server, "POST", "/s/edits", revision=1, **body))["suggestions"], model.steps - before


@pytest.mark.parametrize("kept", [True, False])
async def test_the_next_server_goes_on_from_the_state_of_the_one_before_and_suggests_the_same(
    store: str, kept: bool
) -> None:
    async with running(FakeModel(), store=store, snapshots=kept) as server:
        await ask(server, "POST", "", id="s", text=TEXT, suggest={"count": 1})
        fresh = await ask(server, "POST", "", text=f"{TEXT}pri", suggest={"count": 3})
    suggestions, steps = await first_keystroke(store, snapshots=True)
    assert [(one["text"], one["probability"]) for one in suggestions] == [
        (one["text"], one["probability"]) for one in fresh["suggestions"]
    ]
    assert (steps < 500) == kept


@pytest.mark.parametrize("precision", ["fp32", "int8"])
async def test_the_shipped_model_suggests_to_the_last_bit_what_it_would_after_a_replay(
    tmp_path: Path, precision: Literal["fp32", "int8"]
) -> None:
    model = load_model(shipped_model(), precision, 1)
    body = {"edits": [{"insert": "ret"}], "edit_id": "e1", "suggest": {"count": 3}}
    answers = []
    store = f"sqlite:{tmp_path}/sessions.sqlite"
    async with running(models=[(model, model.identity)], store=store) as server:
        await ask(server, "POST", "", id="s", text=TEXT, suggest={"count": 1})
        await ask(server, "POST", "", id="other", text=TEXT, suggest={"count": 1})
    for name, snapshots in (("s", True), ("other", False)):
        async with running(models=[(model, model.identity)], store=store, snapshots=snapshots) as server:
            answer = await ask(server, "POST", f"/{name}/edits", revision=1, **body)
            completed = await ask(server, "POST", f"/{name}/complete", max_bytes=24, temperature=0.8, seed=3)
        answers.append((answer["suggestions"], completed))
    assert answers[0] == answers[1]


async def test_who_wants_no_snapshots_reads_none(store: str) -> None:
    async with running(FakeModel(), store=store) as server:
        await ask(server, "POST", "", id="s", text=TEXT, suggest={"count": 1})
    _, steps = await first_keystroke(store, snapshots=False)
    assert steps > len(TEXT)
