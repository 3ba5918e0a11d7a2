"""The sessions that this process holds in memory: a bounded number, brought back from the store when they are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.errors import NotFound, Overloaded, Unavailable
from service.sessions.limits import Limits
from service.sessions.ports import Store, Suggester
from service.sessions.records import Checkpoint, SessionKey
from service.sessions.session import Session


@dataclass(slots=True, eq=False)
class _Arrival:
    """A wait for the store. `overtaken` if a session of the key was let go meanwhile: what the store said is old."""

    overtaken: bool = False


class HeldSessions:
    """Sessions by key, each with an open path in the engine of its model. Whoever is let go stays in the store."""

    def __init__(self, suggesters: Mapping[str, Suggester], store: Store, limits: Limits) -> None:
        self._suggesters = suggesters
        self._store = store
        self._limits = limits
        self._held: dict[SessionKey, Session] = {}
        self._arrivals: dict[SessionKey, list[_Arrival]] = {}
        self._beginning = 0

    def __len__(self) -> int:
        return len(self._held)

    async def find(self, key: SessionKey) -> Session | None:
        """The session, held from now on; None if there is none.

        Raises NotFound if its model is no longer served, Overloaded if no more sessions may be held, Unavailable.
        """
        while (held := self._held.get(key)) is None:
            arrival = self._expect(key)
            try:
                stored = await self._store.load(key)
            finally:
                self._arrived(key, arrival)
            if arrival.overtaken or key in self._held:
                continue
            if stored is None:
                return None
            if stored.checkpoint.model not in self._suggesters:
                raise NotFound("model", stored.checkpoint.model)
            self._check_room()
            path = self._suggesters[stored.checkpoint.model].open_path(key.tenant)
            self._held[key] = Session.restore(key, stored, path, self._limits)
        return held

    async def begin(self, key: SessionKey, checkpoint: Checkpoint) -> Session:
        """A new session from `checkpoint`; the existing one if another request was faster.

        Raises Overloaded if no more sessions may be held, Unavailable.
        """
        self._check_room()
        self._beginning += 1
        arrival = self._expect(key)
        try:
            created = await self._store.create(key, checkpoint)
        finally:
            self._arrived(key, arrival)
            self._beginning -= 1
        if created and not arrival.overtaken and key not in self._held:
            path = self._suggesters[checkpoint.model].open_path(key.tenant)
            self._held[key] = Session(key, checkpoint, path, self._limits)
        session = await self.find(key)
        if session is None:
            raise Unavailable(
                f"session {key.id!r} was deleted while it was created: try again", self._limits.retry_after_s
            )
        return session

    def let_go(self, session: Session) -> None:
        """Hold `session` no longer. Nothing happens if it was let go before."""
        if session.closed:
            return
        session.closed = True
        self._suggesters[session.model].close_path(session.path)
        del self._held[session.key]
        for arrival in self._arrivals.get(session.key, ()):
            arrival.overtaken = True

    def let_go_all(self) -> None:
        """Hold nothing any more."""
        for session in list(self._held.values()):
            self.let_go(session)

    def _expect(self, key: SessionKey) -> _Arrival:
        arrival = _Arrival()
        self._arrivals.setdefault(key, []).append(arrival)
        return arrival

    def _arrived(self, key: SessionKey, arrival: _Arrival) -> None:
        waiting = self._arrivals[key]
        waiting.remove(arrival)
        if not waiting:
            del self._arrivals[key]

    def _check_room(self) -> None:
        if len(self._held) + self._beginning >= self._limits.max_sessions:
            raise Overloaded(
                f"this server holds its {self._limits.max_sessions} sessions: delete some, or try again later",
                self._limits.retry_after_s,
            )
