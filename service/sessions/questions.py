"""What is asked of a text without changing it: how it goes on, and how likely it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from service.engine.requests import AdvanceResult
from service.sessions.at_work import AtWork
from service.sessions.checks import check_complete, check_score, check_score_ahead, check_suggest_text
from service.sessions.commands import CompleteText, Prompt, ScoreAhead, ScoredText, ScoreText, SuggestText, Tenant
from service.sessions.completions import Completion, requests_of
from service.sessions.prompts import Prompts
from service.sessions.scores import ScorePlan, plan_score, score_apart, score_at, scored_text

_SEED_MASK: Final = 2**53 - 1  # a seed that the server chose is one that JavaScript can say


class Questions:
    """new_incarnation: of which seeds are made."""

    def __init__(self, at_work: AtWork, prompts: Prompts, new_incarnation: Callable[[], int]) -> None:
        self._at_work, self._prompts, self._new_incarnation = at_work, prompts, new_incarnation

    async def complete(self, tenant: Tenant, command: CompleteText, *, deadline_s: float | None = None) -> Completion:
        """As `Sessions.complete`."""
        check_complete(command, self._at_work.limits)
        seed = self._new_incarnation() & _SEED_MASK if command.seed is None else command.seed
        if isinstance(command.source, Prompt):
            return self._prompts.complete(tenant, command.source, command, seed, deadline_s)
        session = await self._at_work.find_newest(tenant, command.source)
        movement = session.movement()
        requests = requests_of(command, seed, session.path, movement.text, movement.kept, deadline_s)
        suggester = self._at_work.serving(session)
        return Completion(suggester.identity, seed, session.revision, suggester.complete(requests), _nothing)

    async def score(self, tenant: Tenant, command: ScoreText, *, deadline_s: float | None = None) -> ScoredText:
        """As `Sessions.score`."""
        check_score(command, self._at_work.limits)
        if isinstance(command.source, Prompt):
            return await self._prompts.score(tenant, command.source, command, deadline_s)
        session = await self._at_work.find_newest(tenant, command.source)
        revision, suggester = session.revision, self._at_work.serving(session)
        plan = plan_score(command, session.text.content, self._at_work.limits, deadline_s)
        if plan.surprises:
            scored, surprises = await score_apart(suggester, tenant, plan)
        else:
            scored, surprises = await score_at(suggester, session.path, session.movement().kept, plan), ()
        await self._at_work.settled(session)
        return scored_text(suggester.identity, revision, plan, scored, surprises)

    async def score_ahead(self, tenant: Tenant, command: ScoreAhead, *, deadline_s: float | None = None) -> ScoredText:
        """As `Sessions.score_ahead`."""
        check_score_ahead(command, self._at_work.limits)
        session = await self._at_work.find_newest(tenant, command.session)
        revision, suggester, movement = session.revision, self._at_work.serving(session), session.movement()
        text = movement.text + command.appended
        plan = ScorePlan(text, len(movement.text) + command.start, deadline_s=deadline_s)
        scored = await score_at(suggester, session.path, movement.kept, plan)
        await self._at_work.settled(session)
        return scored_text(suggester.identity, revision, plan, scored)

    async def suggest(self, tenant: Tenant, command: SuggestText, *, deadline_s: float | None = None) -> AdvanceResult:
        """As `Sessions.suggest`."""
        check_suggest_text(command, self._at_work.limits)
        return await self._prompts.suggest(tenant, command, deadline_s)


def _nothing(_told: bool) -> None:
    """A session's path stays open when a completion is closed."""
