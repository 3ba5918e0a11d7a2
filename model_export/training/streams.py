"""Documents as parallel streams of chunks for truncated back-propagation through time.

Every row of a batch reads one document from its start; when the document ends, the row takes the next one and its
state goes back to zero. So a document is read in training exactly as a session reads it in service: from the initial
state and the start token. The rest of a chunk behind a document's end is padding that the loss ignores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_export.corpora import SEPARATOR, Document

IGNORED = -100  # torch's cross_entropy leaves such targets out


@dataclass(frozen=True, slots=True)
class Chunk:
    """One step's data: inputs and targets int64 [time, rows]; `fresh` bool [rows] marks rows that start a document."""

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    fresh: NDArray[np.bool_]

    @property
    def tokens(self) -> int:
        """How many targets count, padding left out."""
        return int((self.targets != IGNORED).sum())


class DocumentStreams:
    """Deals documents to rows, reshuffled each pass by a seeded generator; its place can be saved and restored.

    The first corpus is the one that the model is for: `chunk(focused=True)` deals from it alone from then on, which
    training does in its last part, while the learning rate falls.
    """

    def __init__(self, documents: Sequence[Document], *, rows: int, time: int, seed: int) -> None:
        first = documents[0].corpus
        self._tokens = [np.frombuffer(d.text, np.uint8) for d in documents]
        self._everything = np.arange(len(documents))
        self._first = np.array([i for i, d in enumerate(documents) if d.corpus == first])
        self._time = time
        self._generator = np.random.default_rng(seed)
        self._queue: list[int] = []
        self._focused = False
        self._document = np.zeros(rows, np.int64)
        self._position = np.full(rows, -1, np.int64)  # -1: the row wants a document

    def chunk(self, *, focused: bool) -> Chunk:
        """The next [time, rows] of every stream; mutates the streams' place."""
        if focused and not self._focused:
            self._focused, self._queue = True, []
        rows = len(self._document)
        inputs = np.full((self._time, rows), SEPARATOR, np.int64)
        targets = np.full((self._time, rows), IGNORED, np.int64)
        fresh = self._position < 0
        for row in range(rows):
            if fresh[row]:
                self._document[row], self._position[row] = self._deal(), 0
            self._fill(row, inputs[:, row], targets[:, row])
        return Chunk(inputs, targets, fresh)

    def in_order(self) -> Iterator[Chunk]:
        """Document i in row i, each once from its start, until the longest has ended; for evaluation."""
        self._document[:] = np.arange(len(self._document))
        self._position[:] = 0
        while (self._position >= 0).any():
            rows = len(self._document)
            inputs = np.full((self._time, rows), SEPARATOR, np.int64)
            targets = np.full((self._time, rows), IGNORED, np.int64)
            for row in np.flatnonzero(self._position >= 0):
                self._fill(int(row), inputs[:, row], targets[:, row])
            yield Chunk(inputs, targets, np.zeros(rows, np.bool_))

    def _deal(self) -> int:
        if not self._queue:
            self._queue = self._generator.permutation(self._first if self._focused else self._everything).tolist()
        return self._queue.pop()

    def _fill(self, row: int, inputs: NDArray[np.int64], targets: NDArray[np.int64]) -> None:
        """The document is framed by separators: position p feeds framed[p] and asks for framed[p + 1]."""
        text, start = self._tokens[self._document[row]], int(self._position[row])
        count = min(self._time, len(text) + 1 - start)
        targets[: min(count, len(text) - start)] = text[start : start + count]
        if start + count == len(text) + 1:
            targets[count - 1] = SEPARATOR
        if start == 0:
            inputs[1:count] = text[: count - 1]
        else:
            inputs[:count] = text[start - 1 : start + count - 1]
        self._position[row] = start + count if start + count < len(text) + 1 else -1

    def state(self) -> dict[str, Any]:
        """The place in the data, for a checkpoint."""
        return {
            "generator": self._generator.bit_generator.state,
            "queue": list(self._queue),
            "focused": self._focused,
            "document": self._document.tolist(),
            "position": self._position.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go to a place that `state` returned, over the same documents."""
        self._generator.bit_generator.state = state["generator"]
        self._queue = list(state["queue"])
        self._focused = state["focused"]
        self._document[:] = state["document"]
        self._position[:] = state["position"]
