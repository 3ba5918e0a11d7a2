"""What an install brings: pinned to the last package, without torch unless asked for, with every command there."""

from __future__ import annotations

import importlib
import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CLIENT: dict[str, Any] = tomllib.loads((ROOT / "client/pyproject.toml").read_text(encoding="utf-8"))
TRAINING_ONLY = {"torch", "onnx", "matplotlib", "sympy", "pathspec"}


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def named(document: dict[str, Any], *extras: str) -> list[Requirement]:
    project = document["project"]
    groups = [project.get("dependencies", []), *(project.get("optional-dependencies", {})[extra] for extra in extras)]
    return [Requirement(text) for group in groups for text in group]


def test_every_package_that_is_named_has_a_pinned_version_that_fits() -> None:
    versions = pinned()
    for document in (PROJECT, CLIENT):
        for requirement in named(document, *document["project"].get("optional-dependencies", {})):
            if canonicalize_name(requirement.name).startswith("carousel"):
                continue
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


def test_a_base_install_names_nothing_of_training() -> None:
    base = {canonicalize_name(requirement.name) for document in (PROJECT, CLIENT) for requirement in named(document)}
    assert not base & TRAINING_ONLY


def test_torch_is_named_exactly_once_and_exactly() -> None:
    torch = [requirement for requirement in named(PROJECT, "train", "dev") if requirement.name == "torch"]
    assert [str(requirement) for requirement in torch] == ["torch==2.13.0"]
    assert pinned()["torch"] == "2.13.0"


def test_the_extras_are_those_that_the_documentation_names() -> None:
    assert PROJECT["project"]["optional-dependencies"].keys() == {"train", "lsp", "valkey", "otel", "dev"}


@pytest.mark.parametrize("name", sorted(PROJECT["project"]["entry-points"]["carousel.commands"]))
def test_every_command_that_joins_by_entry_point_is_there(name: str) -> None:
    module, _, function = PROJECT["project"]["entry-points"]["carousel.commands"][name].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_installed_commands_are_those_of_this_checkout() -> None:
    installed = {point.name: point.value for point in entry_points(group="carousel.commands")}
    assert installed == PROJECT["project"]["entry-points"]["carousel.commands"], "run `make test`, which reinstalls"


def test_every_suppression_of_a_lint_rule_has_its_reason_beside_it() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (ignored,) = re.findall(r"^ignore = \[\n(.*?)^\]", text, flags=re.MULTILINE | re.DOTALL)
    per_file = text.partition("[tool.ruff.lint.per-file-ignores]\n")[2].partition("\n\n")[0]
    lines = [line for line in [*ignored.splitlines(), *per_file.splitlines()] if line.strip()]
    assert lines
    assert all(re.search(r"# \w+", line) for line in lines)
