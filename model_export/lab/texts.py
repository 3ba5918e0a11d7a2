"""Real text for the lab's networks: documents of ASCII, read as streams of which each goes on where it was.

The corpora are those of `carousel train` (`corpora.py`), with the same documents held out. Rows of documents are read
side by side, chunk by chunk; states are carried from chunk to chunk, the gradient is not (truncated back-propagation
through time). Every document is begun with the states that a session begins with: networks that had only ever gone on
from the document before (an LSTM that forgets nothing, a simple RNN) were lost where there was none.
"""

from __future__ import annotations

import itertools
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
from model_export.lab.network import Network
from model_export.lab.sequences import IGNORED, Batch, batch_of
from model_export.lab.symbols import END, Symbols
from model_export.lab.training import Recipe, fit

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

    def batches(self, documents: Sequence[NDArray[np.int64]], steps: int, seed: int) -> Iterator[tuple[Batch, Tensor]]:
        """The chunks of one training, in turn, the documents in an order that the seed decides.

        With each goes which rows begin a document there, bool [rows]. A document begins a chunk, so the last chunk of
        the one before may have targets that are not predicted.
        """
        order = np.random.default_rng(seed).permutation(len(documents))
        turns = (chunks_of(documents[number], self.chunk) for number in itertools.cycle(order))
        rows = [next(turns) for _ in range(self.rows)]
        for _ in range(steps):
            parts = []
            for row, chunks in enumerate(rows):
                part = next(chunks, None)
                if part is None:
                    rows[row] = next(turns)
                    part = next(rows[row])
                parts.append(part)
            inputs, targets, begins = zip(*parts, strict=True)
            tensors = (torch.from_numpy(np.stack(side, axis=1)) for side in (inputs, targets))
            yield Batch(*tensors), torch.tensor(begins)


def chunks_of(document: NDArray[np.int64], chunk: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], bool]]:
    """What is read, what comes next, int64 [chunk] each, and whether the document begins there."""
    inputs = np.concatenate([[END], document])
    targets = np.concatenate([document, [END]])
    missing = -len(inputs) % chunk
    inputs = np.pad(inputs, (0, missing), constant_values=END)
    targets = np.pad(targets, (0, missing), constant_values=IGNORED)
    for start in range(0, len(inputs), chunk):
        yield inputs[start : start + chunk], targets[start : start + chunk], start == 0


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
    begins = torch.ones(streams.rows, dtype=torch.bool)

    def draw(step: int) -> Batch:
        nonlocal begins
        batch, begins = next(batches)
        return batch

    def loss(batch: Batch) -> Tensor:
        nonlocal states
        kept = [tuple(torch.where(begins[:, None], 0.0, state.detach()) for state in layer) for layer in states]
        scores, states = network(batch.inputs, kept)
        return functional.cross_entropy(scores.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)

    return fit(network, draw, recipe, bench, what, loss=loss)


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
