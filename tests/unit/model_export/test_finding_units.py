"""The page on finding units: its program finds and loses what the page says it does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[3]
_PAGE = (_ROOT / "docs" / "learn" / "finding-units.md").read_text(encoding="utf-8")
_NUMBER = re.compile(r"-?\d+\.\d+")


def test_what_the_page_shows_is_what_its_program_prints() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", _PAGE, re.S)
    (shown,) = re.findall(r"```text\n(.*?)```", _PAGE, re.S)
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert _NUMBER.sub("#", ran.stdout) == _NUMBER.sub("#", shown), "other units are found than the page says"
    for line, wanted in zip(ran.stdout.splitlines(), shown.splitlines(), strict=True):
        for found, told in zip(_NUMBER.findall(line), _NUMBER.findall(wanted), strict=True):
            within = 0.0011 if len(told.partition(".")[2]) == 4 else 0.011
            assert float(found) == pytest.approx(float(told), abs=within), line
