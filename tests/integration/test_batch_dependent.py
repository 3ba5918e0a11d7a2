"""`carousel serve` on a graph whose rows depend on each other: refused with the reason, or served with a warning."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.graph.start import measure_starts
from carousel_client import Client, SuggestOptions
from service.model.manifest import read_manifest
from tests.unit.runtime.test_onnx_model import write_leaky_model, write_model

ROOT = Path(__file__).resolve().parents[2]
SERVE = [sys.executable, "-m", "service.cli", "serve", "--log-format", "json"]
FREE_PORTS = ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0", "--store", "memory:"]


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_leaky_model(tmp_path_factory.mktemp("models"))


def test_it_is_refused_in_one_line_that_names_the_reason_and_the_ways_out(leaky: Path) -> None:
    ended = subprocess.run(
        [*SERVE, "--model", str(leaky), *FREE_PORTS], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    (line,) = ended.stderr.strip().splitlines()
    for named in ("DynamicQuantizeLSTM", "what one person types", "carousel export", "--allow-batch-dependent"):
        assert named in line


def test_it_is_served_on_request_and_the_log_says_so_loudly(leaky: Path) -> None:
    command = [*SERVE, "--model", str(leaky), *FREE_PORTS, "--allow-batch-dependent"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            entries = {}
            for line in process.stderr:
                entry = json.loads(line)
                entries[entry["event"]] = entry
                if entry["event"] == "serving":
                    break
            (warning,) = [entry for entry in entries.values() if entry["level"] == "warning"]
            assert "DEPEND ON EACH OTHER" in warning["event"] and "DynamicQuantizeLSTM" in warning["found"]
            with Client(f"127.0.0.1:{entries['serving']['grpc_port']}") as client, client.session("a") as session:
                assert session.suggest(SuggestOptions().count).suggestions
        finally:
            process.kill()


def test_the_benchmark_of_starts_times_a_server_and_a_session_in_turns(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    turns: list[None] = []
    found = measure_starts(folder, read_manifest(folder).graphs["int8"], turns=1, advance=lambda: turns.append(None))
    assert len(found.first_keystroke_s) == len(found.session_alone_s) == 1
    assert len(turns) == 2, "the first start of each only fills the caches"
    assert found.ratio > 1
