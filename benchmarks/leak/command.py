"""The command: three graphs of one model, the same trials on each, the table and the picture."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from benchmarks.dynamic_quantization import quantized_dynamically
from benchmarks.held_out import held_out_library_files
from benchmarks.leak.guess import Guesses, guess
from benchmarks.leak.picture import draw_leak
from benchmarks.leak.trials import CONTEXT_BYTES, TEXTS, Trials, run_trials
from benchmarks.machine import arguments_of_this_process, circumstances
from benchmarks.report import RESULTS, Figure, Report
from service.runtime.onnx_model import load_model
from service.settings import load_settings

_SEED = 1997
_KEYS = {
    "DynamicQuantizeLSTM": "dynamic_quantize_lstm",
    "Carousel's int8": "int8",
    "Carousel's fp32": "fp32",
}


def leak(
    model: Annotated[Path | None, typer.Option(help="The model folder; the one that `serve` takes by default.")] = None,
    trials: Annotated[int, typer.Option(min=8, help="Half of them teach the attacker, half of them count.")] = 400,
    bystanders: Annotated[int, typer.Option(min=0, max=62, help="Other rows of the batch, typing at random.")] = 0,
    out: Annotated[Path, typer.Option(metavar="PNG", help="Where the picture goes.")] = RESULTS / "leak.png",
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Guess which of two texts a neighbour in the batch typed, from one's own probabilities alone.

    With onnxruntime's DynamicQuantizeLSTM, which quantizes all rows of a batch by one scale, and with our graphs, where
    the attacker's probabilities have the same bits whatever the neighbour types: guessing is chance, exactly.
    """
    where = circumstances(arguments_of_this_process())
    found, guesses = _run(model or load_settings({}).default_model, trials - trials % 4, bystanders)
    report = Report(
        "leak",
        f"Which of two texts did the neighbour type? {len(next(iter(guesses.values())).typed)} guesses; "
        f"chance 50 %, by luck at most {0.5 + next(iter(guesses.values())).margin:.1%}",
        tuple(figure for name, key in _KEYS.items() for figure in _figures(name, key, found[name], guesses[name])),
        where,
        {"trials": trials - trials % 4, "bystanders": bystanders, "texts": [text.decode() for text in TEXTS]},
    )
    report.print(as_json=json)
    out.parent.mkdir(parents=True, exist_ok=True)
    draw_leak(out, guesses, caption=f"{where.command} · {where.cpu}")
    print(f"written: {out}", file=sys.stderr)


def _run(folder: Path, trials: int, bystanders: int) -> tuple[dict[str, Trials], dict[str, Guesses]]:
    contexts = _contexts(trials)
    found = {}
    with ExitStack() as stack, Console(stderr=True).status("") as status:
        status.update("quantizing")
        models = (stack.enter_context(quantized_dynamically(folder)), load_model(folder), load_model(folder, "fp32"))
        for name, model in zip(_KEYS, models, strict=True):
            status.update(f"{trials} trials with {name}")
            generator = np.random.default_rng(_SEED)  # the same coins for every graph
            found[name] = run_trials(model, contexts, bystanders=bystanders, generator=generator)
    return found, {name: guess(one) for name, one in found.items()}


def _contexts(count: int) -> list[bytes]:
    """What victims have typed before: pieces of held-out files."""
    text = b"".join(path.read_bytes() for path in held_out_library_files())
    starts = np.random.default_rng(_SEED).integers(0, len(text) - CONTEXT_BYTES, count)
    return [text[start : start + CONTEXT_BYTES] for start in starts]


def _figures(name: str, key: str, trials: Trials, guesses: Guesses) -> tuple[Figure, ...]:
    return (
        Figure(f"{key}_accuracy", f"{name}: guessed right", guesses.accuracy, digits=3),
        Figure(f"{key}_patterns", f"{name}: different answers that the attacker saw", trials.patterns, digits=0),
        Figure(f"{key}_largest_move", f"{name}: its log-probabilities moved by", trials.largest_move, digits=4),
    )
