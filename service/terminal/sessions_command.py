"""The command `carousel sessions`: what a server keeps, listed, exported, imported and deleted, through the server.

Never through its file: a session may be in use, and only the server knows its newest revision.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from carousel_client import CarouselError, Client, NotFound
from service.greeting import reachable
from service.settings import load_settings
from service.terminal.finding import KeyOption, client_of, refuse, told
from service.terminal.texts import ending_quietly, read_bytes, say

_TIMEOUT_S = 30.0
_COLUMNS = "{:<36}  {:>9}  {:>9}  {:<20}  {}"

ServerOption = Annotated[str | None, typer.Option("--server", metavar="HOST:PORT", help="Its gRPC address.")]
TenantOption = Annotated[
    str | None, typer.Option("--tenant", help="Whose sessions, for a server that believes x-carousel-tenant.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object for each session.")]

app = typer.Typer(
    name="sessions",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="List, export, import and delete the sessions that a server keeps.",
)


@app.command("list")
def list_(
    older: Annotated[str | None, typer.Option(help="Only those not written for so long, such as 30d or 12h.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many; all by default.")] = None,
    ids: Annotated[bool, typer.Option("--ids", help="The ids alone, for another command.")] = False,
    server: ServerOption = None,
    api_key: KeyOption = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """List sessions by id: revision, bytes of text, last write, model. They are fetched in parts, however many."""
    before_s = _before(older)
    with ending_quietly(), _connected(server, api_key, tenant) as client:
        found = (one for one in client.sessions(part=1000) if before_s is None or one.written_s < before_s)
        if not ids and not as_json:
            say(_COLUMNS.format("id", "revision", "bytes", "last write", "model") + "\n")
        for one in islice(found, limit):
            if as_json:
                say(json.dumps(asdict(one)) + "\n")
            elif ids:
                say(f"{one.id}\n")
            else:
                written = datetime.fromtimestamp(one.written_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
                say(_COLUMNS.format(one.id, one.revision, one.text_bytes, written, one.model) + "\n")


@app.command("export")
def export(
    session: Annotated[str, typer.Argument(help="Its id.")],
    out: Annotated[Path | None, typer.Option(help="The file to write; standard output by default.")] = None,
    server: ServerOption = None,
    api_key: KeyOption = None,
    tenant: TenantOption = None,
) -> None:
    """Write a session with its history as a document that `import` takes, here or elsewhere."""
    with ending_quietly(), _connected(server, api_key, tenant) as client:
        document = client.attach(session).export()
    if out is None:
        sys.stdout.buffer.write(document)
        sys.stdout.buffer.flush()
        return
    try:
        out.write_bytes(document)
    except OSError as error:
        refuse(f"{out} cannot be written: {error.strerror}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="What `export` wrote; - reads standard input.")],
    as_id: Annotated[str | None, typer.Option("--id", help="Another id than that in the document.")] = None,
    server: ServerOption = None,
    api_key: KeyOption = None,
    tenant: TenantOption = None,
) -> None:
    """Make a session of what `export` wrote, at its revision and with its history. Prints its id."""
    document = read_bytes(file)
    with _connected(server, api_key, tenant) as client:
        say(f"{client.import_session(document, id=as_id).id}\n")


@app.command("delete")
def delete(
    sessions: Annotated[list[str], typer.Argument(help="Their ids; - reads them from standard input, one a line.")],
    server: ServerOption = None,
    api_key: KeyOption = None,
    tenant: TenantOption = None,
) -> None:
    """Delete sessions with their texts and histories. What is not there is named, and makes the exit code 1."""
    missing = 0
    with _connected(server, api_key, tenant) as client:
        for one in _named(sessions):
            try:
                client.attach(one).close()
            except NotFound:
                missing += 1
                print(f"carousel: there is no session {one!r}", file=sys.stderr)
    if missing:
        raise typer.Exit(1)


def _named(sessions: list[str]) -> Iterator[str]:
    for one in sessions:
        if one == "-":
            yield from (line.strip() for line in sys.stdin if line.strip())
        else:
            yield one


def _before(older: str | None) -> float | None:
    if older is None:
        return None
    from service.setting_kinds import duration

    try:
        return (datetime.now(UTC) - timedelta(seconds=duration().read(older))).timestamp()
    except (ValueError, OverflowError) as error:
        refuse(f"--older: {error}")


@contextmanager
def _connected(server: str | None, api_key: str | None, tenant: str | None) -> Iterator[Client]:
    """A client of the server; what it refuses ends the command with one sentence."""
    settings = load_settings({})
    target = server or reachable(settings.host, settings.grpc_port)
    headers = None if tenant is None else {"x-carousel-tenant": tenant}
    with client_of(target, api_key=api_key, timeout_s=_TIMEOUT_S, headers=headers) as client:
        try:
            yield client
        except CarouselError as error:
            refuse(f"{target}: {told(error)}")
