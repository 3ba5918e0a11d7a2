"""When the state of a session is written to the store beside its text, and how a session goes on from it.

A snapshot is a shortcut: whoever has none replays the text and gets the same bits. So it is written beside typing, for
those that it is worth for, and nothing that goes wrong with one is an error of anybody's.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

from service.errors import CarouselError
from service.sessions.limits import Limits
from service.sessions.ports import Store, Suggester
from service.sessions.records import SessionKey, StoredSession, added_bytes, utf8_size
from service.sessions.session import Session
from service.sessions.snapshots import read_snapshot, write_snapshot

_log = logging.getLogger("carousel.store")


class Snapshots:
    """Writes and reads the snapshots of one process's sessions."""

    def __init__(self, suggesters: Mapping[str, Suggester], store: Store, limits: Limits) -> None:
        self._suggesters, self._store, self._limits = suggesters, store, limits

    async def fetch(self, key: SessionKey, stored: StoredSession) -> bytes | None:
        """What the store has for a session that is about to be opened; None if it is not worth it, or fails."""
        if not self._limits.snapshots or not self._store.durable(key):
            return None
        size = utf8_size(stored.checkpoint.text) + sum(map(added_bytes, stored.records))
        if size < self._limits.snapshot_gain:
            return None
        try:
            return await self._store.get_snapshot(key, stored.fence.incarnation)
        except CarouselError as error:
            _log.info("a snapshot could not be read", extra={"fault": str(error)})
            return None

    def restore(self, session: Session, snapshot: bytes) -> None:
        """Have the session, whose path is new, go on from the snapshot if that is one of its text; else do nothing."""
        version, text = self._suggesters[session.model].serving(session.path), session.movement().text
        state = read_snapshot(snapshot, version.identity, text)
        if state is not None and version.restore(session.path, text[: state.depth], state):
            known = len(text[: state.depth].decode())
            session.knows(known)
            session.saved, session.saved_under = known, version.identity.digest

    async def write_due(
        self, sessions: Iterable[Session], pause: Callable[[], Awaitable[None]], *, last: bool = False
    ) -> int:
        """Write the snapshots that are due, one after the other, with a pause before each; how many.

        Called again and again: who has typed nothing since the call before is at rest. last: there will be no other
        call. Stops where the store fails, after which the next call tries again.
        """
        if not self._limits.snapshots:
            return 0
        written = 0
        for session in [one for one in sessions if self._is_due(one, last=last) and self._store.durable(one.key)]:
            await pause()
            if session.closed or session.unwritten is not None:
                continue
            snapshot = self._take(session)
            if snapshot is None:
                continue
            try:
                await self._store.put_snapshot(session.key, session.fence.incarnation, snapshot)
            except BaseException as error:  # also when cancelled: what is not known to be kept is kept again
                session.saved = 0
                if not isinstance(error, CarouselError):
                    raise
                _log.info("a snapshot could not be written", extra={"fault": str(error)})
                break
            written += 1
        return written

    def _is_due(self, session: Session, *, last: bool) -> bool:
        rests = session.revision == session.looked_at
        session.looked_at = session.revision
        gained = session.text.cursor - session.saved
        if gained >= (self._limits.snapshot_gain if rests or last else self._limits.snapshot_every):
            return True
        return not rests and session.saved > 0 and self._is_outdated(session)

    def _is_outdated(self, session: Session) -> bool:
        """Whether a newer version of the model serves than the one that its snapshot is of."""
        return session.saved_under not in (None, self._suggesters[session.model].identity.digest)

    def _take(self, session: Session) -> bytes | None:
        """A snapshot of a state that is held, if it is worth more than the one before; it counts as written."""
        version, movement = self._suggesters[session.model].serving(session.path), session.movement()
        text, gain = movement.text, self._limits.snapshot_gain // 2
        if session.saved and session.saved_under in (None, version.identity.digest):
            gain += len(session.text.left[: session.saved].encode())
        # Who comes back may begin with a backspace, and would replay everything if that led above the state.
        most = min(movement.kept, len(text) - self._limits.snapshot_before_cursor)
        state = version.read_state(session.path, text, least=gain, most=most)
        if state is None:
            return None
        session.saved, session.saved_under = len(text[: state.depth].decode()), version.identity.digest
        return write_snapshot(state, version.identity, text)
