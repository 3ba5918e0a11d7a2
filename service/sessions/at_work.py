"""What every command does with a session: find it, tell the engine, wait for the store, and show it."""

from __future__ import annotations

from collections.abc import Mapping

from service.engine.requests import Advance, FinishReason, SuggestSpec
from service.errors import CarouselError, Fenced, NotFound, QuotaExceeded, Unavailable
from service.sessions.answers import PendingSuggestions
from service.sessions.commands import SessionId, SessionView, Suggested, Tenant, Units
from service.sessions.holding import HeldSessions
from service.sessions.limits import Limits
from service.sessions.ports import Store, Suggester
from service.sessions.records import KnownEdit, SessionKey
from service.sessions.session import Session


class AtWork:
    """The sessions that are held, with the engines and the store behind them. For the classes of this package alone."""

    def __init__(
        self, suggesters: Mapping[str, Suggester], store: Store, limits: Limits, elsewhere: Mapping[str, str]
    ) -> None:
        self.suggesters, self.store, self.limits = suggesters, store, limits
        self.held = HeldSessions(suggesters, store, limits, elsewhere)

    async def begun(self, session: Session, units: Units) -> SessionView:
        """Let the engine read it, and answer."""
        self.advance(session, None, None)
        view = self.view(session, units)
        await self.settled(session)
        return view

    async def settled(self, session: Session) -> None:
        """Wait until the revision that is about to be answered is in the store: an answer acknowledges it.

        Raises Unavailable or QuotaExceeded if it did not get there.
        """
        if session.writing:
            await self.store.settled(session.key)
        if session.unwritten is not None:
            raise self.not_written(session.unwritten)

    def not_written(self, error: BaseException) -> CarouselError:
        """What is told to whoever depends on a write that failed with `error`."""
        if isinstance(error, Fenced):
            return Fenced(str(error))
        if isinstance(error, QuotaExceeded):
            return QuotaExceeded(str(error), error.retry_after_s)
        retry_after_s = error.retry_after_s if isinstance(error, Unavailable) else self.limits.retry_after_s
        return Unavailable("an edit that this depends on could not be stored: send both again", retry_after_s)

    async def find_newest(self, tenant: Tenant, name: SessionId) -> Session:
        """As `find`, and as the newest write has left it, whoever wrote: for what names no revision."""
        session = await self.held.newest(SessionKey(tenant, name))
        if session is None:
            raise NotFound("session", name)
        return session

    async def find(self, tenant: Tenant, name: SessionId) -> Session:
        """The session as it is held, or else stored. Raises NotFound, Overloaded, Unavailable."""
        session = await self.held.find(SessionKey(tenant, name))
        if session is None:
            raise NotFound("session", name)
        return session

    def serving(self, session: Session) -> Suggester:
        """The version of its model that answers what is asked of it now."""
        return self.suggesters[session.model].serving(session.path)

    def advance(
        self, session: Session, suggest: SuggestSpec | None, deadline_s: float | None
    ) -> PendingSuggestions | Suggested | None:
        """Tell the engine what is left of the cursor; what is owed to a caller who asked for suggestions."""
        movement = session.movement()
        request = Advance(session.path, movement.text, movement.kept, suggest, deadline_s)
        try:
            answer = self.serving(session).advance(request)
        except CarouselError:  # the next movement makes up for this one
            return None if suggest is None else Suggested(session.revision, (), FinishReason.SHED)
        session.told(movement)
        return None if suggest is None else PendingSuggestions(self.held, session, answer)

    def suggest_again(
        self, session: Session, known: KnownEdit, suggest: SuggestSpec | None, deadline_s: float | None
    ) -> PendingSuggestions | Suggested | None:
        """What is owed to a caller who repeats an edit: suggestions, if the text is still that of then."""
        if suggest is None:
            return None
        if known.revision != session.revision:
            return Suggested(known.revision, (), FinishReason.SUPERSEDED)
        return self.advance(session, suggest, deadline_s)

    def view(self, session: Session, units: Units, *, include_text: bool = False) -> SessionView:
        """The session as it is now, in these units."""
        text = session.text
        return SessionView(
            id=session.key.id,
            revision=session.revision,
            length=text.extent.count_in(units),
            cursor=text.left_extent.count_in(units),
            model=self.serving(session).identity,
            text=text.content if include_text else None,
            stored=self.store.durable(session.key),
        )

    def view_of(self, session: Session, known: KnownEdit) -> SessionView:
        """What the edit was answered, or is."""
        identity = self.serving(session).identity
        return SessionView(session.key.id, known.revision, known.length, known.cursor, identity)
