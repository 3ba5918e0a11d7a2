"""Texts without a session: each is read on a path of its own in the tenant's scope, and finds what was read before."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from service.engine.requests import Advance, AdvanceResult
from service.errors import CarouselError, NotFound
from service.sessions.commands import CompleteText, Prompt, ScoredText, ScoreText, SuggestText, Tenant
from service.sessions.completions import Completion, requests_of
from service.sessions.limits import Limits
from service.sessions.ports import Suggester
from service.sessions.scores import plan_score, score_apart, scored_text


class Prompts:
    """What is asked of a prompt. Commands were checked. `suggesters` by model name; the first is the default.

    Every method raises NotFound for a model that is not served, Overloaded and Unavailable.
    """

    def __init__(self, suggesters: Mapping[str, Suggester], limits: Limits) -> None:
        self._suggesters, self._limits = suggesters, limits
        self._default_model = next(iter(suggesters))

    def known_model(self, name: str | None) -> str:
        """The model of that name, the default one for None. Raises NotFound."""
        model = self._default_model if name is None else name
        if model not in self._suggesters:
            raise NotFound("model", model, self._suggesters)
        return model

    def complete(
        self, tenant: Tenant, prompt: Prompt, command: CompleteText, seed: int, deadline_s: float | None
    ) -> Completion:
        """As `Sessions.complete`."""
        suggester = self._of(prompt)
        path = suggester.open_path(tenant)
        close = partial(suggester.close_path, path)
        try:
            pieces = suggester.complete(requests_of(command, seed, path, prompt.data, 0, deadline_s))
        except CarouselError:
            close()
            raise
        return Completion(suggester.identity, seed, None, pieces, close)

    async def score(self, tenant: Tenant, prompt: Prompt, command: ScoreText, deadline_s: float | None) -> ScoredText:
        """As `Sessions.score`."""
        suggester = self._of(prompt)
        plan = plan_score(command, prompt.text, self._limits, deadline_s)
        scored, surprises = await score_apart(suggester, tenant, plan)
        return scored_text(suggester.identity, None, plan, scored, surprises)

    async def suggest(self, tenant: Tenant, command: SuggestText, deadline_s: float | None) -> AdvanceResult:
        """As `Sessions.suggest`."""
        suggester = self._of(command.prompt)
        path = suggester.open_path(tenant)
        try:
            return await suggester.advance(Advance(path, command.prompt.data, 0, command.suggest, deadline_s))
        finally:
            suggester.close_path(path)

    def _of(self, prompt: Prompt) -> Suggester:
        return self._suggesters[self.known_model(prompt.model)]
