"""The files that no shipped model was trained on: the yardstick's held-out half of the standard library."""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path

_ONE_IN = 20
_DEFAULT = "functools.py"


def is_held_out(relative_path: str) -> bool:
    """The rule of `carousel train`: the sha256 of the path relative to the corpus is divisible by 20."""
    return int(hashlib.sha256(relative_path.encode()).hexdigest(), 16) % _ONE_IN == 0


def held_out_library_files() -> Iterator[Path]:
    """The running Python's own held-out files, without its tests and installed packages, by path."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if not {"test", "tests", "site-packages", "dist-packages"} & set(parts) and is_held_out("/".join(parts)):
            yield path


def default_file() -> Path:
    """One held-out file that every Python has, of 38 kB: functools.py."""
    return Path(sysconfig.get_path("stdlib")) / _DEFAULT
