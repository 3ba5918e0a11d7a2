"""What an experiment is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

from matplotlib.figure import Figure

from model_export.errors import TrainingError
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim, Verdict, VerdictError
from service.model.checked import Checked, NotAccepted

S = TypeVar("S", bound=Checked)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with the sentence that stands below it; `name` is its file's, without the ending."""

    name: str
    figure: Figure
    caption: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What an experiment found. `details` go to the JSON; `story` are paragraphs for people who read no code."""

    verdicts: tuple[Verdict, ...]
    pictures: tuple[Picture, ...] = ()
    story: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Served:
    """A model that the experiment leaves: its name in the folder of models, and what to type to see it do its trick."""

    model: str
    type_this: str
    see_that: str


@dataclass(frozen=True, slots=True)
class Experiment(Generic[S]):
    """One command of the lab.

    question: what a reader wants to know.  source: who asked it first.  settings: the defaults; the checked fields
    are what `--set` may change.  run: trains or loads, looks, and answers every claim.  looks: settings that change
    what is looked at and not what is trained.
    """

    name: str
    title: str
    question: str
    source: str
    settings: S
    claims: tuple[Claim, ...]
    run: Callable[[Bench, S], Finding]
    serves: tuple[Served, ...] = ()
    looks: frozenset[str] = frozenset()

    def trains_otherwise(self, settings: S) -> bool:
        """Whether networks that were trained with the defaults are not what these settings ask for."""
        asked, defaults = settings.as_document(), self.settings.as_document()
        return any(asked[name] != value for name, value in defaults.items() if name not in self.looks)

    def with_settings(self, given: Mapping[str, str]) -> S:
        """The defaults but for what was given as text. Raises TrainingError that names the setting."""
        known = {one.name: getattr(self.settings, one.name) for one in fields(self.settings)}  # type: ignore[arg-type]  # Checked are dataclasses
        changed: dict[str, Any] = {}
        for name, text in given.items():
            if name not in known:
                raise TrainingError(f"{self.name} has no setting {name!r}; it has {', '.join(known) or 'none'}")
            changed[name] = _read(self.name, name, text, known[name])
        try:
            return self.settings.model_copy(update=changed)
        except NotAccepted as error:
            raise TrainingError(f"{self.name}: {error}") from error

    def answer(self, bench: Bench, settings: S) -> Finding:
        """Run it. Raises VerdictError unless every claim got exactly one verdict."""
        finding = self.run(bench, settings)
        answered = [verdict.claim.key for verdict in finding.verdicts]
        if answered != [claim.key for claim in self.claims]:
            raise VerdictError(f"{self.name} answers {answered}, but claims {[claim.key for claim in self.claims]}")
        return finding


def _read(experiment: str, name: str, text: str, default: object) -> object:
    """The text as the type of the default says; None becomes a whole number."""
    wanted = {bool: "true or false", float: "a number", str: "a text"}.get(type(default), "a whole number")
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, str):
            return text
        return float(text) if isinstance(default, float) else int(text)
    except (ValueError, KeyError) as error:
        raise TrainingError(f"{experiment}: {name} is {wanted}, not {text!r}") from error
