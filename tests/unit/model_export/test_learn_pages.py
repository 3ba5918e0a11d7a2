"""The pages of docs/learn: their programs run as they stand there, and what they quote is in the files they name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from model_export.cells.catalogue import CELLS
from model_export.lab import catalogue

_ROOT = Path(__file__).resolve().parents[3]
_PAGES = {page.stem: page.read_text(encoding="utf-8") for page in sorted((_ROOT / "docs" / "learn").glob("*.md"))}
_CODE = re.compile(r"```python\n(.*?)```", re.S)
_PROGRAMS = [
    pytest.param(program, id=f"{name}-{number}")
    for name, page in _PAGES.items()
    for number, program in enumerate(one for one in _CODE.findall(page) if one.startswith("import "))
]
_QUOTED = [
    pytest.param(quoted, id=f"{name}-{number}")
    for name, page in _PAGES.items()
    for number, quoted in enumerate(one for one in _CODE.findall(page) if not one.startswith("import "))
]
_NAMED = re.compile(r"#.*?\b(model_export/[\w/]+\.py)\b")


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


@cache
def _parts(file: str) -> frozenset[str]:
    """Every statement and expression of a file, in one form whatever its line breaks and comments are.

    Of a statement that holds others also its first lines: what follows the last that is quoted need not be.
    """
    tree = ast.parse((_ROOT / file).read_text(encoding="utf-8"))
    parts = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.stmt | ast.expr)}
    lines = [part.splitlines() for part in parts]
    return frozenset(parts | {"\n".join(one[:count]) for one in lines for count in range(2, len(one))})


@pytest.mark.parametrize("quoted", _QUOTED)
def test_code_that_a_page_quotes_stands_in_the_file_that_it_names(quoted: str) -> None:
    named = _NAMED.findall(quoted)
    assert len(named) == 1, f"a quotation names the file it is from, once: {quoted}"
    missing = [ast.unparse(one) for one in ast.parse(quoted).body if ast.unparse(one) not in _parts(named[0])]
    assert not missing, f"{named[0]} does not have what is quoted from it"


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_the_page_of_an_experiment_shows_the_line_of_code_that_it_is_about(name: str) -> None:
    assert any(str(one.id).rpartition("-")[0] == name for one in _QUOTED), f"{name}.md quotes no line of code"


def test_every_cell_is_on_its_page_with_all_the_equations_that_its_file_begins_with() -> None:
    page = _PAGES["cells"]
    assert {name for name in CELLS if f"`{name}`" not in page} == set()
    equations = [line.strip() for block in re.findall(r"```text\n(.*?)```", page, re.S) for line in block.splitlines()]
    for file in re.findall(r"\(\.\./\.\./(model_export/cells/\w+\.py)\)", page):
        written = ast.get_docstring(ast.parse((_ROOT / file).read_text(encoding="utf-8"))) or ""
        for line in written.splitlines():
            if re.match(r"\s*(\(i, f, g, o\)_t|\w_t|LN\(.*\)) +=", line):
                assert line.strip() in equations, f"cells.md lacks {line.strip()} of {file}"
