"""Prints what the tests of faults have counted, and writes it to a file if one is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.faults.checking import check
from tests.faults.counting import PROPERTY, Counted, table, total
from tests.faults.history import History

Counting = Callable[[str, int, Iterable[History]], Counted]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-json", type=Path, metavar="FILE", help="write the counts of the faults there, as JSON")


@pytest.fixture
def checked(record_property: Callable[[str, object], None]) -> Counting:
    """Checks the histories of a test, and counts them: the name of the fault, how often it was done, and to what."""

    def check_and_count(fault: str, faults: int, histories: Iterable[History]) -> Counted:
        histories = list(histories)
        counted = Counted.of(fault, faults, histories, check(histories))
        record_property(PROPERTY, counted.as_json())
        return counted

    return check_and_count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = [
        Counted(**value)
        for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
        if report.when == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if not rows:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line(table(rows))
    file: Path | None = config.getoption("--faults-json", default=None)
    if file is not None:
        found = {"faults": [row.as_json() for row in rows], "all": total(rows).as_json()}
        file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
