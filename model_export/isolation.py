"""The promise, checked on a graph: a row's bits depend on its own tokens alone, not on neighbours nor on chunking."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model_export.errors import ParityError
from model_export.graph_session import GraphSession, Outcome, Tops
from service.model.manifest import Graph

STEPS = 24  # a difference in c may hide from the logits for some steps, so all states are compared after many
ROW_COUNTS = 5
MAX_ROWS = 70
FREE = 0.6  # the share of the tokens that the graph chooses where it follows


def check_steps_equal_chunks(model: bytes, graph: Graph, vocabulary_size: int, *, seed: int = 0) -> None:
    """Read random tokens one at a time, whole, and cut at random. Raises ParityError unless every bit agrees.

    All probabilities, the top tokens and every state are compared, at random row counts, the first row also alone; and
    the graph's other ways to run, single steps and following its own choice, with chunks of one token.
    """
    session = GraphSession(model, graph)
    generator = np.random.default_rng(seed)
    for rows in (1, *(int(n) for n in generator.integers(2, MAX_ROWS + 1, ROW_COUNTS))):
        tokens = generator.integers(0, vocabulary_size, (STEPS, rows))
        steps = _read(session, tokens, [1] * STEPS)
        first = int(generator.integers(1, STEPS))
        for cuts in ([STEPS], [first, STEPS - first]):
            _same_bits(steps, _read(session, tokens, cuts), f"{rows} rows, {STEPS} steps against chunks of {cuts}")
        alone = _read(session, np.ascontiguousarray(tokens[:, :1]), [STEPS])
        _same_bits(alone, _first_row(steps), f"the first of {rows} rows against itself alone")
        _check_ways(session, np.where(generator.random((STEPS, rows)) < FREE, -1, tokens))


def _check_ways(session: GraphSession, tokens: NDArray[np.int64]) -> None:
    """Compare every token read as a single step, and every step of `follow`, with chunks of one token.

    Where a token is negative, the likeliest is fed.
    """
    rows = tokens.shape[1]
    tokens[0] = np.abs(tokens[0])
    states, likeliest = session.initial_states(rows), tokens[0]
    followed = session.follow(tokens, states)
    for step, given in enumerate(tokens):
        fed = np.where(given < 0, likeliest, given)[None]
        single = session.single_step(fed, states)
        outcome = session.run(fed, states, [0])
        where = f"{rows} rows, step {step} of {len(tokens)}"
        if single is not None:
            _same_bits(outcome, _as_outcome(outcome, single), f"{where} as a single step")
        if followed is not None:
            at_step = {name: value[step] for name, value in followed.states.items()}
            tops = Tops(followed.top_log_probabilities[step][None], followed.top_tokens[step][None], at_step)
            _same_bits(outcome, _as_outcome(outcome, tops), f"{where} against following")
        states, likeliest = outcome.states, outcome.top_tokens[0, :, 0]


def _as_outcome(outcome: Outcome, tops: Tops) -> Outcome:
    """The tops in place of the outcome's."""
    return Outcome(outcome.log_probabilities, tops.top_log_probabilities, tops.top_tokens, tops.states)


def _read(session: GraphSession, tokens: NDArray[np.int64], cuts: list[int]) -> Outcome:
    """Feed `tokens` in pieces of these lengths; the distributions after every token."""
    states, pieces, start = session.initial_states(tokens.shape[1]), [], 0
    for length in cuts:
        pieces.append(session.run(tokens[start : start + length], states, range(length)))
        states, start = pieces[-1].states, start + length
    return Outcome(
        np.concatenate([piece.log_probabilities for piece in pieces]),
        np.concatenate([piece.top_log_probabilities for piece in pieces]),
        np.concatenate([piece.top_tokens for piece in pieces]),
        states,
    )


def _first_row(outcome: Outcome) -> Outcome:
    return Outcome(
        outcome.log_probabilities[:, :1],
        outcome.top_log_probabilities[:, :1],
        outcome.top_tokens[:, :1],
        {name: value[:1] for name, value in outcome.states.items()},
    )


def _same_bits(one: Outcome, other: Outcome, where: str) -> None:
    for (name, a), (_, b) in zip(_parts(one), _parts(other), strict=True):
        if a.tobytes() != b.tobytes():
            differing = int(np.count_nonzero(a != b))
            raise ParityError(f"{where}: {name} differs in {differing} of {a.size} values; expected equal bits")


def _parts(outcome: Outcome) -> list[tuple[str, NDArray[np.generic]]]:
    return [
        ("log_probabilities", outcome.log_probabilities),
        ("top_log_probabilities", outcome.top_log_probabilities),
        ("top_tokens", outcome.top_tokens),
        *outcome.states.items(),
    ]
