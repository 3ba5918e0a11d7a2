"""Texts that a network of characters writes by itself, and what it makes of a text that it is given."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from model_export.lab.network import Network
from model_export.lab.sequences import IGNORED, batch_of
from model_export.lab.symbols import END


@torch.no_grad()
def write(network: Network, count: int, longest: int, *, temperature: float, seed: int, prompt: str = "") -> list[str]:
    """Texts from the beginning on, each until the network ends it or it has `longest` characters, the prompt included.

    temperature: above 1 bolder, below 1 more cautious. The same seed gives the same texts on one machine.
    """
    generator = np.random.default_rng(seed)
    given = network.symbols.encode_text(prompt)
    first = torch.from_numpy(np.repeat(np.concatenate([[END], given])[:, None], count, axis=1))
    scores, states = network(first, network.initial(count))
    written = [torch.from_numpy(np.repeat(given[:, None], count, axis=1))]
    ended = torch.zeros(count, dtype=torch.bool)
    for _ in range(longest - len(given)):
        shares = torch.softmax(scores[-1].double() / temperature, dim=-1)
        drawn = torch.from_numpy(generator.random((count, 1)))
        chosen = (shares.cumsum(dim=-1) < drawn).sum(dim=-1).clamp_(max=shares.shape[1] - 1)
        chosen = torch.where(ended, END, chosen)
        ended |= chosen == END
        written.append(chosen[None])
        if bool(ended.all()):
            break
        scores, states = network(chosen[None], states)
    rows = torch.cat(written).T.numpy()
    return [network.symbols.decode_text(row[row != END]) for row in rows]


@torch.no_grad()
def bits_per_character(network: Network, texts: Sequence[str]) -> float:
    """Mean surprise at every byte of every text, each read from the beginning; their ends are not counted."""
    total, count = 0.0, 0
    for text in texts:
        batch = batch_of([network.symbols.encode_text(text)])
        targets = batch.targets.clone()
        targets[-1] = IGNORED
        scores = network.scores(batch.inputs)
        total += float(
            functional.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
        )
        count += len(targets) - 1
    return total / math.log(2) / count
