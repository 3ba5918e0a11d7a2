"""The sessions that this process holds in memory: a bounded number, brought back from the store when they are named.

Of those, the ones that were asked for last are awake. The others rest: their places in the engine are kept, and what
may be accepted, but their texts and histories are in the store alone, which packs what it has in memory.

When no more may be held, a session that rests is parked if the store is durable: this process forgets it, and its next
request brings it back as after a restart.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from service.errors import InvalidArgument, NotFound, Overloaded, Unavailable
from service.sessions.accepts import OfferedSuggestions
from service.sessions.by_session import BySession
from service.sessions.commands import Tenant
from service.sessions.limits import Limits
from service.sessions.ports import Store, Suggester
from service.sessions.prompts import NOWHERE_ELSE
from service.sessions.records import Checkpoint, Fence, SessionKey, StoredSession
from service.sessions.resting import Resting, pack, unpack
from service.sessions.session import Session
from service.sessions.snapshotting import Snapshots

_PAID_BY_A_REQUEST = 16
"""In edits: to put a session to rest and to wake it takes microseconds for each edit that it could undo, and a request
pays for no more than these. Who types in more sessions than may be awake, with long histories, keeps more awake.
"""
_REST_COSTS = 4  # of a session without edits
_MOST_PAID = 2048  # what a quiet time saves up
_WRITES_WAITED_FOR = 16  # by somebody who reads what others type


_LOOKED_AT = (
    64  # sessions for one request that wants room; after so many, also at who has most: tenants may be thousands
)


@dataclass(slots=True, eq=False)
class _Arrival:
    """A wait for the store. `overtaken` if a session of the key was let go meanwhile: what the store said is old."""

    overtaken: bool = False


class HeldSessions:
    """Sessions by key, each with an open path in the engine of its model. Whoever is let go stays in the store."""

    def __init__(
        self,
        suggesters: Mapping[str, Suggester],
        store: Store,
        limits: Limits,
        elsewhere: Mapping[str, str] = NOWHERE_ELSE,
    ) -> None:
        self._suggesters, self._elsewhere = suggesters, elsewhere
        self._store = store
        self._limits = limits
        self._snapshots = Snapshots(suggesters, store, limits)
        self._held: BySession[Session | bytes] = BySession()  # bytes: a packed Resting
        self._awake: OrderedDict[SessionKey, Session] = OrderedDict()  # the least recently asked for first
        self._arrivals: dict[SessionKey, list[_Arrival]] = {}
        self._beginning = 0
        self._paid = 0
        self._looks = 0
        self._gives_way: Tenant | None = None  # whose sessions are parked just now

    def __len__(self) -> int:
        return len(self._held)

    async def find(self, key: SessionKey) -> Session | None:
        """The session, awake from now on; None if there is none.

        Raises NotFound if its model is no longer served, Overloaded if no more sessions may be held, Unavailable.
        """
        while not isinstance(held := self._held.get(key), Session):
            arrival = self._expect(key)
            snapshot = None
            try:
                stored = await self._store.load(key)
                if stored is not None and not self._rests(key, stored.fence):
                    snapshot = await self._snapshots.fetch(key, stored)
            finally:
                self._arrived(key, arrival)
            if arrival.overtaken or isinstance(self._held.get(key), Session):
                continue
            if stored is None:
                self._forget_resting(key)
                return None
            self._wake(key, stored, snapshot)
        self._awake.move_to_end(key)
        if len(self._awake) > self._limits.max_awake:
            self._rest()
        return held

    async def newest(self, key: SessionKey) -> Session | None:
        """As `find`, but read again where another process may have written since this one has read it.

        What is being written may turn out to be fenced, which is nothing to tell somebody who only reads: it is waited
        for, as long as not somebody else writes then, again and again.
        """
        for _ in range(_WRITES_WAITED_FOR):
            held = self._held.get(key)
            if not isinstance(held, Session) or not self._store.shared:
                break
            if not held.writing:
                stored = await self._store.load(key)
                outdated = stored is None or stored.fence != held.fence
                if not held.writing:
                    if outdated:
                        self.let_go(held)
                    break
            await self._store.settled(key)
        return await self.find(key)

    async def begin(self, key: SessionKey, checkpoint: Checkpoint) -> Session:
        """A new session from `checkpoint`; the existing one if another request was faster.

        Raises Overloaded if no more sessions may be held, Unavailable.
        """
        self._make_room()
        self._beginning += 1
        arrival = self._expect(key)
        try:
            created = await self._store.create(key, checkpoint)
        finally:
            self._arrived(key, arrival)
            self._beginning -= 1
        if created and not arrival.overtaken and not isinstance(self._held.get(key), Session):
            self._forget_resting(key)
            path = self._suggesters[checkpoint.model].open_path(key.tenant)
            self._hold(Session(key, checkpoint, path, self._limits))
        session = await self.find(key)
        if session is None:
            raise Unavailable(
                f"session {key.id!r} was deleted while it was created: try again", self._limits.retry_after_s
            )
        return session

    def offer(self, key: SessionKey, fence: Fence, texts: Sequence[str]) -> list[str] | None:
        """Keep what was suggested for the session as it was at `fence`, so that it can be accepted: the ids.

        None if the session has moved on, or is held no longer.
        """
        held = self._held.get(key)
        if isinstance(held, Session):
            if held.fence != fence:
                return None
            return [held.suggestions.offer(fence.revision, text) for text in texts]
        resting = None if held is None else unpack(held)
        if resting is None or resting.fence != fence:
            return None
        offered = OfferedSuggestions(fence.revision, resting.offered)
        ids = [offered.offer(fence.revision, text) for text in texts]
        self._held.put(key, pack(resting._replace(offered=offered.texts)))
        return ids

    async def write_snapshots(self, pause: Callable[[], Awaitable[None]], *, last: bool = False) -> int:
        """Write those that are due of the sessions that are awake; see `Snapshots.write_due`."""
        return await self._snapshots.write_due(self._awake.values(), pause, last=last)

    def let_go(self, session: Session) -> None:
        """Hold `session` no longer. Nothing happens if it was let go before."""
        if session.closed:
            return
        session.closed = True
        self._suggesters[session.model].close_path(session.path)
        self._held.remove(session.key)
        del self._awake[session.key]
        self._overtake(session.key)

    def let_go_all(self) -> None:
        """Hold nothing any more."""
        for session in list(self._awake.values()):
            self.let_go(session)
        for key in list(self._held):
            self._forget_resting(key)

    def forget(self, key: SessionKey) -> None:
        """The store keeps it no longer. Who writes just now learns it from the store."""
        held = self._held.get(key)
        if not isinstance(held, Session):
            self._forget_resting(key)
        elif not held.writing:
            self.let_go(held)

    def _hold(self, session: Session) -> None:
        self._held.put_last(session.key, session)
        self._awake[session.key] = session

    def _wake(self, key: SessionKey, stored: StoredSession, snapshot: bytes | None) -> None:
        """Hold what the store has, in the place where it rested if nobody else has written since.

        If there is none, the engine goes on from the snapshot if there is one of this text.

        Raises NotFound if its model is no longer served, Overloaded if no more sessions may be held.
        """
        resting = self._resting(key)
        if resting is not None and resting.fence != stored.fence:
            self._forget_resting(key)
            resting = None
        model = stored.checkpoint.model
        if model in self._elsewhere:
            raise InvalidArgument("session", self._elsewhere[model])
        if model not in self._suggesters:
            raise NotFound("model", model)
        if resting is None:
            self._make_room()
            path = self._suggesters[model].open_path(key.tenant)
        else:
            path = resting.path
        session = Session.restore(key, stored, path, self._limits, resting)
        if resting is None and snapshot is not None:
            self._snapshots.restore(session, snapshot)
        self._hold(session)

    def _rest(self) -> None:
        """Put those to rest who were not asked for the longest time, as far as it is paid for."""
        self._paid = min(self._paid + _PAID_BY_A_REQUEST, _MOST_PAID)
        for _ in range(len(self._awake) - self._limits.max_awake):
            session = next(iter(self._awake.values()))
            if session.writing:
                self._awake.move_to_end(session.key)
                continue
            costs = _REST_COSTS + session.edits_held
            if costs > self._paid:
                return
            self._paid -= costs
            session.closed = True
            self._held.put_last(session.key, pack(session.resting()))
            del self._awake[session.key]
            self._store.rest(session.key)
            self._overtake(session.key)

    def _rests(self, key: SessionKey, fence: Fence) -> bool:
        """Whether the session rests here, and nobody else has written since."""
        resting = self._resting(key)
        return resting is not None and resting.fence == fence

    def _resting(self, key: SessionKey) -> Resting | None:
        held = self._held.get(key)
        return unpack(held) if isinstance(held, bytes) else None

    def _forget_resting(self, key: SessionKey) -> None:
        """Give up the place of a session at rest; nothing happens if there is none."""
        resting = self._resting(key)
        if resting is not None:
            self._held.remove(key)
            self._suggesters[resting.model].close_path(resting.path)

    def _overtake(self, key: SessionKey) -> None:
        """What is on its way from the store may be older than what was held until now."""
        for arrival in self._arrivals.get(key, ()):
            arrival.overtaken = True

    def _expect(self, key: SessionKey) -> _Arrival:
        arrival = _Arrival()
        self._arrivals.setdefault(key, []).append(arrival)
        return arrival

    def _arrived(self, key: SessionKey, arrival: _Arrival) -> None:
        waiting = self._arrivals[key]
        waiting.remove(arrival)
        if not waiting:
            del self._arrivals[key]

    def _make_room(self) -> None:
        """Room for one more. Raises Overloaded if there is none, and nobody to park."""
        while len(self._held) + self._beginning >= self._limits.max_sessions:
            if not self._park():
                raise Overloaded(
                    f"this server holds its {self._limits.max_sessions} sessions: delete some, or try again later",
                    self._limits.retry_after_s,
                )

    def _park(self) -> bool:
        """Forget the session that was not asked for the longest time, of the tenant that holds most, if it rests.

        So nobody's sessions give way to those of somebody who has more. Where none of that tenant's rests, anybody's
        that is awake. False if there is none, or all that may be looked at for one request are not `durable`.
        """
        for _ in range(_LOOKED_AT if len(self._held) else 0):
            key = self._held.first_of(self._tenant_that_gives_way())
            held = self._held.get(key)
            if isinstance(held, bytes) and self._store.durable(key):
                self._forget_resting(key)
                return True
            if held is not None:
                self._held.put_last(key, held)
        for session in islice(self._awake.values(), _LOOKED_AT):
            if not session.writing and self._store.durable(session.key):
                self.let_go(session)
                return True
        return False

    def _tenant_that_gives_way(self) -> Tenant:
        tenant = self._gives_way
        self._looks += 1
        if tenant is None or self._looks % _LOOKED_AT == 0 or not self._held.of_tenant(tenant):
            tenant = self._gives_way = self._held.largest_tenant()
        return tenant
