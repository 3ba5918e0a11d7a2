"""The command `carousel`: parse, bootstrap, run.

Serving's commands are here; those of training, the client and the terminal join by entry point (`carousel.commands`)
and are imported when they are asked for, so that serving never waits for what only training needs.
"""

from __future__ import annotations

import inspect
import platform
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperGroup

import service
from service.model.manifest import ModelFolderError
from service.settings import Settings, SettingsError, load_settings

COMMANDS_GROUP = "carousel.commands"

# What a command may lack, by the module that cannot be imported: how to get it.
_HOW_TO_INSTALL = {
    "torch": "make train-env",
    "onnx": "make train-env",
    "matplotlib": "make train-env",
    "pathspec": "make train-env",
    "carousel_client": "pip install ./client",
}
_METAVARS = {int: "NUMBER", float: "SECONDS", Path: "PATH"}
_USAGE = 2


class CommandError(Exception):
    """Ends a command with one line on standard error and exit code 2."""


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


def serve(config: Path | None = None, **flags: str | bool | None) -> None:
    """Serve a model over gRPC and REST.

    Every flag is also an environment variable: --grpc-port is CAROUSEL_GRPC_PORT. A flag wins over the environment,
    the environment over the file of --config, and that over the default.
    """
    settings = load_settings({name: value for name, value in flags.items() if value is not None}, config)
    from service import bootstrap

    try:
        bootstrap.serve(settings)
    except bootstrap.StartFailed as error:
        raise CommandError(str(error)) from error


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command a flag for each setting. The values stay text: `Settings` alone judges them."""
    config = Annotated[Path | None, typer.Option(help="A TOML file of settings, named as the flags with underscores.")]
    parameters = [inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=config)]
    for name, field in Settings.model_fields.items():
        kind: Any = bool if field.annotation is bool else str
        option = typer.Option(
            help=_help(field), metavar=None if kind is bool else _metavar(field.annotation), show_default=False
        )
        parameters.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
            )
        )
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect documents
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _help(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return f"{field.description} The shipped one by default."
    if field.default in (None, (), False):
        return field.description or ""
    return f"{field.description} {field.default} by default."


def _metavar(annotation: Any) -> str:
    """What stands for the value in the help: the choices, or a word for the type."""
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    inner = [_metavar(part) for part in get_args(annotation) if part is not type(None)]
    return _METAVARS.get(annotation) or next(iter(inner), "TEXT")


app.command("serve")(_with_settings(serve))


@app.command("version")
def version() -> None:
    """Print the version of Carousel and of the Python that runs it."""
    print(f"carousel {service.__version__} (Python {platform.python_version()})")


def main() -> None:
    """Run the command line. What the operator can put right is one line on standard error and exit code 2."""
    try:
        app()
    except (CommandError, SettingsError, ModelFolderError) as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        how = _how_to_install(error)
        if how is None:
            raise
        _fail(f"this command needs {error.name}, which is not installed; install with: {how}")


def _fail(message: str) -> None:
    print(f"carousel: {message}", file=sys.stderr)
    sys.exit(_USAGE)


if __name__ == "__main__":
    main()
