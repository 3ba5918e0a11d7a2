"""Beam search over the state tree: the best few continuations of a node, with the probability of exactly their text.

A generator that yields the nodes it wants expanded and is sent the children; it never steps the model itself, so
everybody's searches share one batch (`scheduler.py`). Width one is greedy decoding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from service.engine.requests import Continuation, FinishReason, Stop, SuggestSpec
from service.engine.state_tree import Node, StateTree, Way
from service.engine.stopping import Cut, ends_before, has_content
from service.engine.wishes import Walk, Wish
from service.model.utf8 import TRANSITIONS, Utf8

SPARE = 2  # hypotheses beside the wanted ones, where more than one is wanted
HALF = math.log(0.5)
NEGLIGIBLE = 7.0  # nats below the likeliest token, a thousandth of it: not worth a look where there is choice enough

MOST_AHEAD, FEW_AHEAD = 64, 6

_BYTES = tuple(bytes((token,)) for token in range(256))

Expansion = Walk[tuple[Continuation, ...]]


class Hypothesis(NamedTuple):
    """A continuation under search. `complete_*` describe its longest prefix that ends between code points."""

    node: Node
    text: bytes
    log_probability: float
    has_content: bool
    utf8: Utf8
    complete_length: int
    complete_log_probability: float
    before: Hypothesis | None = None


class Finished(NamedTuple):
    """A continuation that ended; `rank` counts what ended it too, so that whole words beat their own beginnings."""

    continuation: Continuation
    rank: float


class Step(NamedTuple):
    """One hypothesis, one byte further; its `rank` is its log-probability."""

    parent: Hypothesis
    token: int
    rank: float
    utf8: Utf8


def suggest(tree: StateTree, start: Node, spec: SuggestSpec, separator: int, text: bytes) -> Expansion:
    """The best `spec.count` continuations of `text`, whose node `start` is.

    Best first, distinct, none a prefix of another.

    A beam a little wider than the suggestions that are wanted, because some of its hypotheses will turn out to be
    beginnings of others; one that has ended keeps its place in it. For one suggestion it is greedy decoding.
    """
    if spec.count == 1:
        return (yield from _greedy(tree, start, spec, separator, Cut.of(spec, text)))
    return (yield from beam(tree, start, spec, separator, spec.count + SPARE, Cut.of(spec, text)))


def steps_ahead(spec: SuggestSpec) -> int:
    """How many steps of the likeliest tokens are surely worth making at once: a suggestion may stop after any byte."""
    if spec.count > 1:
        return 0
    return min(spec.max_bytes, MOST_AHEAD if spec.stop is Stop.NONE and not spec.stop_strings else FEW_AHEAD)


def _greedy(tree: StateTree, start: Node, spec: SuggestSpec, separator: int, cut: Cut | None) -> Expansion:
    """`beam` of width one, without its lists: what a keystroke asks for most often, once a byte for every row.

    What is held and plain is walked at a stride, see `_plain`. Else a token that has more than half of the probability
    is the best choice whatever the others add up to; only where there is none are they looked at.
    """
    node, text, content, utf8 = start, b"", False, Utf8.COMPLETE
    totals = [0.0]  # log-probabilities of the text's beginnings, by their lengths
    complete_length, most = 0, steps_ahead(spec)
    while len(text) < spec.max_bytes:
        way = _plain(tree, node, spec.stop, spec.max_bytes - len(text)) if utf8 is Utf8.COMPLETE else None
        if way is not None and way.nodes:
            node, new = way.nodes[-1], way.tokens
            for log_probability in way.log_probabilities:
                totals.append(totals[-1] + log_probability)
            content = content or any(has_content(spec.stop, token) for token in new)
        else:
            token, log_probability = tree.likeliest(node)
            following = TRANSITIONS[utf8][token]
            after = totals[-1] + log_probability
            if (
                log_probability <= HALF
                or token == separator
                or following is Utf8.REJECT
                or (content and ends_before(spec.stop, token))
            ):
                complete = complete_length, totals[complete_length]
                here = Hypothesis(node, text, totals[-1], content, utf8, *complete)
                best = max(_choices(tree, here, spec, separator), key=lambda choice: choice.rank, default=None)
                if best is None:
                    return ()
                if isinstance(best, Finished):
                    return (best.continuation,)
                token, after, following = best.token, best.rank, best.utf8
            child = tree.visit(node, token)
            if child is None:
                (child,) = yield (Wish(node, _BYTES[token], min(spec.max_bytes - len(text), most) - 1),)
            node, new, utf8 = child, _BYTES[token], following
            totals.append(after)
            content = content or has_content(spec.stop, token)
        text += new
        if utf8 is Utf8.COMPLETE:
            complete_length = len(text)
        if cut is not None and (length := cut.at(text, len(new))) is not None:
            return (Continuation(text[:length], totals[length], FinishReason.STOP),) if length else ()
    if not complete_length:
        return ()
    return (Continuation(text[:complete_length], totals[complete_length], FinishReason.LENGTH),)


def _plain(tree: StateTree, node: Node, stop: Stop, limit: int) -> Way | None:
    """What is held below a node along the likeliest tokens, as far as they are the best choice without a closer look.

    That is so for ASCII, where no other token is as likely, and where no more than one token ends the suggestion: a
    word's end is many. Up to the next line break if that may end it.
    """
    if stop is Stop.WORD:
        return None
    way = tree.likely_way(node, limit)
    if way.tokens.isascii() and (stop is not Stop.LINE or b"\n" not in way.tokens):
        return way
    length = next(at for at, token in enumerate(way.tokens) if token >= 0x80 or (token == 0x0A and stop is Stop.LINE))
    return Way(way.nodes[:length], way.tokens[:length], way.log_probabilities[:length])


def beam(
    tree: StateTree, start: Node, spec: SuggestSpec, separator: int, width: int, cut: Cut | None = None
) -> Expansion:
    """The search with so many hypotheses at a time."""
    live = [Hypothesis(start, b"", 0.0, False, Utf8.COMPLETE, 0, 0.0)]
    finished: list[Finished] = []
    while live and len(finished) < spec.count:
        choices: list[Step | Finished] = []
        for hypothesis in live:
            choices += _choices(tree, hypothesis, spec, separator)
        choices.sort(key=lambda c: -c.rank)
        best = choices[: width - len(finished)]
        finished = _distinct([*finished, *(c for c in best if isinstance(c, Finished))])
        steps = [c for c in best if isinstance(c, Step) and not _hopeless(c, finished)]
        if not steps:
            break
        children = yield [Wish(step.parent.node, _BYTES[step.token]) for step in steps]
        live = []
        for step, child in zip(steps, children, strict=True):
            hypothesis = _extended(step, child, spec.stop)
            length = None if cut is None else cut.at(hypothesis.text, 1)
            if length is not None:
                finished = _distinct([*finished, *_cut_back(hypothesis, length)])
            elif len(hypothesis.text) < spec.max_bytes:
                live.append(hypothesis)
            elif hypothesis.complete_length:
                finished = _distinct([*finished, _cut_off(hypothesis)])
    # Chosen by rank, shown by what is shown: the probability of the text.
    chosen = [f.continuation for f in finished[: spec.count]]
    return tuple(sorted(chosen, key=lambda c: -c.log_probability))


def _choices(tree: StateTree, hypothesis: Hypothesis, spec: SuggestSpec, separator: int) -> list[Step | Finished]:
    """Every way on from a hypothesis: one more byte each, or its end, which sums over all the bytes that mean it."""
    choices: list[Step | Finished] = []
    stopped = ended = 0.0
    tokens, log_probabilities = tree.head(hypothesis.node)
    negligible = log_probabilities[0] - NEGLIGIBLE
    for token, log_probability in zip(tokens, log_probabilities, strict=True):
        if log_probability < negligible and len(choices) >= spec.count:
            break
        if token == separator:
            ended += math.exp(log_probability)
        elif hypothesis.has_content and ends_before(spec.stop, token):
            stopped += math.exp(log_probability)
        elif (utf8 := TRANSITIONS[hypothesis.utf8][token]) is not Utf8.REJECT:
            choices.append(Step(hypothesis, token, hypothesis.log_probability + log_probability, utf8))
    if hypothesis.text and hypothesis.utf8 is Utf8.COMPLETE:
        for probability, reason in ((stopped, FinishReason.STOP), (ended, FinishReason.END)):
            if probability > 0:
                rank = hypothesis.log_probability + math.log(probability)
                choices.append(Finished(Continuation(hypothesis.text, hypothesis.log_probability, reason), rank))
    return choices


def _extended(step: Step, child: Node, stop: Stop) -> Hypothesis:
    parent = step.parent
    text = parent.text + bytes((step.token,))
    complete = step.utf8 is Utf8.COMPLETE
    return Hypothesis(
        child,
        text,
        step.rank,
        parent.has_content or has_content(stop, step.token),
        step.utf8,
        len(text) if complete else parent.complete_length,
        step.rank if complete else parent.complete_log_probability,
        parent,
    )


def _cut_back(hypothesis: Hypothesis, length: int) -> list[Finished]:
    """What is left of a hypothesis that turned out to have ended earlier; its rank counts what it took to know."""
    beginning: Hypothesis = hypothesis
    while len(beginning.text) > length:
        assert beginning.before is not None, "a cut is never longer than the text"
        beginning = beginning.before
    if not length:
        return []
    continuation = Continuation(beginning.text, beginning.log_probability, FinishReason.STOP)
    return [Finished(continuation, hypothesis.log_probability)]


def _cut_off(hypothesis: Hypothesis) -> Finished:
    text = hypothesis.text[: hypothesis.complete_length]
    log_probability = hypothesis.complete_log_probability
    return Finished(Continuation(text, log_probability, FinishReason.LENGTH), hypothesis.log_probability)


def _hopeless(step: Step, finished: Sequence[Finished]) -> bool:
    """Whether all that can come of this step goes on from a suggestion that will rank above it."""
    text = step.parent.text
    return any(text == f.continuation.text and step.rank <= f.rank for f in finished)


def _distinct(finished: Sequence[Finished]) -> list[Finished]:
    """The best first; what is a prefix of a better one, or goes on from it, adds nothing and is left out."""
    chosen: list[Finished] = []
    for candidate in sorted(finished, key=lambda f: -f.rank):
        text = candidate.continuation.text
        if not any(text.startswith(f.continuation.text) or f.continuation.text.startswith(text) for f in chosen):
            chosen.append(candidate)
    return chosen
