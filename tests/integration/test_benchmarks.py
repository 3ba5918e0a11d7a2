"""Every benchmark from its command line, on a tiny model and for a moment: servers, figures, files, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from tests.unit.runtime.test_onnx_model import write_model

RUNS = {
    "context": (["--repetitions", "1", "--keys", "3", "--long-bytes", "200"], ["p50_ratio_1", "p50_ratio_16"]),
    "undo": (
        ["--repetitions", "1", "--jump-bytes", "100"],
        ["backspace_typed", "jump_typed", "jump_pasted", "jump_reclaimed"],
    ),
    "free": (
        ["--files", "2", "--limit-bytes", "6", "--max-context", "20"],
        ["free_1", "free_3", "steps_per_byte_1", "steps_per_byte_3"],
    ),
    "efficiency": (
        ["--sessions", "3", "--seconds", "0.3", "--warm-up", "0.1", "--repetitions", "1", "--max-bytes", "40"],
        ["efficiency", "efficiency_fp32", "delivered_per_s", "bare_per_s", "steps_per_byte", "server_cpu_share"],
    ),
    "memory": (["--sessions", "160"], ["resident_over_state", "state_bytes", "text_bytes"]),
    "parked": (
        ["--sessions", "30", "--lookups", "5", "--text-bytes", "50"],
        ["open_ms", "read_p50_ms", "keystroke_p50_ms", "file_bytes"],
    ),
    "naive": (
        ["--context-bytes", "50", "--seconds", "0.3", "--repetitions", "1", "--clients", "2"],
        ["over_naive_2", "carousel_2_per_s", "naive_2_per_s"],
    ),
    "prompts": (
        ["--repetitions", "1", "--keys", "3", "--long-bytes", "400", "--typed-bytes", "30"],
        ["next_prompt_steps", "back_pinned_steps", "next_over_first", "long_over_short", "infill_read_bytes"],
    ),
    "replay": (
        ["--limit-bytes", "30", "--typists", "3", "--seconds", "0.3", "--repetitions", "1", "--no-triton"],
        ["keystroke_savings", "crowd_keystrokes_per_s", "crowd_p50_ms", "crowd_p99_ms_fp32", "crowd_server_cpu_share"],
    ),
    "takeover": (
        ["--sessions", "1", "--bytes", "2048", "--crowd", "3", "--crowd-bytes", "2048"],
        ["with_ms", "without_ms", "crowd_bounded_mean_s", "crowd_unbounded_last_s", "typist_bounded_p99_ms"],
    ),
    "overload": (
        ["--seconds", "0.5", "--repetitions", "1", "--sessions", "300", "--factor", "3"],
        ["p99_ratio", "memory_growth", "capacity_per_s", "admitted_per_s"],
    ),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


def run(name: str, flags: list[str]) -> dict[str, Any]:
    done = CliRunner().invoke(app, [name, *flags, "--json"])
    assert done.exit_code == 0, done.output
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", RUNS)
def test_a_benchmark_prints_its_rows_and_keeps_them_with_a_picture(name: str, model: Path, tmp_path: Path) -> None:
    flags, keys = RUNS[name]
    served = [] if name == "overload" else ["--model", str(model)]
    figures = run(name, [*flags, *served, "--out", str(tmp_path)])
    assert all(figures[key] >= 0 for key in keys)
    assert any(key.startswith("client_cpu_share") for key in figures), "the load generator's own CPU is printed"
    assert figures["circumstances"]["versions"]["python"]
    kept = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert {key: kept[key] for key in keys} == {key: figures[key] for key in keys}
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["memory", "--model", str(tmp_path), "--no-save"])
    assert done.exit_code == 1
    assert done.stderr.startswith("carousel: ")
