"""Free-running generation: one token after another below a node, by itself, until something ends it.

A generator that yields the expansion it wants and is sent the child, like `suggesting.suggest`; it never steps the
model, so every completion is a row of everybody's batch. Greedy choice needs only the head that every node holds.
Sampling needs the whole distribution, which no node holds: its task asks for it (`Task.whole`), and then the step is
made even if its child is held.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.engine.filters import Allowed, allowed_tokens
from service.engine.notes import Notes
from service.engine.reaching import reach
from service.engine.requests import Complete, FinishReason, Piece
from service.engine.sampling import PENALIZED_BYTES, choose, counts_generated, looks_at_head_only
from service.engine.state_tree import Node, StateTree
from service.engine.suggesting import MOST_AHEAD
from service.engine.task import MAX_FREE_MOVES, Priority, Task, stand
from service.engine.transcript import Transcript
from service.engine.wishes import Walk, Wish
from service.model.utf8 import TRANSITIONS, Utf8

LogProbabilities = NDArray[np.float32]

_BYTE: Final = tuple(bytes((token,)) for token in range(256))


@dataclass(slots=True, eq=False)
class CompleteTask(Task):
    """One Complete under way, what it has said, and how likely that was if somebody wants to know."""

    request: Complete
    priority: Priority = Priority.SUGGESTION
    said: Transcript = field(init=False)
    notes: Notes | None = field(init=False)

    def __post_init__(self) -> None:
        spec = self.request.spec
        self.said = Transcript(spec)
        self.notes = None if spec.top is None else Notes(spec.top)

    @property
    def may_be_given_up(self) -> bool:
        """It moves nothing that anybody else builds on."""
        return True

    def cut_short(self, reason: FinishReason) -> Piece:
        """The last piece: all that was not told."""
        return self._piece(self.said.take_rest(), reason)

    def next_piece(self) -> Piece | None:
        """What may be told now and was not."""
        text = self.said.take()
        return self._piece(text, None) if text else None

    def note(self, tree: StateTree, node: Node, token: int, distribution: LogProbabilities | None) -> None:
        """`token` is said next, after `node`; `distribution` is the whole one there, if the head may not have it."""
        if self.notes is not None:
            self.notes.add(tree, node, token, distribution)

    def _piece(self, text: bytes, finish: FinishReason | None) -> Piece:
        if self.notes is None:
            return Piece(text, finish, self.steps)
        return self.notes.piece(text, self.said.told - len(text), finish, self.steps)


def complete(tree: StateTree, task: CompleteTask, start: LogProbabilities, separator: int, chunk: int) -> Walk[Piece]:
    """Go to the end of the task's text, a chunk at a time, then go on by what the model says.

    start: the distribution after the start token, float32 [vocabulary]. The task's path stands on a prefix of the text
    when this starts, and is moved to its end if the request says so.
    """
    request = task.request
    node = tree.ancestor(task.path.node, min(request.kept, len(request.text)))
    run = _greedy if looks_at_head_only(request.spec.sampling) else _sampled
    finish = yield from run(tree, task, node, start, separator, chunk)
    return task.cut_short(finish)


def _greedy(
    tree: StateTree, task: CompleteTask, node: Node, start: LogProbabilities, separator: int, chunk: int
) -> Walk[FinishReason]:
    text, said = task.request.text, task.said
    ends_only = task.notes is None  # else every node on the way is looked at
    distribution: LogProbabilities | None
    node = yield from reach(tree, node, text, chunk)
    _arrive(tree, task, node)
    moves = 0
    while True:
        token, distribution = _likeliest(tree, node, said.utf8, separator), None
        if token is None:
            so_far = text + said.tail(len(said))
            node, distribution = yield from _reach_whole(tree, task, node, so_far, start, chunk)
            token = _choose(task, distribution, separator)
        if token == separator:
            return FinishReason.END
        task.note(tree, node, token, distribution)
        finish = said.add(token)
        if finish is not None:
            return finish
        child = tree.visit(node, token)
        if child is not None:
            node, moves = child, moves + 1
            if moves % MAX_FREE_MOVES == 0:
                yield (Wish(node, b""),)
            continue
        (after,) = yield (Wish(node, _BYTE[token], min(said.room, MOST_AHEAD) - 1, ends_only),)
        taken, finish = said.add_while_allowed(task.followed)
        if finish is not None:
            return finish
        if taken == len(task.followed):
            node = after
        else:  # the model's first choice there is no UTF-8: back to the last byte that is
            node = yield from reach(tree, node, text + said.tail(len(said)), chunk)


def _sampled(
    tree: StateTree, task: CompleteTask, node: Node, start: LogProbabilities, separator: int, chunk: int
) -> Walk[FinishReason]:
    said = task.said
    node, distribution = yield from _reach_whole(tree, task, node, task.request.text, start, chunk)
    _arrive(tree, task, node)
    task.whole = True
    while True:
        token = _choose(task, distribution, separator)
        if token == separator:
            return FinishReason.END
        task.note(tree, node, token, distribution)
        finish = said.add(token)
        if finish is not None:
            return finish
        (node,) = yield (Wish(node, _BYTE[token]),)
        distribution = task.distribution


def _arrive(tree: StateTree, task: CompleteTask, node: Node) -> None:
    """The text has been read to its end, which is where `node` is."""
    if task.request.moves:
        stand(tree, task.path, node)


def _reach_whole(
    tree: StateTree, task: CompleteTask, node: Node, text: bytes, start: LogProbabilities, chunk: int
) -> Walk[tuple[Node, LogProbabilities]]:
    """The node of `text`, and the whole distribution there: its last token is fed again even if the node is held."""
    if not text:
        return tree.ancestor(node, 0), start
    before = tree.ancestor(node, len(text) - 1)
    before = yield from reach(tree, before, text[:-1], chunk)
    task.whole = True
    (node,) = yield (Wish(before, text[-1:]),)
    task.whole = False
    return node, task.distribution


def _likeliest(tree: StateTree, node: Node, utf8: Utf8, separator: int) -> int | None:
    """The likeliest token that may follow; None if none in the node's head may."""
    following = TRANSITIONS[utf8]
    best: int = tree.top_tokens.item(node, 0)
    if following[best] is not Utf8.REJECT:
        return best
    for token in tree.head(node)[0]:
        if utf8 is Utf8.COMPLETE if token == separator else following[token] is not Utf8.REJECT:
            return token
    return None


def _choose(task: CompleteTask, distribution: LogProbabilities, separator: int) -> int:
    said, sampling = task.said, task.request.spec.sampling
    recent = b""
    if sampling.repetition_penalty != 1.0:
        recent = (task.request.text[-PENALIZED_BYTES:] + said.tail(PENALIZED_BYTES))[-PENALIZED_BYTES:]
    generated = said.tail(len(said)) if counts_generated(sampling) else b""
    allowed = _allowed_tokens(said.utf8, len(distribution), separator)
    return choose(distribution, sampling, allowed, recent, position=len(said), generated=generated)


@lru_cache(maxsize=64)  # a few models, each with eight states of UTF-8
def _allowed_tokens(utf8: Utf8, vocabulary_size: int, separator: int) -> Allowed:
    return allowed_tokens(utf8, vocabulary_size, separator)
