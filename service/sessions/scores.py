"""A text scored: from the command to one request to the engine, and from what it found to what is told."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.engine.requests import Complete, CompleteSpec, FinishReason, ModelIdentity, PathId, Score, Scored
from service.errors import DeadlineExceeded, InvalidArgument, Overloaded, Unavailable
from service.sessions.commands import ScoredText, ScoreText, Surprise, Units
from service.sessions.edits import offset_of
from service.sessions.limits import Limits
from service.sessions.ports import Suggester
from service.sessions.surprises import EXPECTED_BYTES, Place, most_surprising, surprise
from service.sessions.text import Text


class ScorePlan(NamedTuple):
    """What is scored: the bytes of `data` from `start` on."""

    data: bytes
    start: int
    top: int = 0
    surprises: int = 0
    units: Units = Units.UTF8
    deadline_s: float | None = None


def plan_score(command: ScoreText, text: str | bytes, limits: Limits, deadline_s: float | None) -> ScorePlan:
    """Raises InvalidArgument for a `start` outside of the text, or inside a character, and for too much at once."""
    data = text if isinstance(text, bytes) else text.encode()
    start = _first_byte(command, text)
    values = (len(data) - start) * (1 + command.top)
    if values > limits.max_scored_values:
        most = limits.max_scored_values // (1 + command.top)
        raise InvalidArgument(
            "start",
            f"{len(data) - start} bytes are to be scored, with top {command.top} at most {most} at a time: score the "
            "text in pieces, each with all that is before it; what was read once is not read again",
        )
    return ScorePlan(data, start, command.top, command.surprises, command.units, deadline_s)


def _first_byte(command: ScoreText, text: str | bytes) -> int:
    if isinstance(text, bytes):
        if not 0 <= command.start <= len(text):
            raise InvalidArgument(
                "start", f"{command.start} is outside of 0..{len(text)}, the prompt's length in bytes"
            )
        return command.start
    return len(text[: offset_of(command.start, Text.of(text), command.units, "start")].encode())


async def score_at(suggester: Suggester, path: PathId, kept: int, plan: ScorePlan, *, moves: bool = False) -> Scored:
    """Score where a path stands, and take it along if it `moves`. Raises Overloaded, DeadlineExceeded, Unavailable."""
    request = Score(path, plan.data, kept, plan.start, plan.top, plan.deadline_s, moves=moves)
    return await suggester.score(request)


async def score_apart(suggester: Suggester, scope: str, plan: ScorePlan) -> tuple[Scored, tuple[Surprise, ...]]:
    """Score on a path of its own, and say what surprised. Raises Overloaded, DeadlineExceeded, Unavailable."""
    path = suggester.open_path(scope)
    try:
        # The likeliest byte tells of a place where the model expected the text to end.
        top = max(plan.top, 1) if plan.surprises else plan.top
        request = Score(path, plan.data, 0, plan.start, top, plan.deadline_s, moves=plan.surprises > 0)
        scored = await suggester.score(request)
        return _cut(scored, plan.top), await _surprises(suggester, path, plan, scored)
    finally:
        suggester.close_path(path)


async def _surprises(suggester: Suggester, path: PathId, plan: ScorePlan, scored: Scored) -> tuple[Surprise, ...]:
    """Let the model go on at each place, all of them together."""
    places = most_surprising(plan.data, plan.start, scored.log_probabilities, plan.surprises)
    continued = await _continued(suggester, path, plan, places) if places else []
    return tuple(
        surprise(plan.data, at, said, likely, _of_the_likeliest(scored, plan, at), plan.units)
        for at, (said, likely) in zip(places, continued, strict=True)
    )


async def _continued(
    suggester: Suggester, path: PathId, plan: ScorePlan, places: list[Place]
) -> list[tuple[bytes, NDArray[np.float32]]]:
    """How the model goes on at each place. Together if so many are let in, else by halves: a slow machine, whose engine
    takes few at a time, must not refuse what it has scored already.
    """
    spec = CompleteSpec(EXPECTED_BYTES, top=0)
    asked = [Complete(path, plan.data[: at.start], at.start, spec, plan.deadline_s) for at in places]
    try:
        pieces = suggester.complete(asked)
    except Overloaded:
        if len(places) == 1:
            raise
        half = len(places) // 2
        first = await _continued(suggester, path, plan, places[:half])
        return first + await _continued(suggester, path, plan, places[half:])
    said = [b""] * len(places)
    likely = [np.empty(0, np.float32)] * len(places)
    try:
        async for index, piece in pieces:
            if piece.finish is FinishReason.DEADLINE:
                raise DeadlineExceeded(
                    "what surprised was not found in time: allow it more, or ask for fewer surprises"
                )
            if piece.finish is FinishReason.SUPERSEDED:
                raise Unavailable("what was to be scored was closed meanwhile: try again", 1.0)
            said[index] += piece.text
            if piece.log_probabilities is not None:
                likely[index] = np.concatenate([likely[index], piece.log_probabilities])
    finally:
        pieces.cancel()
    return list(zip(said, likely, strict=True))


def _of_the_likeliest(scored: Scored, plan: ScorePlan, place: Place) -> float:
    return float(scored.top_log_probabilities[place.start - plan.start, 0])


def scored_text(
    model: ModelIdentity, revision: int | None, plan: ScorePlan, scored: Scored, surprises: tuple[Surprise, ...] = ()
) -> ScoredText:
    """What is told of it."""
    return ScoredText(
        model=model,
        revision=revision,
        start=plan.start,
        length=len(plan.data),
        log_probabilities=scored.log_probabilities,
        top_tokens=scored.top_tokens,
        top_log_probabilities=scored.top_log_probabilities,
        distribution=scored.distribution,
        surprises=surprises,
        steps=scored.steps,
    )


def _cut(scored: Scored, top: int) -> Scored:
    if scored.top_tokens.shape[1] <= top:
        return scored
    return Scored(
        scored.log_probabilities,
        scored.top_tokens[:, :top],
        scored.top_log_probabilities[:, :top],
        scored.distribution,
        scored.steps,
    )
