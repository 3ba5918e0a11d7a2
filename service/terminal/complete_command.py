"""The command `carousel complete`: what comes next, on standard output as it comes."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from typing import Annotated

import typer

from carousel_client import CarouselError, CompleteOptions, Completion, FinishReason, Piece
from service.terminal.finding import MODEL_HELP, KeyOption, find, logs_kept_back, refuse, told
from service.terminal.texts import STDIN, decoded, ending_quietly, read_bytes, say

_CUT_SHORT = 1
_BETWEEN = "---\n"


def complete(
    prompt: Annotated[str, typer.Argument(help="The text to go on from; - or nothing reads standard input.")] = "-",
    max_bytes: Annotated[int, typer.Option(min=1, max=4096, help="Longest completion, in bytes.")] = 256,
    count: Annotated[int, typer.Option(min=1, max=16, help="Completions, one after the other.")] = 1,
    stop: Annotated[list[str] | None, typer.Option(help="End before this; up to 4. A line's end is $'\\n'.")] = None,
    temperature: Annotated[float, typer.Option(min=0, max=5, help="0 takes the likeliest byte, more dares more.")] = 0,
    top_k: Annotated[int | None, typer.Option(min=0, max=256, help="Choose among so many likeliest bytes.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Choose among the likeliest bytes of this probability.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Choose among bytes of this share of the likeliest's.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="1 is none, more repeats less.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same text again.")] = None,
    timeout_s: Annotated[float, typer.Option(min=0.001, help="End after so many seconds with what there is.")] = 60,
    server: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The gRPC address of a server.")] = None,
    api_key: KeyOption = None,
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, with the seed and why each ended.")] = False,
) -> None:
    """Print how a text goes on.

    Only the continuation is printed: `cat a.py; carousel complete < a.py` shows both. Several are parted by a line ---.
    Without --server, the server at the default address; if none answers there, the model runs in this process.

    Exit code 1: the time was up before a completion had ended. 2: it could not be done.
    """
    text = _prompt(prompt)
    options = CompleteOptions(
        max_bytes,
        count,
        stop or (),
        temperature,
        top_k,
        top_p,
        min_p,
        repetition_penalty,
        seed=seed,
    )
    with ExitStack() as stack:
        stack.enter_context(ending_quietly())
        stack.enter_context(logs_kept_back())
        found = find(stack, server, model, api_key=api_key, timeout_s=timeout_s)
        try:
            with found.client.complete(text, options, model=found.model) as completion:
                pieces = _as_json(completion) if as_json else _as_text(completion, count)
        except CarouselError as error:
            refuse(told(error))
    if any(piece.finish_reason is FinishReason.DEADLINE for piece in pieces):
        print(f"carousel: the {timeout_s:g} s were up; --timeout-s allows more", file=sys.stderr)
        raise typer.Exit(_CUT_SHORT)


def _prompt(prompt: str) -> str:
    if prompt != "-":
        return prompt
    if sys.stdin.isatty():
        print("carousel: reading the text from this terminal; end it with Ctrl-D", file=sys.stderr)
    return decoded(read_bytes(STDIN), "standard input", "gone on from")


def _as_text(completion: Completion, count: int) -> list[Piece]:
    """Print what comes of the first completion at once, of the others when it is their turn. The last pieces."""
    waiting: list[list[Piece]] = [[] for _ in range(count)]
    last: list[Piece] = []
    turn, said = 0, ""
    for piece in completion:
        waiting[piece.index].append(piece)
        while turn < count and waiting[turn]:
            piece = waiting[turn].pop(0)
            if piece.text:
                say(piece.text)
                said = piece.text
            if piece.finish_reason is not None:
                last.append(piece)
                turn += 1
                if turn < count:
                    say(_line_end(said) + _BETWEEN)
    if sys.stdout.isatty():
        say(_line_end(said))
    return last


def _as_json(completion: Completion) -> list[Piece]:
    last = [piece for piece in completion if piece.finish_reason is not None]
    reasons = {piece.index: piece.finish_reason for piece in last}
    identity = completion.model
    document = {
        "completions": [
            {"text": text, "finish_reason": reasons.get(index)} for index, text in sorted(completion.texts.items())
        ],
        "seed": completion.seed,
        "model": identity and {"name": identity.name, "digest": identity.digest, "numerics_id": identity.numerics_id},
    }
    say(json.dumps(document, ensure_ascii=False, indent=2) + "\n")
    return last


def _line_end(said: str) -> str:
    return "" if said.endswith("\n") else "\n"
