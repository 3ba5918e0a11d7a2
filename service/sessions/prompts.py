"""Texts without a session: each is read on a path in the tenant's scope, and finds what was read before."""

from __future__ import annotations

from collections.abc import Mapping

from service.engine.requests import Advance, AdvanceResult
from service.errors import CarouselError, InvalidArgument, NotFound
from service.sessions.commands import CompleteText, Prompt, ScoredText, ScoreText, SuggestText, Tenant
from service.sessions.completions import Completion, requests_of
from service.sessions.limits import Limits
from service.sessions.ports import Suggester
from service.sessions.prompt_paths import PromptPaths
from service.sessions.scores import plan_score, score_apart, score_at, scored_text

NOWHERE_ELSE: Mapping[str, str] = {}


class Prompts:
    """What is asked of a prompt. Commands were checked. `suggesters` by model name; the first is the default.

    Every method raises NotFound for a model that is not served, Overloaded and Unavailable.
    """

    def __init__(
        self, suggesters: Mapping[str, Suggester], limits: Limits, elsewhere: Mapping[str, str] = NOWHERE_ELSE
    ) -> None:
        self._suggesters, self._limits, self._elsewhere = suggesters, limits, elsewhere
        self._paths = PromptPaths()
        self._default_model = next(iter(suggesters or elsewhere))

    def known_model(self, name: str | None) -> str:
        """The model of that name, the default one for None. Raises NotFound, InvalidArgument if it reads no text."""
        model = self._default_model if name is None else name
        if model in self._elsewhere:
            raise InvalidArgument("model", self._elsewhere[model])
        if model not in self._suggesters:
            raise NotFound("model", model, self._suggesters)
        return model

    def suggester(self, name: str | None) -> Suggester:
        """Of the model of that name, the default one for None; `NAME@DIGEST` is a certain version. Raises NotFound."""
        plain, at, digest = (self._default_model if name is None else name).partition("@")
        if plain not in self._suggesters or not at:
            return self._suggesters[self.known_model(name)]
        version = self._suggesters[plain].pinned(digest)
        if version is None:
            raise NotFound("model", f"{plain}@{digest}", [f"{plain}@{self._suggesters[plain].identity.digest}"])
        return version

    def complete(
        self, tenant: Tenant, prompt: Prompt, command: CompleteText, seed: int, deadline_s: float | None
    ) -> Completion:
        """As `Sessions.complete`."""
        suggester, text = self.suggester(prompt.model), prompt.data
        place = self._paths.to_move(suggester, tenant, text)
        suggester = suggester.serving(place.path)
        try:
            requests = requests_of(command, seed, place.path, text, place.kept, deadline_s, moves=place.moves)
            pieces = suggester.complete(requests)
        except CarouselError:
            place.leave(arrived=False)
            raise
        return Completion(suggester.identity, seed, None, pieces, lambda told: place.leave(arrived=told))

    async def score(self, tenant: Tenant, prompt: Prompt, command: ScoreText, deadline_s: float | None) -> ScoredText:
        """As `Sessions.score`."""
        suggester = self.suggester(prompt.model)
        plan = plan_score(command, prompt.text, self._limits, deadline_s)
        if plan.surprises:
            suggester = _newest(suggester)  # several requests, which are one version's
            scored, surprises = await score_apart(suggester, tenant, plan)
            return scored_text(suggester.identity, None, plan, scored, surprises)
        reads_alone = plan.start == len(plan.data)  # so that what comes next finds it read
        place = (self._paths.to_move if reads_alone else self._paths.to_read)(suggester, tenant, plan.data)
        suggester = suggester.serving(place.path)
        arrived = False
        try:
            scored = await score_at(suggester, place.path, place.kept, plan, moves=place.moves)
            arrived = True
        finally:
            place.leave(arrived=arrived)
        return scored_text(suggester.identity, None, plan, scored)

    def close(self) -> None:
        """Give up the paths that are kept."""
        self._paths.close()

    async def suggest(self, tenant: Tenant, command: SuggestText, deadline_s: float | None) -> AdvanceResult:
        """As `Sessions.suggest`."""
        suggester = self.suggester(command.prompt.model)
        path = suggester.open_path(tenant)
        try:
            return await suggester.advance(Advance(path, command.prompt.data, 0, command.suggest, deadline_s))
        finally:
            suggester.close_path(path)


def _newest(suggester: Suggester) -> Suggester:
    newest = suggester.pinned(suggester.identity.digest)
    assert newest is not None, "it is what it says it is"
    return newest
