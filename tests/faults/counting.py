"""The counts of a test that injects faults, and the table of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

from tests.faults.history import History, counts

PROPERTY = "faults"
"""The name under which a test's report carries its counts, across processes, too."""


@dataclass(frozen=True)
class Counted:
    """What one test did and found. faults: how often something was killed, frozen, cut or torn. checked: sessions."""

    fault: str
    faults: int
    operations: int
    ok: int
    failed: int
    unknown: int
    checked: int

    @classmethod
    def of(cls, fault: str, faults: int, histories: Iterable[History], checked: int) -> Counted:
        histories = list(histories)
        said = counts(histories)
        operations = sum(len(history.operations) for history in histories)
        return cls(fault, faults, operations, said["ok"], said["failed"], said["unknown"], checked)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def total(rows: Sequence[Counted]) -> Counted:
    """The sum of the rows."""
    sums = (sum(getattr(row, field.name) for row in rows) for field in fields(Counted)[1:])
    return Counted("all", *sums)


def table(rows: Sequence[Counted]) -> str:
    """Lines of text: a row for each test, and their sum."""
    names = [field.name for field in fields(Counted)]
    written = [names, *([str(getattr(row, name)) for name in names] for row in (*rows, total(rows)))]
    widths = [max(len(line[column]) for line in written) for column in range(len(names))]
    return "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells))
        for cells in (list(zip(line, widths, strict=True)) for line in written)
    )
