"""`carousel adopt`: someone's ONNX graph becomes a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_export.commands.reporting import print_figures, reported, say, serve_line
from model_export.errors import ExportError

_PAIR = "A state input and the output that it is read back from, such as h0=h0_out; may repeat."


@reported
def adopt(
    model: Annotated[Path, typer.Argument(help="An ONNX file whose states are inputs and outputs.")],
    out: Annotated[Path | None, typer.Option(help="The model folder to make; models/NAME by default.")] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; the file's by default.")] = None,
    pair: Annotated[list[str] | None, typer.Option(help=_PAIR)] = None,
    tokens: Annotated[str | None, typer.Option(help="The input that takes the tokens.")] = None,
    head: Annotated[str | None, typer.Option(help="The output that gives the next byte's distribution.")] = None,
    start_token: Annotated[int, typer.Option(min=0, max=255, help="The byte that begins every text.")] = 0xFF,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON to standard output.")] = False,
) -> None:
    """Pair the states of an ONNX graph by what it does, check that they chain, and write the manifest."""
    from model_export.adopting.adopt import adopt as adopt_graph

    pairs = dict(_parse_pair(text) for text in pair or [])
    folder = out or Path("models") / model.stem
    result = adopt_graph(model, folder, name=name, tokens=tokens, head=head, pairs=pairs, start_token=start_token)
    if json:
        figures: dict[str, object] = {
            "model": str(folder),
            "digest": result.manifest.digest(),
            "pairs": {str(p.input): str(p.output) for p in result.pairs},
            "added": list(result.added),
            "broken_promise": result.broken_promise,
        }
        print_figures(figures)
    for found in result.pairs:
        say(f"layer {found.layer}, {found.role}: {found.input} -> {found.output}")
    say(f"the graph was wrapped; added: {', '.join(result.added)}" if result.added else "the graph is served as it is")
    if result.broken_promise is not None:
        say(f"warning: rows of a batch, or chunks of a text, change each other's results: {result.broken_promise}")
    say(f"Serve it with:\n  {serve_line(folder)}")


def _parse_pair(text: str) -> tuple[str, str]:
    before, equals, after = text.partition("=")
    if not (before and equals and after):
        raise ExportError(f"--pair {text!r}: expected INPUT=OUTPUT, such as h0=h0_out")
    return before, after
