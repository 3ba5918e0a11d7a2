"""What a committed request still owes: its suggestions, which may come, come too late or not at all."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from math import exp

from service.engine.requests import AdvanceResult, FinishReason
from service.errors import CarouselError, DeadlineExceeded
from service.sessions.commands import SessionView, Suggested, Suggestion
from service.sessions.holding import HeldSessions
from service.sessions.session import Session


class PendingSuggestions:
    """The suggestions that the engine was asked for, for one revision of a session."""

    __slots__ = ("_answer", "_fence", "_held", "_key")

    def __init__(self, held: HeldSessions, session: Session, answer: Awaitable[AdvanceResult]) -> None:
        # Not the session itself: it may rest meanwhile, and be another object when it is awake again.
        self._held, self._key, self._fence = held, session.key, session.fence
        self._answer = answer

    async def collect(self) -> Suggested:
        """The suggestions, each offered for Accept; empty if a newer edit has overtaken them or the engine failed."""
        revision = self._fence.revision
        try:
            result = await self._answer
        except DeadlineExceeded:
            return Suggested(revision, (), FinishReason.DEADLINE)
        except CarouselError:
            return Suggested(revision, (), FinishReason.SHED)
        texts = [continuation.text.decode() for continuation in result.continuations]
        ids = self._held.offer(self._key, self._fence, texts)
        if ids is None:
            return Suggested(revision, (), FinishReason.SUPERSEDED)
        suggestions = [
            Suggestion(id_, text, exp(continuation.log_probability), continuation.finish)
            for id_, text, continuation in zip(ids, texts, result.continuations, strict=True)
        ]
        return Suggested(revision, tuple(suggestions), result.finish)


class Committed:
    """A request that is committed: its answer is success from here on, whatever the engine does.

    A facade with a stream acknowledges `view` at once and awaits `suggestions` beside its next request; leaving them
    unawaited is fine. `edit_id` is the client's or the one that the server made; None if there were no edits.
    `replayed` says that the edit id was known, and that `view` is the answer of then.
    """

    __slots__ = ("_owed", "edit_id", "replayed", "view")

    def __init__(
        self,
        view: SessionView,
        edit_id: str | None = None,
        owed: PendingSuggestions | Suggested | None = None,
        *,
        replayed: bool = False,
    ) -> None:
        self.view = view
        self.edit_id = edit_id
        self.replayed = replayed
        self._owed = owed

    @property
    def wants_suggestions(self) -> bool:
        """Whether the request asked for suggestions."""
        return self._owed is not None

    async def suggestions(self) -> Suggested | None:
        """The suggestions for the committed text; None if none were asked for. Await at most once.

        Never raises a CarouselError: suggestions that cannot be had are empty with a `finish_reason` (`shed`,
        `superseded` or `deadline`). Cancelling it cancels the suggestions only.
        """
        if isinstance(self._owed, PendingSuggestions):
            return await self._owed.collect()
        return self._owed

    async def answer(self) -> SessionView:
        """`view` with the suggestions in it. Await either this or `suggestions`."""
        suggested = await self.suggestions()
        if suggested is None:
            return self.view
        return replace(self.view, suggestions=suggested.suggestions, finish_reason=suggested.finish_reason)
