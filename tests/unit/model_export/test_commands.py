"""The commands as a person runs them: what they print, what they leave, and how they end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from model_export import commands
from model_export.commands.train import recorded_command
from service.model.manifest import read_manifest
from tests.unit.model_export.tiny import text, write_files

_SMALL = ["--units", "12", "--embedding", "6", "--rows", "3", "--time", "17", "--threads", "1", "--no-bfloat16"]


def _app() -> typer.Typer:
    app = typer.Typer()
    for name in ("train", "export", "adopt", "evaluate"):
        app.command(name)(getattr(commands, name))
    return app


def _run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(_app(), list(arguments), catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_files(tmp_path / "text", {f"{n}.txt": text(80, seed=n) for n in range(6)})


def test_train_ends_servable_and_the_same_command_finds_it_done(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "model"
    arguments = ["train", "--corpus", str(corpus), "--megabytes", "0.004", "--out", str(out), "--json", *_SMALL]
    code, printed, said = _run(*arguments)
    assert code == 0
    figures = json.loads(printed)
    assert figures["completed"] and set(figures["bits_per_byte"]) == {"fp32", "int8"}
    assert "./carousel serve --model" in said and "held out" in said
    assert (out / "training" / "learning-curve.png").stat().st_size > 1000
    assert len((out / "training" / "metrics.jsonl").read_text().splitlines()) > 10
    again = json.loads(_run(*arguments)[1])
    assert again["digest"] == figures["digest"] == read_manifest(out).digest()


@pytest.mark.timeout(180)  # it imports torch in a process of its own, on a machine that may be busy
def test_ctrl_c_leaves_a_checkpoint_and_a_model_and_says_how_to_resume(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "model"
    program = "import model_export.commands as c, typer; a = typer.Typer(); a.command()(c.train); a()"
    arguments = ["--corpus", str(corpus), "--megabytes", "900", "--out", str(out), *_SMALL]
    command, root = [sys.executable, "-c", program, *arguments], Path(__file__).parents[3]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stderr is not None
            started = any("Ctrl-C stops early" in line for line in process.stderr)
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
            process.wait(timeout=100)
        finally:
            process.kill()
    assert started
    assert process.returncode == 130
    assert "the same command resumes" in said and "./carousel serve --model" in said
    assert set(read_manifest(out).graphs) == {"fp32", "int8"}
    assert (out / "training" / "checkpoint.pt").exists()


def test_fresh_starts_over(tmp_path: Path, corpus: Path) -> None:
    arguments = ["train", "--corpus", str(corpus), "--out", str(tmp_path / "m"), "--megabytes", "0.002", *_SMALL]
    assert _run(*arguments)[0] == 0
    code, _, said = _run(*arguments, "--seed", "5")
    assert code == 1 and "--fresh" in said
    assert _run(*arguments, "--seed", "5", "--fresh")[0] == 0


def test_evaluate_export_and_adopt_work_on_what_train_left(tmp_path: Path, corpus: Path) -> None:
    out = str(tmp_path / "model")
    assert _run("train", "--corpus", str(corpus), "--megabytes", "0.002", "--out", out, *_SMALL)[0] == 0
    code, printed, _ = _run("evaluate", "--model", out, "--corpus", str(corpus), "--threads", "1", "--json")
    figures = json.loads(printed)
    assert code == 0 and set(figures["bits_per_byte"]) == {"fp32", "int8"} == set(figures["top3_accuracy"])
    code, printed, _ = _run("export", "--run", out, "--out", str(tmp_path / "copy"), "--json")
    assert code == 0 and json.loads(printed)["digest"] == read_manifest(Path(out)).digest()
    code, printed, _ = _run("adopt", f"{out}/model.onnx", "--out", str(tmp_path / "adopted"), "--json")
    assert code == 0 and json.loads(printed)["pairs"]["c1"] == "c1_out"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--corpus", "no/such/place"], "no such file or folder"),
        (["train", "--minutes", "1", "--megabytes", "1"], "either --minutes or --megabytes"),
        (["train", "--minutes", "0"], "must be positive"),
        (["export"], "give either --run DIR"),
        (["export", "--run", "x", "--vocab", "v.json"], "--vocab, --start and --drop go with --weights"),
        (["export", "--weights", "no-such.pt"], "cannot be read"),
        (["evaluate", "--model", "no-such-folder"], "not a model folder"),
        (["adopt", "no-such.onnx"], "cannot be read"),
        (["adopt", "no-such.onnx", "--pair", "h0"], "expected INPUT=OUTPUT"),
    ],
)
def test_what_cannot_be_done_ends_with_one_line_that_says_why(arguments: list[str], message: str) -> None:
    code, printed, said = _run(*arguments)
    assert code == 1 and printed == ""
    assert said.startswith("error: ") and message in said and "Traceback" not in said


def test_the_recorded_command_leaves_out_where_the_model_went() -> None:
    arguments = ["/somewhere/carousel", "train", "--corpus", "my text", "--out", "/tmp/x", "--json", "--minutes", "3"]
    assert recorded_command(arguments) == "carousel train --corpus 'my text' --minutes 3"
    assert recorded_command(["carousel", "train", "--out=/tmp/x", "--fresh"]) == "carousel train"


def test_the_commands_are_known_without_importing_torch_or_onnx() -> None:
    program = "import sys, model_export.commands; print(sorted({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    root = Path(__file__).parents[3]
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    assert result.stdout.strip() == "[]"


def test_a_missing_training_package_names_the_command_that_installs_it() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import model_export.commands as c, typer; a = typer.Typer(); a.command()(c.train); a()"
    )
    root = Path(__file__).parents[3]
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=root)
    assert result.returncode == 1 and "make train-env" in result.stderr
