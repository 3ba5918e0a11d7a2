"""Claims and verdicts. A claim states its bar before anything is measured; a verdict is the figure held against it.

Nobody writes "held" anywhere: it follows from the figure and the bar.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from model_export.errors import ExportError


class VerdictError(ExportError):
    """An experiment that does not answer its own claims."""


@dataclass(frozen=True, slots=True)
class Claim:
    """key: its name in JSON.  says: what is claimed, a sentence.  figure: what is measured, in words.

    It holds if the figure is at least, or at most, the bar. `digits` after the point are shown; with `percent` as a
    share of a hundred.

    What a setting decides stands in `says` and `figure` as the setting's name in braces, never as the number that it
    is by default: "share of right answers up to {longest} letters". A name is a field of the experiment's settings or
    a property of theirs ("{twice_longest}"), and takes Python's format ("{length:,}"); a brace that is meant is
    doubled. `Experiment.answer` puts in the settings of the run, `Experiment.told` those that it is given.
    """

    key: str
    says: str
    figure: str
    bar: float
    sense: Literal["at least", "at most"] = "at least"
    digits: int = 2
    percent: bool = False

    def verdict(self, figure: float, detail: str = "") -> Verdict:
        """What was measured, held against the bar."""
        return Verdict(self, float(figure), detail)

    def told(self, settings: object) -> Claim:
        """The claim with the settings' values in its sentences. Raises VerdictError for a name that is no setting."""
        values = _Attributes(self.key, settings)
        return replace(self, says=self.says.format_map(values), figure=self.figure.format_map(values))

    def show(self, value: float) -> str:
        """A number as this claim shows it."""
        if math.isnan(value):
            return "none"
        return f"{100 * value:.{max(self.digits - 2, 0)}f} %" if self.percent else f"{value:,.{self.digits}f}"

    @property
    def wanted(self) -> str:
        """The bar in words."""
        return f"{self.sense} {self.show(self.bar)}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim, what was measured, and a clause that says what a reader may want to know beside it."""

    claim: Claim
    figure: float
    detail: str = ""

    @property
    def held(self) -> bool:
        """Whether the figure reaches the bar; NaN, where nothing could be measured, does not."""
        if self.claim.sense == "at least":
            return self.figure >= self.claim.bar
        return self.figure <= self.claim.bar

    @property
    def shown(self) -> str:
        """The figure as the table shows it."""
        return self.claim.show(self.figure)


class _Attributes(dict[str, Any]):
    """What an object has, by name, as `str.format_map` asks for it."""

    def __init__(self, claim: str, settings: object) -> None:
        super().__init__()
        self._claim, self._settings = claim, settings

    def __missing__(self, name: str) -> Any:
        if not hasattr(self._settings, name):
            raise VerdictError(f"the claim {self._claim} tells of a setting {name!r} that its experiment does not have")
        return getattr(self._settings, name)
