"""What the commands share in speaking: errors as one line, figures as JSON, and the line that serves a model."""

from __future__ import annotations

import functools
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from model_export.errors import ExportError
from service.model.manifest import ModelFolderError

P = ParamSpec("P")
R = TypeVar("R")

TRAINING_PACKAGES = frozenset({"jinja2", "matplotlib", "onnx", "pathspec", "torch"})

console = Console(stderr=True)
"""Everything for people; standard output is for figures."""


def reported(command: Callable[P, R]) -> Callable[P, R]:
    """End with exit code 1 and one line on stderr where the command raises one of our errors."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (ExportError, ModelFolderError) as error:
            _fail(str(error))
        except ModuleNotFoundError as error:
            if error.name not in TRAINING_PACKAGES:
                raise
            _fail(f"this command needs {error.name}, which is not installed here; `make train-env` installs it")

    return run


def _fail(message: str) -> NoReturn:
    console.print(f"[red]error:[/red] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def print_figures(figures: dict[str, object]) -> None:
    """Write figures as one JSON document to standard output."""
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


def serve_line(folder: Path) -> str:
    """The command that serves a model folder."""
    return shlex.join(["./carousel", "serve", "--model", str(folder)])


def say(line: str = "") -> None:
    """A line for people, as it stands."""
    console.print(escape(line), highlight=False, soft_wrap=True)
