"""What a committed request still owes: its suggestions, which may come, come too late or not at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import exp

from service.engine.requests import AdvanceResult, FinishReason
from service.errors import CarouselError, DeadlineExceeded
from service.sessions.commands import SessionView, Suggested, Suggestion
from service.sessions.holding import HeldSessions
from service.sessions.ports import Answer
from service.sessions.session import Session


class PendingSuggestions:
    """The suggestions that the engine was asked for, for one revision of a session."""

    __slots__ = ("_answer", "_fence", "_held", "_key")

    def __init__(self, held: HeldSessions, session: Session, answer: Answer) -> None:
        # Not the session itself: it may rest meanwhile, and be another object when it is awake again.
        self._held, self._key, self._fence = held, session.key, session.fence
        self._answer = answer

    async def collect(self) -> Suggested:
        """The suggestions, each offered for Accept; empty if a newer edit has overtaken them or the engine failed."""
        try:
            return self._offered(await self._answer)
        except CarouselError as error:
            return self._failed(error)

    def when_there(self, tell: Callable[[Suggested], None]) -> None:
        """Call it with what `collect` would return, once that is there; never, if they are given up before."""
        self._answer.add_done_callback(partial(self._tell, tell))

    def give_up(self) -> None:
        """Nobody waits for them any more."""
        self._answer.cancel()

    def _tell(self, tell: Callable[[Suggested], None], answer: Answer) -> None:
        if answer.cancelled():
            return
        try:
            suggested = self._offered(answer.result())
        except CarouselError as error:
            suggested = self._failed(error)
        tell(suggested)

    def _offered(self, result: AdvanceResult) -> Suggested:
        revision = self._fence.revision
        texts = [continuation.text.decode() for continuation in result.continuations]
        ids = self._held.offer(self._key, self._fence, texts)
        if ids is None:
            return Suggested(revision, (), FinishReason.SUPERSEDED)
        suggestions = [
            Suggestion(id_, text, exp(continuation.log_probability), continuation.finish)
            for id_, text, continuation in zip(ids, texts, result.continuations, strict=True)
        ]
        return Suggested(revision, tuple(suggestions), result.finish)

    def _failed(self, error: CarouselError) -> Suggested:
        late = isinstance(error, DeadlineExceeded)
        return Suggested(self._fence.revision, (), FinishReason.DEADLINE if late else FinishReason.SHED)


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

    def when_suggested(self, tell: Callable[[Suggested], None]) -> None:
        """Call it with what `suggestions` would return, once that is there; for who waits for many at a time.

        Never called if there is nothing to come, or after `give_up`. Call either this or await one of the others.
        """
        if isinstance(self._owed, PendingSuggestions):
            self._owed.when_there(tell)
        elif self._owed is not None:
            tell(self._owed)

    def give_up(self) -> None:
        """The suggestions are of no use any more: the engine stops working on them."""
        if isinstance(self._owed, PendingSuggestions):
            self._owed.give_up()

    async def answer(self) -> SessionView:
        """`view` with the suggestions in it. Await either this or `suggestions`."""
        suggested = await self.suggestions()
        if suggested is None:
            return self.view
        view = self.view  # built anew by hand: `dataclasses.replace` takes a microsecond more
        return SessionView(
            view.id,
            view.revision,
            view.length,
            view.cursor,
            view.model,
            suggested.suggestions,
            suggested.finish_reason,
            view.text,
            view.stored,
        )
