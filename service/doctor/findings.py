"""What the doctor found: one finding per row of the table, and the report of them all."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """NOTE is worth knowing and no fault; BROKEN must not be served."""

    OK = "ok"
    NOTE = "note"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: `key` and `value` for programs, `title` and `shown` for people. A broken one says the way out."""

    key: str
    title: str
    value: Any
    shown: str
    verdict: Verdict = Verdict.OK
    way_out: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order in which they were made."""

    findings: tuple[Finding, ...]

    @property
    def problems(self) -> list[Finding]:
        """What must be put right before the folder is served."""
        return [finding for finding in self.findings if finding.verdict is Verdict.BROKEN]

    def as_json(self) -> dict[str, Any]:
        """The values by key, then `healthy` and what is broken."""
        values = {finding.key: finding.value for finding in self.findings}
        problems = [{"key": f.key, "found": f.shown, "way_out": f.way_out} for f in self.problems]
        return {**values, "healthy": not problems, "problems": problems}
