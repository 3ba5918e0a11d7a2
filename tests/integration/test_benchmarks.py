"""Every benchmark from its command line, on a tiny model and for a moment: servers, figures, files, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.capacity.costs import BASE, VARIANTS
from benchmarks.capacity.measuring import Plan, keystroke_costs
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


def test_capacity_counts_a_keystroke_in_the_server_in_its_store_and_on_the_wire(model: Path) -> None:
    plan = Plan(seconds=0.4, warm_up_s=0.2, answered=0.0, trials=1)
    costs = keystroke_costs(plan, VARIANTS[BASE], model)
    assert costs.store_operations == pytest.approx(1, abs=0.2)
    assert costs.steps >= 1
    assert costs.server_s > costs.model_s > 0
    assert costs.store_s > 0 and costs.store_bytes_in > 100 and costs.appended_bytes > 100
    assert costs.people >= 1 and 0 < costs.p50_ms <= costs.p99_ms
    assert 0 < costs.undisturbed <= 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_capacity_prints_its_rows_and_keeps_its_costs_for_other_people(model: Path, tmp_path: Path) -> None:
    short = ["--seconds", "0.3", "--sessions", "100", "--answered", "0", "--people", "1000"]
    figures = run("capacity", [*short, "--model", str(model), "--out", str(tmp_path)])
    assert figures["server_us"] > 0 and figures["replicas_fp32_three_suggestions"] >= 1
    again = run("capacity", ["--recorded", "--people", "1000", "--out", str(tmp_path)])
    assert again["replicas"] == figures["replicas"]
    assert (tmp_path / "capacity.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["memory", "--model", str(tmp_path), "--no-save"])
    assert done.exit_code == 1
    assert done.stderr.startswith("carousel: ")
