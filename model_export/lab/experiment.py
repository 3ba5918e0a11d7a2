"""What an experiment is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, Literal, TypeVar

from matplotlib.figure import Figure

from model_export.cells.catalogue import make_cell
from model_export.errors import TrainingError
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim, Verdict, VerdictError
from model_export.lab.sequences import Batch
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
    """A model that the experiment leaves: its name in the folder of models, and what to type to see it do its trick.

    type_this: a text; a model of words is asked with it, one of numbers with numbers, `step` by step, over `/v2`.
    see_that: what comes then, a clause.
    """

    model: str
    type_this: str | tuple[float, ...]
    see_that: str


@dataclass(frozen=True, slots=True)
class Looked(Generic[S]):
    """What `--layer` and `--unit` look at: a model that the experiment leaves, and what it reads meanwhile.

    units: how many there are in each layer with these settings, the lowest first.  cell: what its layers are made of.
    tests: sequences with what is right after each symbol, on which it is measured what a unit is for; if there are
    none, what it reads is what it is to foresee.
    """

    model: str
    reads: str
    units: Callable[[S], tuple[int, ...]]
    cell: str = "lstm"
    tests: Callable[[S], Batch] | None = None

    @property
    def signals(self) -> tuple[str, ...]:
        """The letters of what a unit shows."""
        return make_cell(self.cell, 1, 1).signals

    def check(self, settings: S, layer: int, unit: int | None) -> None:
        """Raises TrainingError if there is no such layer or unit."""
        units = self.units(settings)
        if not 0 <= layer < len(units):
            raise TrainingError(f"--layer: {self.model} has no layer {layer}; {_those(len(units), 'layer')}")
        if unit is not None and not 0 <= unit < units[layer]:
            raise TrainingError(
                f"--unit: layer {layer} of {self.model} has no unit {unit}; {_those(units[layer], 'unit')}"
            )


def _those(count: int, what: str) -> str:
    return f"it has {what} 0 alone" if count == 1 else f"it has {what}s 0 to {count - 1}"


@dataclass(frozen=True, slots=True)
class Experiment(Generic[S]):
    """One command of the lab.

    question: what a reader wants to know.  source: who asked it first.  settings: the defaults; the checked fields
    are what `--set` may change.  claims: their sentences name settings in braces (`Claim`), so that they say what was
    measured whatever `--set` gave.  run: trains or loads, looks, and answers every claim.  looks: settings that change
    what is looked at and not what is trained.  looked: where `--layer` and `--unit` look, if there is one network to
    be looked at.  corpus: whether it trains on text that may be given, or, to train anew, must be.
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
    corpus: Literal["none", "may", "must"] = "none"
    looked: Looked[S] | None = None

    def changed(self, settings: S) -> tuple[str, ...]:
        """The settings of the training that are not the defaults, NAME=VALUE each, as `--set` takes them."""
        asked, defaults = settings.as_document(), self.settings.as_document()
        return tuple(
            f"{name}={asked[name]}"
            for name, value in defaults.items()
            if asked[name] != value and name not in self.looks
        )

    def trains_otherwise(self, settings: S) -> bool:
        """Whether networks that were trained with the defaults are not what these settings ask for."""
        return bool(self.changed(settings))

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

    def told(self, settings: S) -> tuple[Claim, ...]:
        """The claims as they read with these settings. Raises VerdictError if one names a setting that is not there."""
        return tuple(claim.told(settings) for claim in self.claims)

    def answer(self, bench: Bench, settings: S) -> Finding:
        """Run it; the verdicts' claims read as with these settings.

        Raises VerdictError unless every claim got exactly one verdict.
        """
        told = self.told(settings)
        finding = self.run(bench, settings)
        answered = [verdict.claim.key for verdict in finding.verdicts]
        if answered != [claim.key for claim in self.claims]:
            raise VerdictError(f"{self.name} answers {answered}, but claims {[claim.key for claim in self.claims]}")
        verdicts = [replace(verdict, claim=claim) for verdict, claim in zip(finding.verdicts, told, strict=True)]
        return replace(finding, verdicts=tuple(verdicts))


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
