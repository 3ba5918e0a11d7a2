"""`carousel bench replay` on a real server in a process of its own or in this one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from service.engine.fake_model import FakeModel
from service.settings import load_settings
from service.terminal.local_server import LocalServer
from tests.integration.servers import IDENTITY, free_port

TEXT = "import os\nfor root in os.walk('日本'):\n    print(root)\n"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer(FakeModel(), IDENTITY, load_settings({})) as server:
        yield server


@pytest.fixture
def flags(server: LocalServer, tmp_path: Path) -> list[str]:
    addresses = server.addresses
    metrics = f"http://127.0.0.1:{addresses.metrics_port}/metrics"
    target = f"127.0.0.1:{addresses.grpc_port}"
    return ["replay", "--server", target, "--metrics", metrics, "--out", str(tmp_path / "results")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "typed.py"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_a_replay_prints_what_the_table_says_as_json_and_keeps_it(flags: list[str], file: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*flags, str(file), "--json"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert figures["text_bytes"] == len(TEXT.encode())
    assert figures["keystrokes"] == pytest.approx(len(TEXT) * (1 - figures["keystroke_savings"]))
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert figures["steps_per_byte"] > 0
    assert figures["settings"] == {
        "count": 1,
        "max_bytes": 16,
        "stop": "line",
        "texts": {str(file): len(TEXT.encode())},
    }
    kept = json.loads((tmp_path / "results" / "replay.json").read_text(encoding="utf-8"))
    assert {key: kept[key] for key in ("keystrokes", "p99_ms")} == {
        key: figures[key] for key in ("keystrokes", "p99_ms")
    }
    assert (tmp_path / "results" / "replay.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_is_for_people_and_the_limit_cuts_the_file(flags: list[str], file: Path) -> None:
    done = CliRunner().invoke(app, [*flags, str(file), "--limit-bytes", "9", "--no-save"])
    assert done.exit_code == 0, done.output
    assert "keystroke savings" in done.stdout
    assert "9 bytes" in done.stdout


def test_the_same_text_again_costs_no_more_steps(flags: list[str], file: Path) -> None:
    CliRunner().invoke(app, [*flags, str(file), "--json", "--no-save"])
    again = CliRunner().invoke(app, [*flags, str(file), "--json", "--no-save"])
    assert json.loads(again.stdout)["steps_per_byte"] == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--server", "NOBODY"], "no metrics at"),
        (["missing.py"], "No such file"),
    ],
)
def test_what_keeps_it_from_measuring_is_one_line(flags: list[str], wrong: list[str], said: str) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    metrics = ["--metrics", f"http://{nobody}/metrics"] if "NOBODY" in wrong else []
    given = [nobody if word == "NOBODY" else word for word in wrong]
    done = CliRunner().invoke(app, [*flags, *given, *metrics, "--no-save"])
    assert done.exit_code == 1
    assert done.stderr.startswith("carousel: ")
    assert said in done.stderr


def test_a_server_of_its_own_that_cannot_start_is_explained(file: Path) -> None:
    done = CliRunner().invoke(app, ["replay", str(file), "--model", "no-such-folder", "--no-save"])
    assert done.exit_code == 1
    assert "the server did not start" in done.stderr
    assert "no-such-folder" in done.stderr
