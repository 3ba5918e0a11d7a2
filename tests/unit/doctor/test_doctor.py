"""`carousel doctor` on tiny folders: what is healthy, what is not, and what it tells people and programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from model_export.folder import BuiltGraph, build_graphs, write_folder
from service.doctor.command import doctor
from service.doctor.findings import Verdict
from service.doctor.machine import examine_machine
from service.model.manifest import Manifest, ModelFolderError, Precision
from tests.unit.runtime.test_onnx_model import random_weights, write_leaky_model, write_model

app = typer.Typer()
app.command()(doctor)

_LAB = Path(__file__).resolve().parents[3] / "models" / "lab"


def examined(folder: Path, rounds: int = 2) -> tuple[int, dict[str, Any]]:
    """The exit code and the JSON."""
    ended = CliRunner().invoke(app, ["--model", str(folder), "--rounds", str(rounds), "--json"])
    assert isinstance(ended.exception, SystemExit | None), ended.exception
    return ended.exit_code, json.loads(ended.stdout)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


def test_a_healthy_folder_is_told_so_with_all_its_facts(healthy: Path) -> None:
    code, found = examined(healthy)
    assert (code, found["healthy"], found["problems"]) == (0, True, [])
    for precision in ("int8", "fp32"):
        assert found[f"{precision}_same_bits_1_thread"] is True and found[f"{precision}_same_bits_2_threads"] is True
        assert found[f"{precision}_numerics_id_1_thread"] != found[f"{precision}_numerics_id_2_threads"]
        assert found[f"{precision}_extreme_states"]["1e30"] == "harmless"
        assert found[f"{precision}_tensor_pairs"]["h0"] == "h0_out"
    assert found["int8_operators"]["MatMulInteger"] == 3 + 3 + 4 and found["fp32_operators"]["LSTM"] == 2
    assert found["int8_state_bytes"] / found["fp32_state_bytes"] == 5 / 8
    assert set(found["versions"]) == {"carousel", "onnxruntime", "numpy", "python"}


def test_the_table_tells_people_the_same(healthy: Path) -> None:
    ended = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["--model", str(healthy), "--rounds", "1"])
    assert ended.exit_code == 0
    assert "int8: same bits, 2 threads" in ended.stdout and "each the row alone, bit for bit" in ended.stdout
    assert "Healthy" in ended.stdout


def test_quantize_dynamic_is_recognized_by_its_operator_and_by_its_bits(tmp_path: Path) -> None:
    code, found = examined(write_leaky_model(tmp_path))
    assert code == 1 and found["healthy"] is False
    problems = {problem["key"]: problem for problem in found["problems"]}
    assert "DynamicQuantizeLSTM" in problems["int8_operators"]["found"]
    assert "depends on the batch" in problems["int8_same_bits_1_thread"]["found"]
    assert all("carousel export" in problem["way_out"] for problem in problems.values())


def test_the_table_says_the_reason_and_the_way_out(tmp_path: Path) -> None:
    leaky = write_leaky_model(tmp_path)
    ended = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["--model", str(leaky), "--rounds", "1"])
    assert ended.exit_code == 1
    assert "broken" in ended.stdout and "way out" in ended.stdout and "Healthy" not in ended.stdout


def test_a_changed_file_is_a_finding_and_the_other_graph_is_examined_all_the_same(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    graph = folder / "model.int8.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    code, found = examined(folder, rounds=1)
    assert code == 1
    assert [problem["key"] for problem in found["problems"]] == ["int8_file"]
    assert "sha256" in found["problems"][0]["found"]
    assert found["fp32_same_bits_1_thread"] is True


def test_graphs_of_different_models_are_found_out(tmp_path: Path) -> None:
    one, other = (random_weights(seed=seed, scale=20.0) for seed in (1, 2))
    graphs: dict[Precision, BuiltGraph] = {
        "fp32": build_graphs(one)["fp32"],
        "int8": build_graphs(other)["int8"],
    }
    manifest = Manifest(name="two", top_k=16, graphs={name: built.entry for name, built in graphs.items()})
    write_folder(tmp_path / "m", manifest, graphs)
    code, found = examined(tmp_path / "m", rounds=1)
    assert code == 1
    assert [problem["key"] for problem in found["problems"]] == ["int8_distance_from_fp32"]


def test_what_is_no_model_folder_is_refused(tmp_path: Path) -> None:
    ended = CliRunner().invoke(app, ["--model", str(tmp_path)])
    assert isinstance(ended.exception, ModelFolderError)


@pytest.mark.parametrize(
    ("flags", "verdict", "told"),
    [
        ("flags\t: fma avx2 avx512f avx512_vnni", Verdict.OK, "fma avx2 avx512f avx512_vnni"),
        ("flags\t: sse4_2 avx2 fma", Verdict.NOTE, "more slowly"),
        ("Features\t: fma asimd asimddp", Verdict.OK, "asimddp"),
        ("", Verdict.NOTE, "unknown"),
    ],
)
def test_a_cpu_without_int32_sums_of_int8_is_noted(tmp_path: Path, flags: str, verdict: Verdict, told: str) -> None:
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text(f"processor\t: 0\nmodel name\t: A CPU\n{flags}\n\nprocessor\t: 1\n")
    found = {finding.key: finding for finding in examine_machine(cpu_info)}
    assert found["cpu"].value == "A CPU"
    assert found["cpu_features"].verdict is verdict and told in found["cpu_features"].shown


def test_a_machine_that_tells_nothing_of_its_cpu_is_examined_all_the_same(tmp_path: Path) -> None:
    assert next(examine_machine(tmp_path / "none")).key == "versions"


@pytest.mark.parametrize("name", ["season", "gates"])
def test_models_of_numbers_and_of_words_are_examined_too(name: str) -> None:
    code, found = examined(_LAB / name)
    assert (code, found["healthy"]) == (0, True)
    assert found["model"] == name
    assert found["fp32_tensor_pairs"] == {"h0": "h0_out", "c0": "c0_out"}
    assert found["fp32_same_bits_1_thread"] is found["fp32_same_bits_2_threads"] is True


def test_a_changed_file_of_a_model_of_numbers_is_broken(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(_LAB / "season", tmp_path / "season"))
    (folder / "model.onnx").write_bytes(b"x" * (folder / "model.onnx").stat().st_size)
    code, found = examined(folder, rounds=1)
    assert code == 1
    assert "the file was changed" in found["problems"][0]["found"]
    assert "carousel lab" in found["problems"][0]["way_out"]
