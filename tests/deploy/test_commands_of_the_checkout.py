"""The shell around the server: the launcher, the search for a Python, and system packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=30, **options)  # type: ignore[call-overload,no-any-return]  # options are passed on as they are


def test_the_launcher_says_how_to_make_the_environment_when_there_is_none(tmp_path: Path) -> None:
    shutil.copy(ROOT / "carousel", tmp_path)
    result = run(tmp_path / "carousel", "serve")
    assert result.returncode == 1
    assert "make env" in result.stderr
    assert "make serve" in result.stderr


def test_the_launcher_runs_its_own_checkouts_command_from_anywhere(tmp_path: Path) -> None:
    checkout, elsewhere = tmp_path / "check out", tmp_path / "elsewhere"
    command = checkout / ".venv" / "bin" / "carousel"
    command.parent.mkdir(parents=True)
    elsewhere.mkdir()
    command.write_text('#!/bin/sh\nprintf "%s|" "$@"\nexit 3\n', encoding="utf-8")
    command.chmod(0o755)
    shutil.copy(ROOT / "carousel", checkout)
    (elsewhere / "link").symlink_to(checkout / "carousel")
    result = run(elsewhere / "link", "complete", "two words", cwd=elsewhere)
    assert (result.returncode, result.stdout) == (3, "complete|two words|")


def test_a_python_that_is_too_old_or_missing_is_refused_with_what_to_install(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    for candidate in (old, tmp_path / "absent"):
        result = run(ROOT / ".ci" / "find-python", candidate)
        assert result.returncode == 1
        assert "No Python of at least 3.11" in result.stderr
        assert "apt-get install" in result.stderr
        assert not result.stdout


def test_a_python_that_fits_is_found() -> None:
    result = run(ROOT / ".ci" / "find-python", sys.executable)
    assert (result.returncode, result.stdout.strip()) == (0, sys.executable)


def test_missing_system_packages_are_named_with_the_line_to_run_where_one_is_not_root() -> None:
    # Read from standard input, because somebody else may not enter this checkout's folders.
    script = (ROOT / ".ci" / "system-packages").read_text(encoding="utf-8")
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    result = run("bash", "-s", "--", "no-such-package", input=script, cwd="/", **nobody)
    assert result.returncode == 1
    assert "Please" in result.stderr
    assert "no-such-package" in result.stderr


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="dpkg-query is Debian's")
def test_system_packages_that_are_there_are_not_installed_again() -> None:
    result = run(ROOT / ".ci" / "system-packages", "dpkg", "bash")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
