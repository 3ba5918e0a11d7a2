"""What a run of the lab leaves: pictures and JSON of each experiment, and one page of all of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from model_export.lab import pictures
from model_export.lab.experiment import Experiment, Finding
from service.model.checked import Checked

REPORT_FILE = "index.html"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One experiment, the settings it ran with, what it found, and how long it took."""

    experiment: Experiment[Any]
    settings: Checked
    finding: Finding
    seconds: float

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
