"""The command line: quick to help, and kind where something is not installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

import service
from service import cli
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]

_RUN_AND_LIST_MODULES = """
import sys
from service.cli import main
sys.argv = ["carousel", *{arguments!r}]
try:
    main()
finally:
    print("imported:", *sys.modules, file=sys.stderr)
"""


def imported_by(*arguments: str) -> set[str]:
    code = _RUN_AND_LIST_MODULES.format(arguments=list(arguments))
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return {name.partition(".")[0] for name in ended.stderr.rpartition("imported: ")[2].split()}


def test_help_for_serving_imports_neither_training_nor_serving() -> None:
    assert not imported_by("serve", "--help") & {"torch", "onnx", "matplotlib", "onnxruntime", "grpc", "fastapi"}


def test_every_setting_is_a_flag() -> None:
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["serve", "--help"]).output
    assert [name for name in Settings.model_fields if f"--{name.replace('_', '-')}" not in shown] == []


def test_version_is_printed() -> None:
    assert service.__version__ in CliRunner().invoke(cli.app, ["version"]).output


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of other packages, as their entry points would bring them."""
    points = [
        EntryPoint("train", "tests_of_cli_no_such_package:train", cli.COMMANDS_GROUP),
        EntryPoint("greet", "tests_of_cli_greeting:greet", cli.COMMANDS_GROUP),
        EntryPoint("tools", "tests_of_cli_greeting:tools", cli.COMMANDS_GROUP),
    ]

    def greet(name: str) -> None:
        """Greet somebody."""
        print(f"hello {name}")

    tools = typer.Typer(help="Several commands.")
    tools.command("one")(greet)
    tools.command("two")(greet)
    monkeypatch.setitem(sys.modules, "tests_of_cli_greeting", SimpleNamespace(greet=greet, tools=tools))
    monkeypatch.setattr(cli, "entry_points", lambda group: points)
    monkeypatch.setitem(cli._HOW_TO_INSTALL, "tests_of_cli_no_such_package", "make train-env")


@pytest.mark.usefixtures("elsewhere")
def test_commands_of_other_packages_join_by_entry_point() -> None:
    assert CliRunner().invoke(cli.app, ["greet", "you"]).output == "hello you\n"
    assert CliRunner().invoke(cli.app, ["tools", "two", "you"]).output == "hello you\n"
    listed = CliRunner().invoke(cli.app, ["--help"]).output
    assert "Greet somebody." in listed
    assert "Several commands." in listed


@pytest.mark.usefixtures("elsewhere")
def test_a_command_that_lacks_a_package_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["carousel", "train", "--corpus", "x"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("install with: make train-env")


@pytest.mark.usefixtures("elsewhere")
def test_the_list_of_commands_survives_one_that_cannot_be_imported() -> None:
    assert "needs make train-env" in CliRunner().invoke(cli.app, ["--help"]).output
