"""The files beside this one that no network was trained on; `held_out/README.md` says where they are from."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "held_out"


def held_out(language: str) -> list[str]:
    """The texts of a language, `java` or `python`, in the order of their names."""
    return [path.read_text(encoding="utf-8") for path in sorted((_FOLDER / language).glob("*.txt"))]
