"""The command `carousel type`: finds a server or brings its own, and opens the terminal on it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from carousel_client import CarouselError, RetryPolicy, Session, Stop, SuggestOptions
from service.terminal.application import build_application
from service.terminal.finding import MODEL_HELP, Found, KeyOption, find, logs_kept_back, refuse, told
from service.terminal.typist import Typist

_TIMEOUT_S = 3.0
_ONCE = RetryPolicy(attempts=1)  # a person presses the key again sooner than a retry would come
_LOOK_FOR_S = 600.0  # a person may restart a server meanwhile, and has the text on the screen


def type_(
    file: Annotated[Path | None, typer.Argument(help="Start from this file's text. Nothing is written to it.")] = None,
    server: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The gRPC address of a server.")] = None,
    api_key: KeyOption = None,
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    count: Annotated[int, typer.Option(min=1, max=9, help="Suggestions to show.")] = 3,
    max_bytes: Annotated[int, typer.Option(min=1, max=512, help="Longest suggestion, in bytes.")] = 48,
    stop: Annotated[Stop, typer.Option(help="Where a suggestion ends.")] = Stop.LINE,
) -> None:
    """Type, with suggestions in grey: Tab accepts one, the right arrow a word of it, up and down choose another.

    Without --server, the server at the default address; if none answers there, the model runs in this process.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        refuse("type needs a terminal for its keys and its screen; to complete a text in a script, call the server")
    text = _read(file)
    suggest = SuggestOptions(count, max_bytes, stop)
    with ExitStack() as stack:
        stack.enter_context(logs_kept_back())
        found = find(
            stack, server, model, api_key=api_key, timeout_s=_TIMEOUT_S, retry=_ONCE, resume_within_s=_LOOK_FOR_S
        )
        try:
            session = found.client.session(text, model=found.model, recreate=True)
        except CarouselError as error:
            refuse(f"the server at {found.where} refused: {told(error)}")
        asyncio.run(_run(found, session, text, suggest))


async def _run(found: Found, session: Session, text: str, suggest: SuggestOptions) -> None:
    loop = asyncio.get_running_loop()
    typist = Typist(
        found.client,
        session,
        text,
        suggest=suggest,
        post=loop.call_soon_threadsafe,
        changed=lambda: application.invalidate(),
    )
    application = build_application(typist, found.where, suggest.count or 1)
    typist.start()
    try:
        await application.run_async()
    finally:
        typist.close()


def _read(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        refuse(f"{file}: {error.strerror}")
    except UnicodeDecodeError as error:
        refuse(f"{file} is not UTF-8 (byte {error.start}); only text can be typed on")
