"""Held-out figures of a model folder's graphs, through onnxruntime alone, each document read as a session reads it.

Bits per byte: the mean negative log2-probability of every byte of every document, from the initial state and the start
token on; the end of a document is not counted. It is the definition of `training.loop.bits_per_byte`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from model_export import corpora
from model_export.corpora import Document
from model_export.errors import CorpusError, ExportError
from model_export.graph_session import GraphSession, Outcome
from service.model.manifest import Manifest, Training

ROWS = 64
CHUNK = 64  # with 64 rows of 512 units a chunk's gates take 32 MiB; longer chunks gain nothing at this many rows


@dataclass(frozen=True, slots=True)
class Figures:
    """What one graph reached: accuracies are shares of bytes whose token was the first, or among the first three."""

    bits_per_byte: float
    top1_accuracy: float
    top3_accuracy: float
    documents: int
    bytes: int


class Unseen(StrEnum):
    """Whether the held-out documents are known to have been left out of the training."""

    CHECKED = "checked: none was in the training text"
    UNKNOWN = "not checked: the training text is not on this machine as it was"


def evaluate(
    session: GraphSession, manifest: Manifest, documents: Sequence[Document], *, limit: int | None = None
) -> Figures:
    """Read every document from its start. Raises ExportError if there is nothing to read.

    limit: read about that many bytes; where documents have to be cut, all at the same length.
    """
    share = corpora.cap_per_document(documents, limit)
    texts = sorted((np.frombuffer(d.text[:share], np.uint8).astype(np.int64) for d in documents), key=len, reverse=True)
    texts = [text for text in texts if len(text)]
    if not texts:
        raise ExportError("no held-out text to evaluate on; name a corpus with --corpus")
    totals = np.zeros(3)
    for start in range(0, len(texts), ROWS):
        totals += _read(session, manifest.start_token, texts[start : start + ROWS])
    count = sum(map(len, texts))
    nats, first, among_three = (float(total) / count for total in totals)
    return Figures(nats / math.log(2), first, among_three, len(texts), count)


def _read(session: GraphSession, start_token: int, texts: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Documents side by side, the longest first; a row leaves the batch when its document ends."""
    totals = np.zeros(3)
    states = session.initial_states(len(texts))
    for start in range(0, len(texts[0]), CHUNK):
        rows = sum(len(text) > start for text in texts)
        inputs = np.full((min(CHUNK, len(texts[0]) - start), rows), start_token, np.int64)
        targets = np.full(inputs.shape, -1, np.int64)
        for row, text in enumerate(texts[:rows]):
            piece = text[start : start + CHUNK]
            targets[: len(piece), row] = piece
            before = text[max(0, start - 1) : start + len(piece) - 1]
            inputs[len(piece) - len(before) : len(piece), row] = before
        outcome = session.run(inputs, {name: value[:rows] for name, value in states.items()}, range(len(inputs)))
        states = outcome.states
        totals += _sums(outcome, targets)
    return totals


def _sums(outcome: Outcome, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Over the targets that count: nats, how often the first token was right, and one of the first three."""
    counted = targets >= 0
    wanted = np.where(counted, targets, 0)[..., None]
    chosen = np.take_along_axis(outcome.log_probabilities, wanted, axis=-1)[..., 0]
    right = outcome.top_tokens == wanted
    return np.array(
        [
            -float(chosen[counted].astype(np.float64).sum()),
            int(right[..., 0][counted].sum()),
            int(right[..., :3].any(axis=-1)[counted].sum()),
        ]
    )


def check_unseen(training: Training | None, documents: Sequence[Document]) -> Unseen:
    """Look for the documents in the training text, if that is on this machine. Raises ExportError if one is there."""
    if training is None:
        return Unseen.UNKNOWN
    try:
        corpus = corpora.load([corpora.resolve(summary.name) for summary in training.corpora])
    except CorpusError:  # trained on text that this machine does not have: nothing to compare with
        return Unseen.UNKNOWN
    if corpus.digest() != training.corpus_sha256:
        return Unseen.UNKNOWN
    if training.started_from is not None and check_unseen(training.started_from, documents) is Unseen.UNKNOWN:
        return Unseen.UNKNOWN
    seen = {hashlib.sha256(document.text).digest() for document in corpus.train}
    both = [d.path for d in documents if hashlib.sha256(d.text).digest() in seen]
    if both:
        raise ExportError(f"{len(both)} of the documents were in the training text, {both[0]} for one")
    return Unseen.CHECKED
