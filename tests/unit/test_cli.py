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
from service import commands
from service.cli import main, plain_flags
from service.settings import SETTINGS

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


def test_what_the_first_keystroke_needs_does_not_wait_for_the_libraries_of_others() -> None:
    code = "import sys, service.cli, service.running, service.loading, service.bootstrap; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    imported = {name.partition(".")[0] for name in ended.stdout.split()}
    assert {"grpc", "onnxruntime", "uvloop"} <= imported
    assert not imported & {"fastapi", "uvicorn", "prometheus_client", "structlog", "rich", "typer", "google.rpc"}


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        ("serve", {}),
        ("serve --grpc-port 1 --host=::1", {"grpc_port": "1", "host": "::1"}),
        ("serve --grpc-port 1 --grpc-port=2", {"grpc_port": "2"}),
        ("serve --model a --model=b,c", {"model": "a,b,c"}),
        (
            "serve --trust-tenant-header --no-allow-batch-dependent",
            {"trust_tenant_header": True, "allow_batch_dependent": False},
        ),
        ("serve --config a.toml", {"config": "a.toml"}),
        ("", None),
        ("serve --help", None),
        ("serve --grpc-prt 1", None),
        ("serve --grpc_port 1", None),
        ("serve --grpc-port", None),
        ("serve --grpc-port --host", None),
        ("serve --trust-tenant-header=yes", None),
        ("serve extra", None),
        ("train --grpc-port 1", None),
    ],
)
def test_plain_flags_of_serve_are_read_and_anything_else_is_left_to_the_command_line_in_full(
    arguments: str, flags: dict[str, str | bool] | None
) -> None:
    assert plain_flags(arguments.split()) == flags


@pytest.mark.parametrize(
    "arguments",
    [
        ["--grpc-port", "1"],
        ["--host=a"],
        ["--trust-tenant-header"],
        ["--config", "f"],
        ["--model", "a", "--model", "b"],
        ["--grpc-port", "1", "--grpc-port", "2"],
    ],
)
def test_both_readings_of_the_flags_agree(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[dict[str, str | bool], str | None]] = []
    monkeypatch.setattr(commands, "run_server", lambda flags, config: ran.append((flags, config)))
    assert CliRunner().invoke(commands.app, ["serve", *arguments]).exit_code == 0
    flags = plain_flags(["serve", *arguments])
    assert flags is not None
    config = flags.pop("config", None)
    assert ran == [(flags, config)]


def test_every_setting_is_a_flag() -> None:
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(commands.app, ["serve", "--help"]).output
    assert [name for name in SETTINGS if f"--{name.replace('_', '-')}" not in shown] == []


def test_version_is_printed() -> None:
    assert service.__version__ in CliRunner().invoke(commands.app, ["version"]).output


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of other packages, as their entry points would bring them."""
    points = [
        EntryPoint("train", "tests_of_cli_no_such_package:train", commands.COMMANDS_GROUP),
        EntryPoint("greet", "tests_of_cli_greeting:greet", commands.COMMANDS_GROUP),
        EntryPoint("tools", "tests_of_cli_greeting:tools", commands.COMMANDS_GROUP),
    ]

    def greet(name: str) -> None:
        """Greet somebody."""
        print(f"hello {name}")

    tools = typer.Typer(help="Several commands.")
    tools.command("one")(greet)
    tools.command("two")(greet)
    monkeypatch.setitem(sys.modules, "tests_of_cli_greeting", SimpleNamespace(greet=greet, tools=tools))
    monkeypatch.setattr(commands, "entry_points", lambda group: points)
    monkeypatch.setitem(commands._HOW_TO_INSTALL, "tests_of_cli_no_such_package", "make train-env")


@pytest.mark.usefixtures("elsewhere")
def test_commands_of_other_packages_join_by_entry_point() -> None:
    assert CliRunner().invoke(commands.app, ["greet", "you"]).output == "hello you\n"
    assert CliRunner().invoke(commands.app, ["tools", "two", "you"]).output == "hello you\n"
    listed = CliRunner().invoke(commands.app, ["--help"]).output
    assert "Greet somebody." in listed
    assert "Several commands." in listed


@pytest.mark.usefixtures("elsewhere")
def test_a_command_that_lacks_a_package_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["carousel", "train", "--corpus", "x"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("install with: make train-env")


@pytest.mark.usefixtures("elsewhere")
def test_the_list_of_commands_survives_one_that_cannot_be_imported() -> None:
    assert "needs make train-env" in CliRunner().invoke(commands.app, ["--help"]).output
