"""Checkpoints: the whole of a training run in one file, replaced atomically, so that a kill loses little."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from model_export.errors import TrainingError

CHECKPOINT_FILE = "checkpoint.pt"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write beside the old checkpoint, flush to disk, then rename over it."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (CHECKPOINT_FILE + ".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / CHECKPOINT_FILE)


def load(folder: Path) -> dict[str, Any] | None:
    """The last checkpoint, or None if there is none. Raises TrainingError if it cannot be read."""
    path = folder / CHECKPOINT_FILE
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(f"{path} cannot be read ({error}); remove it, or give --fresh, to start over") from error
    return state
