"""Scoring: how likely each byte of a text is, read in chunks where it is not held, looked up where it is.

A generator like `completing.complete`, which never steps the model: what it wishes for are chunks to be read, as rows
of everybody's batch. A node holds only the head of its distribution. So where a byte is not among the likeliest, the
token before it is fed once more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from service.engine.ports import StepResult
from service.engine.reaching import descend, reach
from service.engine.reading import Reading
from service.engine.requests import FinishReason, Score, Scored
from service.engine.state_tree import Node, StateTree
from service.engine.task import Priority, Task, stand
from service.engine.wishes import Walk, Wish
from service.errors import CarouselError, DeadlineExceeded, Unavailable

_LOOKED_UP_AT_ONCE: Final = 64  # nodes; to walk over so many takes a tenth of a millisecond


@dataclass(slots=True, eq=False)
class ScoreTask(Task):
    """One Score under way. `node` is where its text is known to be held at the beginning; it is pinned then."""

    request: Score
    priority: Priority = Priority.SUGGESTION
    node: Node = field(kw_only=True)

    @property
    def may_be_given_up(self) -> bool:
        """It moves nothing that anybody else builds on."""
        return True

    def cut_short(self, reason: FinishReason) -> CarouselError:
        """Half a score is of no use."""
        if reason is FinishReason.DEADLINE:
            return DeadlineExceeded("the text was not scored in time: allow it more, or score it in pieces")
        return closed_meanwhile()


def closed_meanwhile() -> CarouselError:
    """What a Score is answered whose path was closed, or that was cancelled."""
    return Unavailable("what was to be scored was closed meanwhile: try again", 1.0)


def score(tree: StateTree, task: ScoreTask, start: StepResult, chunk: int) -> Walk[Scored]:
    """Go to where scoring begins, a chunk at a time, then tell every byte from there on, and what follows the last.

    start: what the model gives for the start token, whole, in row 0.
    """
    text, sheet = task.request.text, _Sheet(task.request, start)
    node = tree.ancestor(task.node, task.request.start)
    while sheet.at < len(text) or sheet.distribution is None:
        node = yield from descend(tree, node, text[: sheet.at])
        if tree.depth(node) == sheet.at:
            walked = _held(tree, node, text)
            sheet.look_up(tree, walked)
            node = walked[-1]
            if sheet.at == tree.depth(node) + 1:  # all of them were enough
                yield (Wish(node, b""),)
                continue
        more_is_held = tree.depth(node) > sheet.at
        node = tree.ancestor(node, sheet.at - 1)
        if sheet.at - tree.depth(node) > chunk:
            node = yield from reach(tree, node, text[: sheet.at - 1], chunk)
        depth = tree.depth(node)
        length = sheet.at - depth if more_is_held else chunk
        task.whole = True
        (node,) = yield (Wish(node, text[depth : depth + length], read=True),)
        task.whole = False
        sheet.put(task.reading, depth + 1)
    if task.request.moves:
        stand(tree, task.path, node)
    return sheet.scored(task.steps)


def _held(tree: StateTree, node: Node, text: bytes) -> list[Node]:
    """The held nodes of `text` from `node` on, one byte further each, but for that of the whole text."""
    walked = [node]
    for token in text[tree.depth(node) : len(text) - 1][: _LOOKED_UP_AT_ONCE - 1]:
        child = tree.visit(walked[-1], token)
        if child is None:
            break
        walked.append(child)
    return walked


class _Sheet:
    """What is known of the scored bytes: all before `at`, and the `distribution` after the last once it was read."""

    def __init__(self, request: Score, start: StepResult) -> None:
        count, top = len(request.text) - request.start, min(request.top, start.top_tokens.shape[-1])
        self._tokens = np.frombuffer(request.text, np.uint8)
        self._first = self.at = request.start
        self._log_probabilities = np.empty(count, np.float32)
        self._top_tokens = np.empty((count, top), np.int64)
        self._top_log_probabilities = np.empty((count, top), np.float32)
        self.distribution: np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None = None
        if self.at == 0:
            assert start.log_probabilities is not None, "it was asked for"
            self.put(Reading(start.log_probabilities, start.top_tokens, start.top_log_probabilities), 0)

    def look_up(self, tree: StateTree, nodes: list[Node]) -> None:
        """Take from the heads of nodes, of which the first is before byte `at`, as long as they have the byte."""
        tokens = self._tokens[self.at : self.at + len(nodes)]
        nodes = nodes[: len(tokens)]
        heads, log_probabilities = tree.top_tokens[nodes], tree.top_log_probabilities[nodes]
        places = heads == tokens[:, None]  # [nodes, top_k]
        missing = np.flatnonzero(~places.any(axis=1))
        known = int(missing[0]) if len(missing) else len(nodes)
        self._write(
            log_probabilities[:known][places[:known]],
            heads[:known],
            log_probabilities[:known],
        )

    def put(self, reading: Reading, first: int) -> None:
        """Take what was read, of which the first row was expected at byte `first`, as far as it is not known."""
        here = slice(self.at - first, len(self._tokens) - first)
        rows = reading.log_probabilities[here]
        if first + len(reading.log_probabilities) > len(self._tokens):
            self.distribution = reading.log_probabilities[-1].copy()  # the rest of the batch need not stay for it
        tokens = self._tokens[self.at : self.at + len(rows)]
        self._write(rows[np.arange(len(rows)), tokens], reading.top_tokens[here], reading.top_log_probabilities[here])

    def _write(
        self,
        log_probabilities: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
        top_tokens: np.ndarray[tuple[int, ...], np.dtype[np.integer]],
        top_log_probabilities: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    ) -> None:
        begin = self.at - self._first
        end, top = begin + len(log_probabilities), self._top_tokens.shape[1]
        self._log_probabilities[begin:end] = log_probabilities
        self._top_tokens[begin:end] = top_tokens[:, :top]
        self._top_log_probabilities[begin:end] = top_log_probabilities[:, :top]
        self.at += len(log_probabilities)

    def scored(self, steps: int) -> Scored:
        """The whole, once it is."""
        assert self.distribution is not None, "it is read last"
        return Scored(self._log_probabilities, self._top_tokens, self._top_log_probabilities, self.distribution, steps)
