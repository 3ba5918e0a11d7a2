"""What a run of the lab leaves: pictures and JSON of each experiment, and one page of all of them."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from model_export.errors import TrainingError
from model_export.lab import pictures
from model_export.lab.bench import Bench
from model_export.lab.experiment import Experiment, Finding, Served
from service.model.checked import Checked
from service.model.example_request import curl, example_request, infer_path
from service.model.manifest import MANIFEST_FILE
from service.model.series_manifest import read_any_manifest

REPORT_FILE = "index.html"
MODELS_FOLDER = "models"
_ADDRESS = "localhost:8000"


@dataclass(frozen=True, slots=True)
class Serving:
    """How to see a model do its trick. model: what `carousel serve --model` takes.  request: the command that asks a
    model of words or numbers; none for one that is typed to.
    """

    served: Served
    model: str
    request: str | None

    @property
    def command(self) -> str:
        """What serves it."""
        return shlex.join(["carousel", "serve", "--model", self.model])


@dataclass(frozen=True, slots=True)
class Outcome:
    """One experiment, the settings it ran with, what it found, how long it took, and what can be served now."""

    experiment: Experiment[Any]
    settings: Checked
    finding: Finding
    seconds: float
    servings: tuple[Serving, ...] = ()

    def as_document(self) -> dict[str, Any]:
        """The figures by their claims' keys, then which of them held, and everything else."""
        verdicts = self.finding.verdicts
        return {
            **{verdict.claim.key: verdict.figure for verdict in verdicts},
            "held": {verdict.claim.key: verdict.held for verdict in verdicts},
            "wanted": {verdict.claim.key: verdict.claim.wanted for verdict in verdicts},
            "experiment": self.experiment.name,
            "settings": self.settings.as_document(),
            "seconds": round(self.seconds, 1),
            "details": dict(self.finding.details),
        }


def ready(folder: Path) -> None:
    """Find out, before any training, whether the folder can be written to. Raises TrainingError; nothing is left."""
    new: list[Path] = []
    try:
        for one in (folder, folder / MODELS_FOLDER):
            if one.exists() and not one.is_dir():
                raise TrainingError(f"--out: {one} is no folder, and what is made would go there; name another")
        new += [one for one in (folder, *folder.parents) if not one.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise TrainingError(f"--out: {folder} cannot be written to ({error.strerror}); name another") from error
    finally:
        for one in new:
            if one.exists():
                one.rmdir()


def servings(experiment: Experiment[Any], bench: Bench, shipped: Path) -> tuple[Serving, ...]:
    """What the experiment leaves to be served: what this run trained, or what it started from.

    shipped: the folder of the networks that come with the lab, which are served by short names.
    """
    found = []
    for served in experiment.serves:
        folder = bench.folder_of(served.model)
        if not (folder / MANIFEST_FILE).exists():
            continue
        manifest = read_any_manifest(folder)
        example = example_request(manifest)
        request = None if example is None else curl(_ADDRESS, infer_path(manifest.name), example)
        ours = folder.parent.resolve() == shipped.resolve()
        found.append(Serving(served, f"{shipped.name}/{served.model}" if ours else str(folder), request))
    return tuple(found)


def write(outcome: Outcome, folder: Path) -> list[Path]:
    """Write NAME.json and the PNG pictures; what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    name = outcome.experiment.name
    document = folder / f"{name}.json"
    document.write_text(json.dumps(outcome.as_document(), indent=2, allow_nan=True) + "\n", encoding="utf-8")
    written = [document]
    for picture in outcome.finding.pictures:
        written.append(folder / f"{name}-{picture.name}.png")
        pictures.save(picture.figure, written[-1])
    return written


def write_report(outcomes: Sequence[Outcome], folder: Path, command: str) -> Path:
    """Write one HTML file that holds everything, pictures included, for people who read no code."""
    environment = Environment(
        loader=PackageLoader("model_export.lab"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    told = [
        {
            "outcome": outcome,
            "held": sum(verdict.held for verdict in outcome.finding.verdicts),
            "pictures": [
                (_inline(folder / f"{outcome.experiment.name}-{picture.name}.png"), picture.caption)
                for picture in outcome.finding.pictures
            ],
        }
        for outcome in outcomes
    ]
    path = folder / REPORT_FILE
    verdicts = [verdict for outcome in outcomes for verdict in outcome.finding.verdicts]
    page = environment.get_template("report.html.jinja").render(
        told=told,
        claims=len(verdicts),
        held=sum(verdict.held for verdict in verdicts),
        command=command,
        minutes=_in_words(sum(outcome.seconds for outcome in outcomes)),
    )
    path.write_text(page, encoding="utf-8")
    return path


def _in_words(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def _inline(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
