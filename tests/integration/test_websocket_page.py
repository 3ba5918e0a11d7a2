"""docs/websocket.md: its example is run as it stands, by Node where there is one that knows WebSockets."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from service.transport.http.websocket.messages import TypeEvent
from tests.integration.test_process import process

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "websocket.md").read_text(encoding="utf-8")
CLASS, USE, KEYED = re.findall(r"```js\n(.*?)```", PAGE, re.DOTALL)

# Types a letter at a time into a session whose connection breaks twice, and ends once everything is acknowledged.
BROKEN = """
const typing = new Typing(SERVER, SESSION, () => {});
typing.revision = 1;
let number = 0, breaks = 0;
const timer = setInterval(() => {
  if (typing.heard && breaks < 2 && number >= 10 * (breaks + 1)) { breaks++; typing.socket.close(3000); }
  else if (number < 30) typing.type(String.fromCharCode(97 + (number++ % 26)));
  else if (breaks === 2 && !typing.unacknowledged.length) { clearInterval(timer); typing.socket.close(1000); }
}, 5);
"""


def _node() -> list[str] | None:
    """The command that runs a module with WebSockets."""
    node = shutil.which("node")
    for flags in ([], ["--experimental-websocket"]):
        known = [node, *flags, "-e", "new WebSocket('ws://127.0.0.1:1').onerror = () => {}"] if node else None
        if known and subprocess.run(known, capture_output=True, timeout=60, check=False).returncode == 0:
            return [*known[:-2], "--input-type=module"]
    return None


NODE = _node()
needs_node = pytest.mark.skipif(NODE is None, reason="wants a Node that knows WebSockets: 20.10 or later")


def _run(source: str) -> str:
    assert NODE is not None
    run = subprocess.run(NODE, input=source, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@needs_node
def test_the_example_types_and_prints_what_is_suggested() -> None:
    with process("log_format=json") as server:
        http = f"http://localhost:{json.loads(server.lines[-1])['http_port']}"
        printed = _run(CLASS + USE.replace("http://localhost:8000", http))
    assert re.fullmatch(r'[01]\.\d\d ".+"\n', printed)


@needs_node
def test_the_example_goes_on_after_its_connection_has_broken_and_loses_nothing() -> None:
    with process("log_format=json") as server:
        http = f"http://localhost:{json.loads(server.lines[-1])['http_port']}"
        session = httpx.post(f"{http}/v1/sessions", json={}).json()["id"]
        _run(CLASS + BROKEN.replace("SERVER", json.dumps(http)).replace("SESSION", json.dumps(session)))
        text = httpx.get(f"{http}/v1/sessions/{session}?include=text").json()["text"]
    assert text == "abcdefghijklmnopqrstuvwxyzabcd"


@needs_node
def test_a_page_with_a_key_is_let_in_and_another_is_not(tmp_path: Path) -> None:
    key = "c2/lnZ+0LS1hLWtleQ=="
    (tmp_path / "keys").write_text(f"reader {key}\n", encoding="utf-8")
    with process("log_format=json", f"api_keys_file={tmp_path / 'keys'}") as server:
        http = f"http://localhost:{json.loads(server.lines[-1])['http_port']}"
        made = httpx.post(f"{http}/v1/sessions", json={"id": "demo"}, headers={"authorization": f"Bearer {key}"})
        assert made.is_success
        told = "socket.onmessage = (m) => { console.log(socket.protocol, m.data); socket.close(1000); };"
        told += 'socket.onerror = () => console.log("refused");'
        source = KEYED.replace("ws://localhost:8000", http.replace("http", "ws")) + told
        assert re.match(r'carousel\.v1 \{"opened"', _run(source.replace('"KEY"', json.dumps(key))))
        assert _run(source) == "refused\n"


def test_the_page_names_every_event() -> None:
    for event in TypeEvent.model_fields:
        assert f"| `{event}` |" in PAGE
