"""Models and texts that are small enough for a test."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import torch

from model_export import state_dicts
from model_export.corpora import Corpus, Document, Skip, Statistics
from model_export.language_model import LanguageModel, LanguageModelConfig
from model_export.state_dicts import TorchTensors
from model_export.training.loop import TrainingConfig
from model_export.training.schedule import Schedule

SHAPES = [
    LanguageModelConfig(layers=1, units=10, embedding=6),
    LanguageModelConfig(layers=2, units=16, embedding=8),
    LanguageModelConfig(layers=3, units=9, embedding=5),
    LanguageModelConfig(layers=2, units=12, embedding=12, tied=True),
]


def tensors(config: LanguageModelConfig, *, seed: int = 0, scale: float = 3.0) -> TorchTensors:
    """A random model; `scale` makes its weights large enough that its states matter."""
    torch.manual_seed(seed)
    model = LanguageModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return state_dicts.find(model.state_dict())


def text(words: int, *, seed: int) -> bytes:
    """Readable nonsense, different for each seed."""
    chosen = random.Random(seed)
    names = ["alpha", "beta", "gamma", "naïve", "delta", "return", "λx", "import os", "é\n", "self.value = value\n"]
    return " ".join(chosen.choice(names) for _ in range(words)).encode()


def corpus(*, documents: int = 6, words: int = 60) -> Corpus:
    """A corpus in memory, the last document held out."""
    made = [Document("tiny", f"{i}.txt", text(words, seed=i)) for i in range(documents)]
    statistics = Statistics("tiny", "nowhere", skipped=Counter({Skip.EMPTY: 2}))
    statistics.count(made[:-1], made[-1:])
    return Corpus(tuple(made[:-1]), tuple(made[-1:]), (statistics,))


def training(*, total_bytes: int = 20_000, seed: int = 0, dropout: float = 0.0) -> TrainingConfig:
    """A run of a tiny model."""
    return TrainingConfig(
        LanguageModelConfig(layers=2, units=12, embedding=6, dropout=dropout),
        Schedule(total_bytes=total_bytes, warmup_steps=20),
        rows=3,
        time=17,
        seed=seed,
        bfloat16=False,
    )


def write_files(root: Path, files: dict[str, bytes | str]) -> Path:
    """Write files by relative path; returns the root."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root
