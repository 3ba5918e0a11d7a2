"""The command `carousel type`: finds a server or brings its own, and opens the terminal on it."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from carousel_client import CarouselError, Client, RetryPolicy, Session, Stop, SuggestOptions, Unavailable
from service.greeting import reachable
from service.settings import Settings, load_settings
from service.telemetry.logs import configure_logs
from service.terminal.application import build_application
from service.terminal.typist import Typist

_TIMEOUT_S = 3.0
_ONCE = RetryPolicy(attempts=1)  # a person presses the key again sooner than a retry would come
_LOOK_FOR_S = 600.0  # a person may restart a server meanwhile, and has the text on the screen
_USAGE = 2


def type_(
    file: Annotated[Path | None, typer.Argument(help="Start from this file's text. Nothing is written to it.")] = None,
    server: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The gRPC address of a server.")] = None,
    model: Annotated[Path | None, typer.Option(help="Run this model folder in this process.")] = None,
    count: Annotated[int, typer.Option(min=1, max=9, help="Suggestions to show.")] = 3,
    max_bytes: Annotated[int, typer.Option(min=1, max=512, help="Longest suggestion, in bytes.")] = 48,
    stop: Annotated[Stop, typer.Option(help="Where a suggestion ends.")] = Stop.LINE,
) -> None:
    """Type, with suggestions in grey: Tab accepts one, the right arrow a word of it, up and down choose another.

    Without --server, the server at the default address; if none answers there, the model runs in this process.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        _refuse("type needs a terminal for its keys and its screen; to complete a text in a script, call the server")
    if server is not None and model is not None:
        _refuse("give --server or --model, not both: a server has its model")
    text = _read(file)
    suggest = SuggestOptions(count, max_bytes, stop)
    with ExitStack() as stack:
        stack.enter_context(_logs_kept_back())
        client, session, where = _open(stack, load_settings({}), text, server, model)
        asyncio.run(_run(client, session, text, suggest, where))


async def _run(client: Client, session: Session, text: str, suggest: SuggestOptions, where: str) -> None:
    loop = asyncio.get_running_loop()
    typist = Typist(
        client,
        session,
        text,
        suggest=suggest,
        post=loop.call_soon_threadsafe,
        changed=lambda: application.invalidate(),
    )
    application = build_application(typist, where, suggest.count or 1)
    typist.start()
    try:
        await application.run_async()
    finally:
        typist.close()


def _open(
    stack: ExitStack, settings: Settings, text: str, server: str | None, model: Path | None
) -> tuple[Client, Session, str]:
    """A session of the text on the server that was named, on the one at the default address, or on our own."""
    target = server or reachable(settings.host, settings.grpc_port)
    if model is None:
        client = stack.enter_context(_client(target))
        try:
            return client, client.session(text, recreate=True), target
        except Unavailable as error:
            if server is not None:
                _refuse(f"no server answers at {server}: {error}; start one with: carousel serve")
            print(f"no server answers at {target}; loading the model into this process", file=sys.stderr, flush=True)
        except CarouselError as error:
            _refuse(f"the server at {target} refused: {error}")
    client = stack.enter_context(_client(_own_server(stack, settings, model)))
    try:
        return client, client.session(text, recreate=True), "in this process"
    except CarouselError as error:
        _refuse(str(error))


def _client(target: str) -> Client:
    return Client(target, timeout_s=_TIMEOUT_S, retry=_ONCE, resume_within_s=_LOOK_FOR_S)


def _own_server(stack: ExitStack, settings: Settings, model: Path | None) -> str:
    """The gRPC address of a server in this process, which lives as long as `stack`."""
    # Imported where they are needed: with a server elsewhere this program is there before the runtime could be loaded.
    from service.bootstrap import StartFailed
    from service.model.manifest import ModelFolderError
    from service.terminal.local_server import model_of_this_process

    try:
        addresses = stack.enter_context(model_of_this_process(settings, model)).addresses
    except (StartFailed, ModelFolderError) as error:
        _refuse(str(error))
    return reachable(addresses.host, addresses.grpc_port)


def _read(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        _refuse(f"{file}: {error.strerror}")
    except UnicodeDecodeError as error:
        _refuse(f"{file} is not UTF-8 (byte {error.start}); only text can be typed on")


@contextmanager
def _logs_kept_back() -> Iterator[None]:
    """Warnings of a server in this process would be drawn over the screen: they are shown when it is closed."""
    kept = io.StringIO()
    configure_logs("warning", "console", stream=kept)
    try:
        yield
    finally:
        sys.stderr.write(kept.getvalue())


def _refuse(message: str) -> NoReturn:
    print(f"carousel: {message}", file=sys.stderr)
    raise typer.Exit(_USAGE)
