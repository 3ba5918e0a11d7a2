"""The programs on the pages of docs/learn run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[3]
_PROGRAMS = [
    pytest.param(program, id=f"{page.stem}-{number}")
    for page in sorted((_ROOT / "docs" / "learn").glob("*.md"))
    for number, program in enumerate(re.findall(r"```python\n(import .*?)```", page.read_text(encoding="utf-8"), re.S))
]


@pytest.mark.parametrize("program", _PROGRAMS)
def test_a_program_on_a_page_runs_and_prints_what_it_is_about(program: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()


def test_the_unit_that_counts_climbs_and_comes_down_in_inspect_onnx_as_its_page_says() -> None:
    (program,) = (one.values[0] for one in _PROGRAMS if one.id == "README-0")
    assert isinstance(program, str)
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    c = [float(value) for value in ran.stdout.strip(" []\n").split()]
    assert c[1] < c[2] < c[3] and c[5] > c[6] > c[7]
