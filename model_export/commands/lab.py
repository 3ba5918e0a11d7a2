"""`carousel lab`: the experiments that explain recurrent networks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from model_export.commands.reporting import console, print_figures, reported, say

if TYPE_CHECKING:
    from model_export.lab.experiment import Experiment
    from model_export.lab.outcome import Outcome

EVERYTHING = "all"
_SHIPPED = Path("models") / "lab"

_NAME = "An experiment; `all` for every one and a page of them; none to list them."
_FULL = "Train again instead of starting from the shipped networks."
_OUT = "Folder for pictures, JSON, the page, and what is trained."
_MODELS = "Folder of trained networks to start from; the shipped ones by default."
_CORPUS = "Train on this text: a file, a folder, `stdlib` or `package:NAME`; of `code` and `posts`."
_SET = "A setting of the experiment, NAME=VALUE; may repeat."
_LAYER = "Draw this layer of the experiment's network, 0 being the lowest; with --unit one unit of it."
_UNIT = "Draw this unit, and measure what the network expects without it; of layer 0 if no --layer is given."


@reported
def lab(
    name: Annotated[str | None, typer.Argument(help=_NAME)] = None,
    full: Annotated[bool, typer.Option("--full", help=_FULL)] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help=_SET)] = None,
    corpus: Annotated[str | None, typer.Option(help=_CORPUS)] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the training, and of what is drawn to test it.")] = 0,
    layer: Annotated[int | None, typer.Option(help=_LAYER)] = None,
    unit: Annotated[int | None, typer.Option(help=_UNIT)] = None,
    out: Annotated[Path, typer.Option(help=_OUT)] = Path("lab-report"),
    models: Annotated[Path | None, typer.Option(help=_MODELS)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON to standard output.")] = False,
) -> None:
    """Train and watch the small networks that explain how an LSTM remembers, and check every claim about them."""
    import torch

    from model_export.errors import TrainingError
    from model_export.lab import catalogue, outcome
    from model_export.lab.bench import Bench
    from model_export.lab.looking import look

    if name is None:
        _list([catalogue.load(one) for one in catalogue.NAMES])
        return
    given = _settings(set_ or ())
    if name == EVERYTHING and given:
        raise TrainingError("--set changes one experiment; name it instead of `all`")
    if name == EVERYTHING and corpus is not None:
        raise TrainingError("--corpus is for one experiment; name it instead of `all`")
    experiments = [catalogue.load(one) for one in (catalogue.NAMES if name == EVERYTHING else (name,))]
    asked = layer is not None or unit is not None
    if name == EVERYTHING and asked:
        raise TrainingError("--layer and --unit look into one experiment; name it instead of `all`")
    if corpus is not None and experiments[0].corpus == "none":
        reading = [one for one in catalogue.NAMES if catalogue.load(one).corpus != "none"]
        raise TrainingError(f"{name} makes its own sequences; --corpus is for {', '.join(reading)}")
    chosen = [(experiment, experiment.with_settings(given)) for experiment in experiments]
    if asked:
        chosen[0][0].check_place(chosen[0][1], layer or 0, unit)
    torch.set_num_threads(1)  # networks of ten units are slower on more
    bench = Bench(models or _shipped(), out / "models", seed=seed, console=console, corpus=corpus)
    outcomes = []
    for experiment, settings in chosen:
        started = time.monotonic()
        anew = full or experiment.trains_otherwise(settings)
        if anew and name == EVERYTHING and experiment.corpus == "must":
            say(f"{experiment.name} starts from the shipped networks: to train anew it must be given its --corpus")
            anew = False
        own = replace(bench, experiment=experiment.name, full=anew)
        finding = experiment.answer(own, settings)
        if asked and experiment.looked is not None:
            picture = look(own.kept(experiment.looked.model), experiment.looked.reads, layer or 0, unit)
            finding = replace(finding, pictures=(*finding.pictures, picture))
            say(picture.caption)
        outcomes.append(outcome.Outcome(experiment, settings, finding, time.monotonic() - started))
        written = outcome.write(outcomes[-1], out)
        _tell(outcomes[-1], written)
    documents = [one.as_document() for one in outcomes]
    if name == EVERYTHING:
        say(f"Everything on one page: {outcome.write_report(outcomes, out, 'carousel lab all')}")
    if json:
        print_figures({d["experiment"]: d for d in documents} if name == EVERYTHING else documents[0])


def _shipped() -> Path:
    """The lab's networks of this checkout, or else of the working folder."""
    shipped = Path(__file__).resolve().parents[2] / _SHIPPED
    return shipped if shipped.is_dir() else _SHIPPED


def _settings(given: Sequence[str]) -> dict[str, str]:
    from model_export.errors import TrainingError

    settings = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise TrainingError(f"--set wants NAME=VALUE, not {one!r}")
        settings[name.strip()] = value.strip()
    return settings


def _list(experiments: Sequence[Experiment[Any]]) -> None:
    table = Table("experiment", "what it asks", "claims", "settings", title="carousel lab NAME")
    for experiment in experiments:
        settings = ", ".join(f"{name}={value}" for name, value in experiment.settings.as_document().items())
        table.add_row(experiment.name, experiment.question, str(len(experiment.claims)), settings)
    console.print(table)


def _tell(one: Outcome, written: Sequence[Path]) -> None:
    table = Table("claim", title=f"{one.experiment.name}: {one.experiment.title}", show_lines=True)
    table.add_column("measured", justify="right")
    table.add_column("wanted", justify="right")
    table.add_column("verdict")
    for verdict in one.finding.verdicts:
        beside = f"\n[dim]{verdict.claim.figure}{'; ' + verdict.detail if verdict.detail else ''}[/dim]"
        colour, word = ("green", "held") if verdict.held else ("red", "not held")
        table.add_row(verdict.claim.says + beside, verdict.shown, verdict.claim.wanted, f"[{colour}]{word}[/{colour}]")
    console.print(table)
    for served in one.experiment.serves:
        say(f"Serve it with:\n  ./carousel serve --model lab/{served.model}")
        say(f"and type {served.type_this}: {served.see_that}")
    say(f"{one.seconds:.0f} s; written: {', '.join(map(str, written))}")
