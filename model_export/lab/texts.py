"""Real text for the lab's networks: documents of ASCII, read as streams of which each goes on where it was.

The corpora are those of `carousel train` (`corpora.py`), with the same documents held out. What a training reads is cut
into rows that lie side by side; the states are carried from chunk to chunk, the gradient is not (truncated
back-propagation through time).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model_export import corpora
from model_export.cells.cell import States
from model_export.errors import CorpusError
from model_export.lab.bench import Bench
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.sequences import IGNORED, Batch, batch_of
from model_export.lab.symbols import END, Symbols
from model_export.lab.training import Recipe, fit, new_network

STDLIB = "stdlib"
ASCII = Symbols.letters("\t\n\f" + "".join(map(chr, range(0x20, 0x7F))))
_SYMBOL_OF_BYTE = np.zeros(256, np.int64)
_SYMBOL_OF_BYTE[ASCII.tokens()[1:]] = np.arange(1, ASCII.size)
_CHUNK = 256  # steps that are read at a time when nothing is learned; changes no figure


@dataclass(frozen=True, slots=True)
class Texts:
    """Documents as symbols of ASCII, int64 [length] each.  sha256: of all of them, training and held out."""

    train: tuple[NDArray[np.int64], ...]
    held_out: tuple[NDArray[np.int64], ...]
    sha256: str

    @property
    def train_bytes(self) -> int:
        """How much there is to train on."""
        return sum(map(len, self.train))


def read(corpus: str, *, least_bytes: int, held_out_each: int) -> Texts:
    """A corpus as `carousel train --corpus` names it; documents that hold anything but ASCII are left out.

    least_bytes: how much a training wants to read.  held_out_each: how much of each held-out document is kept.
    Raises CorpusError if there is no such corpus, or less in it than is wanted.
    """
    found = corpora.load([corpora.resolve(corpus)])
    train, held_out = ([numbers_of(one.text) for one in part] for part in (found.train, found.held_out))
    texts = Texts(
        tuple(one for one in train if one is not None),
        tuple(one[:held_out_each] for one in held_out if one is not None),
        found.digest(),
    )
    if texts.train_bytes < least_bytes:
        raise CorpusError(
            f"corpus {corpus!r} is too small: {texts.train_bytes:,} bytes of ASCII documents to train on, but "
            f"{least_bytes:,} are read with these settings; give a larger one, or train for less"
        )
    if not texts.held_out:
        raise CorpusError(f"corpus {corpus!r} is too small: no held-out document is ASCII")
    return texts


def numbers_of(text: bytes) -> NDArray[np.int64] | None:
    """The symbols of a text, int64 [length]; None if it holds what is no symbol."""
    numbers = _SYMBOL_OF_BYTE[np.frombuffer(text, np.uint8)]
    return numbers if numbers.all() else None


@dataclass(frozen=True, slots=True)
class Streams:
    """How a text is read in training: `rows` streams side by side, `chunk` symbols at a time."""

    rows: int = 32
    chunk: int = 64

    def bytes_read(self, steps: int) -> int:
        """How much of the text so many steps read."""
        return self.rows * self.chunk * steps

    def batches(self, documents: Sequence[NDArray[np.int64]], steps: int, seed: int) -> Iterator[Batch]:
        """The chunks of one training, in turn, the documents in an order that the seed decides; each is read once."""
        order = np.random.default_rng(seed).permutation(len(documents))
        length = self.chunk * steps + 1
        parts: list[NDArray[np.int64]] = []
        while sum(map(len, parts)) < self.rows * length:  # a second round only where it ends a few symbols short
            for number in order:
                parts += [np.array([END]), documents[number]]
        rows = np.concatenate(parts)[: self.rows * length].reshape(self.rows, length)
        for step in range(steps):
            part = torch.from_numpy(rows[:, step * self.chunk : (step + 1) * self.chunk + 1].T.copy())
            yield Batch(part[:-1], part[1:])


def fit_on_texts(
    network: Network,
    documents: Sequence[NDArray[np.int64]],
    streams: Streams,
    recipe: Recipe,
    bench: Bench,
    what: str,
    seed: int,
) -> float:
    """Train by truncated back-propagation through time; returns the mean loss of the last tenth, in nats a symbol."""
    batches = streams.batches(documents, recipe.steps, seed)
    states = network.initial(streams.rows)

    def loss(batch: Batch) -> Tensor:
        nonlocal states
        scores, after = network(batch.inputs, states)
        states = [tuple(state.detach() for state in layer) for layer in after]
        return functional.cross_entropy(scores.flatten(0, 1), batch.targets.flatten())

    return fit(network, lambda step: next(batches), recipe, bench, what, loss=loss)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained network, the learning rate it had, and the mean loss of the last tenth, in nats a symbol."""

    network: Network
    rate: float
    loss: float


def fit_at_best_rate(
    config: NetworkConfig,
    documents: Sequence[NDArray[np.int64]],
    streams: Streams,
    steps: int,
    rates: Sequence[float],
    bench: Bench,
    what: str,
    seed: int,
) -> Fitted:
    """Of the trainings with each rate the one whose loss is least: chosen by what it was trained on."""
    fitted = []
    for rate in rates:
        network, recipe = new_network(config, seed), Recipe(steps, rate=rate)
        loss = fit_on_texts(network, documents, streams, recipe, bench, f"{what}, rate {rate}", seed)
        fitted.append(Fitted(network, rate, loss))
    return min(fitted, key=lambda one: one.loss)


@torch.no_grad()
def bits_per_byte(network: Network, documents: Sequence[NDArray[np.int64]]) -> float:
    """What each byte of each document costs, all before it known, in bits; the end of a document is not counted."""
    batch = batch_of(documents, [np.arange(len(one) + 1) < len(one) for one in documents])
    states: list[States] = network.initial(len(documents))
    nats = 0.0
    for start in range(0, len(batch.inputs), _CHUNK):
        scores, states = network(batch.inputs[start : start + _CHUNK], states)
        targets = batch.targets[start : start + _CHUNK].flatten()
        loss = functional.cross_entropy(scores.flatten(0, 1), targets, ignore_index=IGNORED, reduction="sum")
        nats += float(loss)
    return nats / float(batch.counted.sum()) / math.log(2)
