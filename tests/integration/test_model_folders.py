"""Several model folders given to `carousel serve`."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from tests.integration.test_process import FREE_PORTS, carousel, started
from tests.unit.runtime.test_onnx_model import write_model


def named(folder: Path, name: str) -> Path:
    """The tiny model under another name."""
    manifest = folder / "manifest.json"
    write_model(folder)
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "name": name}))
    return folder


def test_two_folders_are_served_and_the_first_is_the_default(tmp_path: Path) -> None:
    folders = [named(tmp_path / name, name) for name in ("one", "two")]
    flags = ("--model", ",".join(map(str, folders)), "--log-format", "json", *FREE_PORTS)
    with started("-m", "service.cli", "serve", *flags) as server:
        serving = json.loads(server.lines[-1])
        url = f"http://127.0.0.1:{serving['http_port']}/v1/sessions"
        assert (serving["model"], serving["models"]) == ("one", ["one", "two"])
        assert httpx.post(url, json={}).json()["model"]["name"] == "one"
        assert httpx.post(url, json={"model": "two"}).json()["model"]["name"] == "two"
        assert server.end() == 0


def test_two_folders_with_one_name_are_one_line_and_exit_code_2(tmp_path: Path) -> None:
    folders = [write_model(tmp_path / name) for name in ("one", "two")]
    ended = carousel("serve", "--model", ",".join(map(str, folders)), *FREE_PORTS)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "are both named 'tiny'" in line


def test_a_budget_too_small_for_several_models_says_what_is_enough(tmp_path: Path) -> None:
    folders = [named(tmp_path / name, name) for name in ("one", "two")]
    ended = carousel("serve", "--model", ",".join(map(str, folders)), "--state-budget", "9000", *FREE_PORTS)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("carousel: --state-budget: ") and "give at least" in line
