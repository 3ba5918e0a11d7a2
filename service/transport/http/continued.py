"""A completion that is wanted whole: gathered from its pieces, chosen among others, or fitted between two texts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from service.engine.requests import FinishReason, SamplingSpec
from service.sessions import between
from service.sessions.commands import CompletedPiece, CompleteText, Prompt, ScoreAhead, ScoreText, SessionId, Tenant
from service.sessions.service import Sessions
from service.transport.http.token_scores import TokenScores, joined

Cut = Callable[[str], int | None]
"""Where a text has to end, looking at all of it so far; None if it may go on."""


@dataclass(frozen=True, slots=True)
class Continued:
    """One completion, whole; `scores` of its bytes, if they were asked for."""

    text: str
    finish: FinishReason
    scores: TokenScores | None = None

    @property
    def tokens(self) -> int:
        """Its bytes."""
        return len(self.text.encode())

    @property
    def mean_log_probability(self) -> float:
        """Of its bytes; of none it is the best there can be. Needs `scores`."""
        assert self.scores is not None, "whoever compares completions asks for them"
        return float(self.scores.log_probabilities.mean()) if len(self.scores.log_probabilities) else 0.0

    def ending_at(self, length: int, finish: FinishReason) -> Continued:
        """Its first `length` characters."""
        text = self.text[:length]
        scores = None if self.scores is None else self.scores.cut(len(text.encode()))
        return Continued(text, finish, scores)


def scores_of(piece: CompletedPiece) -> TokenScores | None:
    """What a piece tells of its bytes, if it tells anything."""
    if piece.log_probabilities is None or piece.top_tokens is None or piece.top_log_probabilities is None:
        return None
    return TokenScores(piece.log_probabilities, piece.top_tokens, piece.top_log_probabilities)


async def complete_whole(
    sessions: Sessions,
    tenant: Tenant,
    command: CompleteText,
    *,
    deadline_s: float | None = None,
    cut: Cut | None = None,
) -> list[Continued]:
    """Every continuation that is asked for, by index. Each ends where `cut` says; when all have, nobody works on."""
    pieces: list[list[CompletedPiece]] = [[] for _ in range(command.count)]
    done: dict[int, Continued] = {}
    async with await sessions.complete(tenant, command, deadline_s=deadline_s) as completion:
        async for piece in completion:
            if piece.index in done:
                continue
            pieces[piece.index].append(piece)
            ended = _ended(pieces[piece.index], cut)
            if ended is not None:
                done[piece.index] = ended
                if len(done) == command.count:
                    break
    return [done[index] for index in range(command.count)]


def _ended(pieces: Sequence[CompletedPiece], cut: Cut | None) -> Continued | None:
    """What they come to, once they have come to an end."""
    finish = pieces[-1].finish_reason
    text = "".join(piece.text for piece in pieces)
    end = None if cut is None else cut(text)
    if finish is None and end is None:
        return None
    parts = [scores for piece in pieces if (scores := scores_of(piece)) is not None]
    whole = Continued(text, finish or FinishReason.LENGTH, joined(parts) if parts else None)
    return whole if end is None else whole.ending_at(end, FinishReason.LENGTH)


@dataclass(frozen=True, slots=True)
class Fitted:
    """The completions that fit best, best first; `made` counts the bytes of all candidates."""

    best: list[Continued]
    made: int


async def complete_between(
    sessions: Sessions,
    tenant: Tenant,
    command: CompleteText,
    prompt: Prompt,
    suffix: str,
    *,
    wanted: int,
    deadline_s: float | None = None,
    cut: Cut | None = None,
) -> Fitted:
    """The `wanted` of `command.count` candidates after which `suffix` is likeliest, each cut where it may follow.

    `prompt` is what the command's source has left of its cursor. At `deadline_s` candidates end with what they have.
    """
    commands = _candidates(command)
    made = await asyncio.gather(
        *(complete_whole(sessions, tenant, one, deadline_s=deadline_s, cut=cut) for one in commands)
    )
    candidates = [candidate for several in made for candidate in several]
    weighed = between.weighed(suffix)
    fitted = await asyncio.gather(
        *(_fit(sessions, tenant, command.source, prompt, one, suffix, weighed) for one in candidates)
    )
    order = between.best_first([likelihood for likelihood, _ in fitted], [one.text for _, one in fitted])
    return Fitted([fitted[index][1] for index in order[:wanted]], sum(one.tokens for one in candidates))


def _candidates(command: CompleteText) -> tuple[CompleteText, ...]:
    """The command as it is; where it wants the likeliest bytes, that one and others that are always the same ones."""
    if command.sampling.temperature > 0 or command.count == 1:
        return (command,)
    drawn = SamplingSpec(temperature=between.DRAWN_AT, logit_bias=command.sampling.logit_bias)
    return (
        replace(command, count=1),
        replace(command, count=command.count - 1, sampling=drawn, seed=command.seed or 0),
    )


async def _fit(
    sessions: Sessions,
    tenant: Tenant,
    source: SessionId | Prompt,
    prompt: Prompt,
    candidate: Continued,
    suffix: str,
    weighed: str,
) -> tuple[float, Continued]:
    """How likely the suffix is after the candidate's best cut, and that cut."""
    ends = between.cuts(candidate.text, suffix)

    async def likelihood(end: str) -> float:
        appended, start = (end + weighed).encode(), len(end.encode())
        if isinstance(source, Prompt):
            left = prompt.data
            command = ScoreText(Prompt(left + appended, prompt.model), start=len(left) + start)
            scored = await sessions.score(tenant, command)
        else:
            scored = await sessions.score_ahead(tenant, ScoreAhead(source, appended, start))
        return float(scored.log_probabilities.sum())

    likelihoods = await asyncio.gather(*map(likelihood, ends))
    best = between.best_cut(likelihoods)
    if best == 0:
        return likelihoods[0], candidate
    return likelihoods[best], candidate.ending_at(len(ends[best]), FinishReason.END)
