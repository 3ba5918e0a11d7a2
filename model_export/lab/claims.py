"""Claims and verdicts. A claim states its bar before anything is measured; a verdict is the figure held against it.

Nobody writes "held" anywhere: it follows from the figure and the bar.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from model_export.errors import ExportError


class VerdictError(ExportError):
    """An experiment that does not answer its own claims."""


@dataclass(frozen=True, slots=True)
class Claim:
    """key: its name in JSON.  says: what is claimed, a sentence.  figure: what is measured, in words.

    It holds if the figure is at least, or at most, the bar. `digits` after the point are shown; with `percent` as a
    share of a hundred.
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
