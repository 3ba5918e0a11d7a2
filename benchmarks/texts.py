"""Held-out code to type, as much as a benchmark wants of it."""

from __future__ import annotations

import random
import string

from benchmarks.held_out import held_out_library_files
from benchmarks.report import BenchmarkError


def held_out_text(size_bytes: int) -> str:
    """The held-out library files one after the other, ASCII alone: a character is a byte. Raises BenchmarkError."""
    parts: list[str] = []
    missing = size_bytes
    for path in held_out_library_files():
        if missing <= 0:
            break
        part = path.read_bytes().decode("ascii", errors="ignore")
        parts.append(part)
        missing -= len(part)
    if missing > 0:
        raise BenchmarkError(f"the held-out files of the standard library lack {missing} of {size_bytes} bytes")
    return "".join(parts)[:size_bytes]


def unforeseen_letter(suggestion: str, chosen: random.Random) -> str:
    """A letter that the suggestion does not begin with: whoever types it needs a model step."""
    return chosen.choice([letter for letter in string.ascii_lowercase if letter != suggestion[:1]])
