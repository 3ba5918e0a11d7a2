"""The command `carousel score`: how likely a file is, and where it surprises."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from carousel_client import CarouselError
from service.terminal.finding import MODEL_HELP, Found, KeyOption, find, logs_kept_back, refuse, told
from service.terminal.scoring import Cutting, FileScore, FileScorer
from service.terminal.scoring_view import coloured, described, summary
from service.terminal.texts import STDIN, decoded, ending_quietly, read_bytes, say

_ABOVE = 1
_PART_TIMEOUT_S = 120.0


def score(
    file: Annotated[Path, typer.Argument(help="The file; - reads standard input.")],
    places: Annotated[int, typer.Option(min=0, max=64, help="Most surprising places to list.")] = 10,
    show: Annotated[bool | None, typer.Option(help="The text in colours; only on a terminal if not said.")] = None,
    fail_above: Annotated[float | None, typer.Option(min=0, help="Exit with 1 if it takes more bits per byte.")] = None,
    server: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The gRPC address of a server.")] = None,
    api_key: KeyOption = None,
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead.")] = False,
) -> None:
    """Say how well the model foresaw a file: in bits per byte, and where it was surprised most.

    A name that is misspelt, a line that fits nowhere: what a model of such texts did not expect is worth a look.
    Yellow is less likely than 1 in 16, orange than 1 in 128, red than 1 in 2048.
    Without --server, the server at the default address; if none answers there, the model runs in this process.

    Exit code 1: above --fail-above. 2: it could not be done.
    """
    name = "stdin" if file == STDIN else str(file)
    content = read_bytes(file)
    decoded(content, name, "scored (iconv converts others)")
    if not content:
        refuse(f"{name} is empty: there is nothing to score")
    with ExitStack() as stack:
        stack.enter_context(ending_quietly())
        stack.enter_context(logs_kept_back())
        found = find(stack, server, model, api_key=api_key, timeout_s=_PART_TIMEOUT_S)
        result = _scored(found, content, places)
        if as_json:
            say(json.dumps(_document(content, result, name), ensure_ascii=False, indent=2) + "\n")
        else:
            _print(content, result, name, show)
    if fail_above is not None and result.bits_per_byte > fail_above:
        print(f"carousel: {result.bits_per_byte:.3f} bits per byte are more than {fail_above:g}", file=sys.stderr)
        raise typer.Exit(_ABOVE)


def _scored(found: Found, content: bytes, places: int) -> FileScore:
    scorer = FileScorer(found.client, content, places, model=found.model)
    if scorer.is_windowed:
        print(
            "carousel: the file is longer than a server reads at once; what is after its first MiB is scored by parts, "
            f"each after the {Cutting().context_bytes // 1024} KiB before it",
            file=sys.stderr,
        )
    talk = Console(stderr=True)
    try:
        for part in track(scorer.parts, "scoring", console=talk, transient=True, disable=len(scorer.parts) == 1):
            scorer.score(part)
    except CarouselError as error:
        refuse(told(error))
    return scorer.result()


def _print(content: bytes, result: FileScore, name: str, show: bool | None) -> None:
    out = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    if out.is_terminal if show is None else show:
        for line in coloured(content, result):
            out.print(line)
        out.print()
    for place in result.places:
        out.print(described(place, name))
    out.print(summary(content, result, name))


def _document(content: bytes, result: FileScore, name: str) -> dict[str, object]:
    return {
        "file": name,
        "bytes": len(content),
        "bits_per_byte": result.bits_per_byte,
        "places": [asdict(place) for place in result.places],
        "model": asdict(result.model),
    }
