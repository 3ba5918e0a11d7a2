"""Where a command of the terminal finds its model: a server that was named, the one at the default address, its own."""

from __future__ import annotations

import io
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from carousel_client import CarouselError, Client, RetryPolicy, Unauthenticated
from service.greeting import reachable
from service.settings import Settings, load_settings
from service.telemetry.logs import configure_logs

USAGE = 2
"""The exit code of what could not be done; why, and what would help, is on standard error."""

MODEL_HELP = "Run this model folder in this process; with --server, the name of one of its models."

KeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        metavar="KEY",
        envvar="CAROUSEL_API_KEY",
        show_default=False,
        help="For a server that asks for keys; from the variable it is not seen in the process list.",
    ),
]

_PROBE_S = 1.0


@dataclass(frozen=True)
class Found:
    """A client of the server that was found, how to name it to a person, and its model if it is not the default one."""

    client: Client
    where: str
    model: str | None


def refuse(message: str) -> NoReturn:
    """End the command: one sentence on standard error, exit code 2."""
    print(f"carousel: {message}", file=sys.stderr)
    raise typer.Exit(USAGE)


def told(error: CarouselError) -> str:
    """What a server refused, with what would help on the command line."""
    return f"{error} (here: CAROUSEL_API_KEY)" if isinstance(error, Unauthenticated) else str(error)


def client_of(
    target: str,
    *,
    api_key: str | None,
    timeout_s: float,
    retry: RetryPolicy | None = None,
    resume_within_s: float = 30.0,
    headers: Mapping[str, str] | None = None,
) -> Client:
    """A client with the key that was given, if any; refuses what is no key."""
    try:
        return Client(
            target,
            timeout_s=timeout_s,
            retry=retry,
            resume_within_s=resume_within_s,
            api_key=None if api_key is None else api_key.strip(),  # a file's last line end, by way of a variable
            headers=headers,
        )
    except ValueError as error:
        refuse(f"--api-key, CAROUSEL_API_KEY: {str(error).removeprefix('api_key: ')}")


def find(
    stack: ExitStack,
    server: str | None,
    model: str | None,
    *,
    api_key: str | None,
    timeout_s: float,
    retry: RetryPolicy | None = None,
    resume_within_s: float = 30.0,
) -> Found:
    """A server: `server` if it is named, else the one at the default address, else one in this process.

    `model` is the name of one of the named server's models, or a folder, which asks for the last. That one lives as
    long as `stack`, and so does the client. Refuses what cannot be had.
    """
    settings = load_settings({})
    target = server or reachable(settings.host, settings.grpc_port)
    where, name = target, model
    if server is not None:
        if not _listens(server):
            refuse(f"no server answers at {server}; start one with: carousel serve")
    elif model is not None or not _listens(target):
        if model is None:
            print(f"no server answers at {target}; loading the model into this process", file=sys.stderr, flush=True)
        folder = None if model is None else Path(model)
        target, where, name = _own_server(stack, settings, folder), "in this process", None
    client = client_of(target, api_key=api_key, timeout_s=timeout_s, retry=retry, resume_within_s=resume_within_s)
    return Found(stack.enter_context(client), where, name)


@contextmanager
def logs_kept_back() -> Iterator[None]:
    """Warnings of a server in this process would stand among what is shown: they are shown when that is done."""
    kept = io.StringIO()
    configure_logs("warning", "console", stream=kept)
    try:
        yield
    finally:
        sys.stderr.write(kept.getvalue())


def _listens(target: str) -> bool:
    host, _, port = target.rpartition(":")
    if not port.isdecimal():
        refuse(f"--server {target}: give it as HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_S).close()
    except OSError:
        return False
    return True


def _own_server(stack: ExitStack, settings: Settings, model: Path | None) -> str:
    """The gRPC address of a server in this process, which lives as long as `stack`."""
    # Imported where they are needed: with a server elsewhere a command is there before the runtime could be loaded.
    from service.bootstrap import StartFailed
    from service.model.manifest import ModelFolderError
    from service.terminal.local_server import model_of_this_process

    try:
        addresses = stack.enter_context(model_of_this_process(settings, model)).addresses
    except (StartFailed, ModelFolderError) as error:
        refuse(str(error))
    return reachable(addresses.host, addresses.grpc_port)
