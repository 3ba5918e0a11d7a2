"""`carousel lab`: the experiments that explain recurrent networks."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from model_export.commands.reporting import console, print_figures, reported, say

if TYPE_CHECKING:
    from model_export.lab.bench import Bench
    from model_export.lab.experiment import Experiment
    from model_export.lab.looking import Asked
    from model_export.lab.outcome import Outcome
    from service.model.checked import Checked

EVERYTHING = "all"
_SHIPPED = Path("models") / "lab"

_NAME = "An experiment; `all` for every one and a page of them; none to list them."
_FULL = "Train again instead of starting from the shipped networks."
_OUT = "Folder for pictures, JSON, the page, and what is trained."
_MODELS = "Folder of trained networks to start from; the shipped ones by default."
_CORPUS = "Train on this text: a file, a folder, `stdlib` or `package:NAME`."
_SET = "A setting of the experiment, NAME=VALUE; may repeat."
_SEED = "Of what is drawn to test the networks and, where something is trained now, of the training."
_LAYER = "Draw this layer of the experiment's network, 0 being the lowest; with --unit one unit of it."
_UNIT = "Draw this unit, hold it, and measure what the network loses; of layer 0 if no --layer is given."
_SIGNAL = "Which signal of the unit to hold: c, h, or a gate such as f; c if it has one, or else h."
_HOLD = "What to hold it at: a number, or `mean`, its own; zero if not given."


@reported
def lab(
    name: Annotated[str | None, typer.Argument(help=_NAME)] = None,
    full: Annotated[bool, typer.Option("--full", help=_FULL)] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help=_SET)] = None,
    corpus: Annotated[str | None, typer.Option(help=_CORPUS)] = None,
    seed: Annotated[int, typer.Option(min=0, help=_SEED)] = 0,
    layer: Annotated[int | None, typer.Option(help=_LAYER)] = None,
    unit: Annotated[int | None, typer.Option(help=_UNIT)] = None,
    signal: Annotated[str | None, typer.Option(help=_SIGNAL)] = None,
    hold: Annotated[str | None, typer.Option(help=_HOLD)] = None,
    out: Annotated[Path, typer.Option(help=_OUT)] = Path("lab-report"),
    models: Annotated[Path | None, typer.Option(help=_MODELS)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON to standard output.")] = False,
) -> None:
    """Train and watch the small networks that explain how an LSTM remembers, and check every claim about them."""
    import torch

    from model_export.errors import TrainingError
    from model_export.lab import catalogue, looking, outcome
    from model_export.lab.bench import Bench

    if name is None:
        _list([catalogue.load(one) for one in catalogue.NAMES])
        return
    given = _settings(set_ or ())
    if name == EVERYTHING:
        looks = {"--layer": layer, "--unit": unit, "--signal": signal, "--hold": hold}
        for option, value in {"--set": set_, "--corpus": corpus, **looks}.items():
            if value not in (None, []):
                raise TrainingError(f"{option} is of one experiment; name it instead of `all`")
    experiments = [catalogue.load(one) for one in (catalogue.NAMES if name == EVERYTHING else (name,))]
    if corpus is not None and experiments[0].corpus == "none":
        reading = [one for one in catalogue.NAMES if catalogue.load(one).corpus != "none"]
        raise TrainingError(f"--corpus: {name} makes its own sequences; there is one in {', '.join(reading)}")
    chosen = [(experiment, experiment.with_settings(given)) for experiment in experiments]
    asked = looking.asked_for(*chosen[0], layer=layer, unit=unit, signal=signal, hold=hold)
    if models is not None and not models.is_dir():
        raise TrainingError(f"--models: {models} is no folder, so there are no trained networks to start from")
    outcome.ready(out)
    torch.set_num_threads(1)  # networks of ten units are slower on more
    bench = Bench(
        models or _shipped(), out / outcome.MODELS_FOLDER, seed=seed, full=full, console=console, corpus=corpus
    )
    outcomes = []
    for experiment, settings in chosen:
        outcomes.append(_run(experiment, settings, bench, asked, of_all=name == EVERYTHING))
        _tell(outcomes[-1], outcome.write(outcomes[-1], out))
    documents = [one.as_document() for one in outcomes]
    if name == EVERYTHING:
        say(f"Everything on one page: {outcome.write_report(outcomes, out, _command(full, seed, models))}")
    if json:
        print_figures({d["experiment"]: d for d in documents} if name == EVERYTHING else documents[0])


def _run(experiment: Experiment[Any], settings: Checked, bench: Bench, asked: Asked | None, *, of_all: bool) -> Outcome:
    """One experiment, from trained networks if they are what the settings ask for."""
    from model_export.lab import looking, outcome

    started = time.monotonic()
    anew = bench.full or experiment.trains_otherwise(settings)
    if anew and of_all and experiment.corpus == "must":
        say(f"{experiment.name} starts from the shipped networks: to train anew it must be given its --corpus")
        anew = False
    asks = {served.model: served.type_this for served in experiment.serves}
    own = replace(bench, experiment=experiment.name, full=anew, changed=experiment.changed(settings), asks=asks)
    finding = experiment.answer(own, settings)
    if asked is not None:
        look = looking.look(own.kept(asked.looked.model), asked, settings)
        details = {**finding.details, "looked_at": look.measured}
        finding = replace(finding, pictures=(*finding.pictures, look.picture), details=details)
        say(look.picture.caption)
    seconds = time.monotonic() - started
    return outcome.Outcome(experiment, settings, finding, seconds, outcome.servings(experiment, own, _shipped()))


def _command(full: bool, seed: int, models: Path | None) -> str:
    """The command that writes the page, but for where."""
    options = ["--full"] if full else []
    options += ["--seed", str(seed)] if seed else []
    options += [] if models is None else ["--models", str(models)]
    return shlex.join(["carousel", "lab", EVERYTHING, *options])


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
    for serving in one.servings:
        say(f"Serve it with:\n  ./{serving.command}")
        if serving.request is None:
            say(f"and type {serving.served.type_this}: {serving.served.see_that}")
        else:
            say(f"and ask it with:\n  {serving.request}\n{serving.served.see_that}")
    say(f"{one.seconds:.0f} s; written: {', '.join(map(str, written))}")
