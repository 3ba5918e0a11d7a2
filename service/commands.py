"""The command line in full: help, checks of what was typed, and the commands of other packages.

Serving's commands are here; those of training, the client and the terminal join by entry point (`carousel.commands`)
and are imported when they are asked for, so that serving never waits for what only training needs.
"""

from __future__ import annotations

import inspect
import platform
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import service
from service.running import CommandError, run_server
from service.settings import SETTINGS, About

COMMANDS_GROUP = "carousel.commands"

# What a command may lack, by the module that cannot be imported: how to get it.
_HOW_TO_INSTALL = {
    "torch": "make train-env",
    "onnx": "make train-env",
    "jinja2": "make train-env",
    "matplotlib": "make train-env",
    "pathspec": "make train-env",
    "tokenizers": "make train-env",
    "carousel_client": "pip install ./client",
}


class LazyCommands(TyperGroup):
    """The commands of this file, and those of other packages, which are imported only when they are looked at."""

    @cached_property
    def _elsewhere(self) -> Mapping[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=COMMANDS_GROUP)}

    def list_commands(self, ctx: Any) -> list[str]:
        """Ours in their order, then the others by name."""
        ours = super().list_commands(ctx)
        return [*ours, *sorted(self._elsewhere.keys() - set(ours))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, imported now if it is not one of ours; None if there is no such command."""
        ours = super().get_command(ctx, cmd_name)
        point = self._elsewhere.get(cmd_name)
        if ours is not None or point is None:
            return ours
        try:
            return _command(cmd_name, point.load())
        except ModuleNotFoundError as error:
            return typer.main.get_command(_lacking(cmd_name, error))


def _command(name: str, made: typer.Typer | Callable[..., Any]) -> Any:
    """A command of the command line from what an entry point names: a function, or a whole Typer application."""
    if isinstance(made, typer.Typer):
        return typer.main.get_command(made)
    alone = typer.Typer(add_completion=False)
    alone.command(name)(made)
    return typer.main.get_command(alone)


def _lacking(name: str, error: ModuleNotFoundError) -> typer.Typer:
    """Stands for a command that cannot be imported; says so when it is run, not when commands are listed."""
    stand_in = typer.Typer(add_completion=False)
    anything = {"allow_extra_args": True, "ignore_unknown_options": True}

    @stand_in.command(name, help=f"(needs {_how_to_install(error) or error.name})", context_settings=anything)
    def lacking() -> None:
        raise error

    return stand_in


def _how_to_install(error: ModuleNotFoundError) -> str | None:
    return _HOW_TO_INSTALL.get((error.name or "").partition(".")[0])


app = typer.Typer(
    name="carousel",
    cls=LazyCommands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Autocomplete whose model remembers: train a recurrent network, serve it, type against it.",
)


def serve(config: Path | None = None, **flags: str | bool | list[str] | None) -> None:
    """Serve a model over gRPC and REST.

    Every flag is also an environment variable: --grpc-port is CAROUSEL_GRPC_PORT. A flag wins over the environment,
    the environment over the file of --config, and that over the default.
    """
    given = {
        name: ",".join(value) if isinstance(value, list) else value
        for name, value in flags.items()
        if value is not None
    }
    run_server(given, None if config is None else str(config))


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command a flag for each setting. The values stay text: `Settings` alone judges them."""
    config = Annotated[Path | None, typer.Option(help="A TOML file of settings, named as the flags with underscores.")]
    parameters = [inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=config)]
    for name, about in SETTINGS.items():
        is_switch = isinstance(about.default, bool)
        kind: Any = bool if is_switch else list[str] if about.kind.several else str
        option = typer.Option(help=_help(about), metavar=None if is_switch else about.kind.metavar, show_default=False)
        parameters.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
            )
        )
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect documents
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _help(about: About) -> str:
    if about.made:
        return f"{about.description} {about.made[0].upper()}{about.made[1:]} by default."
    if about.default in (None, (), False):
        return about.description
    return f"{about.description} {'On' if about.default is True else about.default} by default."


app.command("serve")(_with_settings(serve))


@app.command("version")
def version() -> None:
    """Print the version of Carousel and of the Python that runs it."""
    print(f"carousel {service.__version__} (Python {platform.python_version()})")


def run() -> None:
    """Run the command line. Raises CommandError for what the operator can put right."""
    from service.model.manifest import ModelFolderError  # commands that load no model need not wait for it

    try:
        app()
    except ModelFolderError as error:
        raise CommandError(str(error)) from error
    except ModuleNotFoundError as error:
        how = _how_to_install(error)
        if how is None:
            raise
        raise CommandError(f"this command needs {error.name}, which is not installed; install with: {how}") from error
