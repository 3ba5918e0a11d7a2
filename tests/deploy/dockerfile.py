"""The Dockerfile as a list of instructions, for tests that compare it with the server."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def instructions() -> list[tuple[str, str]]:
    """Every instruction with its arguments on one line, comments left out, in order."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, arguments = line.partition(" ")
        found.append((name.upper(), arguments.strip()))
    return found


def stages() -> list[list[tuple[str, str]]]:
    """The instructions from each FROM to the next."""
    found: list[list[tuple[str, str]]] = []
    for instruction in instructions():
        if instruction[0] == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def environment(stage: list[tuple[str, str]]) -> dict[str, str]:
    """What the ENV instructions of a stage set."""
    pairs = (pair for name, arguments in stage if name == "ENV" for pair in shlex.split(arguments))
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
