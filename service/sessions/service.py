"""`Sessions`: what every facade calls. Checks a command, commits it, tells the engine, and answers with a view.

Call from one thread, the event loop's. A session's commits take effect in call order; nothing in here needs a lock,
because a session is only changed between two awaits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from math import exp

from service.engine.requests import Advance, AdvanceResult, FinishReason, ModelIdentity, SuggestSpec
from service.errors import CarouselError, NotFound, Overloaded, RevisionConflict, Unavailable
from service.sessions.checks import check_create, check_edit
from service.sessions.commands import (
    CreateSession,
    DeleteSession,
    EditSession,
    GetSession,
    SessionId,
    SessionView,
    Suggested,
    Suggestion,
    Tenant,
)
from service.sessions.exactly_once import creation_digest
from service.sessions.limits import Limits
from service.sessions.ports import Store, Suggester
from service.sessions.records import SessionKey
from service.sessions.session import Session


class Committed:
    """A request that is committed: its answer is success from here on, whatever the engine does.

    A facade with a stream acknowledges `view` at once and awaits `suggestions` beside its next request; dropping it
    unawaited is fine. `replayed` says that the edit id was known, and that `view` is the answer of then.
    """

    def __init__(self, view: SessionView, edit_id: str | None, replayed: bool, pending: _Pending | None) -> None:
        self.view = view
        self.edit_id = edit_id
        self.replayed = replayed
        self._pending = pending

    @property
    def wants_suggestions(self) -> bool:
        """Whether the request asked for suggestions."""
        return self._pending is not None

    async def suggestions(self) -> Suggested | None:
        """The suggestions for the committed text; None if none were asked for. Await at most once.

        Never raises a CarouselError: suggestions that cannot be had are empty with a `finish_reason` (`shed`,
        `superseded` or `deadline`). Cancelling it cancels the suggestions only.
        """
        return None if self._pending is None else await self._pending.collect()


class Sessions:
    """The sessions of this process: text and revisions in memory, their records in `store`, one engine per model.

    suggesters: by model name; the first is the default.  new_id: unique, unguessable strings of `[A-Za-z0-9._-]`.
    new_incarnation: numbers that do not repeat (63 random bits).

    Every method takes the Tenant that was authenticated; another tenant's session is NotFound. `deadline_s` is a
    moment on the engine's clock, after which suggestions are not worth computing; it never undoes a commit.
    """

    def __init__(
        self,
        suggesters: Mapping[str, Suggester],
        store: Store,
        *,
        new_id: Callable[[], str],
        new_incarnation: Callable[[], int],
        limits: Limits | None = None,
    ) -> None:
        if not suggesters:
            raise ValueError("at least one model is needed")
        self._suggesters = dict(suggesters)
        self._default_model = next(iter(self._suggesters))
        self._store = store
        self._new_id = new_id
        self._new_incarnation = new_incarnation
        self._limits = limits or Limits()
        self._held: dict[SessionKey, Session] = {}

    @property
    def models(self) -> tuple[ModelIdentity, ...]:
        """The models that a session may name, the default first."""
        return tuple(suggester.identity for suggester in self._suggesters.values())

    @property
    def held(self) -> int:
        """How many sessions this process holds in memory."""
        return len(self._held)

    async def create(self, tenant: Tenant, command: CreateSession, *, deadline_s: float | None = None) -> SessionView:
        """Create a session at revision 1, or answer the existing one if `id`, text and model are the same.

        Raises InvalidArgument (`id`, `text`, `suggest.count`, `suggest.max_bytes`), NotFound for an unknown model,
        RevisionConflict if the id is taken by a session that was created from something else, Overloaded if this
        process holds all the sessions it may.
        """
        raise NotImplementedError

    async def commit(self, tenant: Tenant, command: EditSession, *, deadline_s: float | None = None) -> Committed:
        """Apply the edits, all or none, and tell the engine; what is returned is committed in the store.

        Edits of one session that are committed without awaiting the earlier ones take effect in call order.
        Raises InvalidArgument that names the field, NotFound, RevisionConflict, Fenced, Unavailable; the session is
        unchanged then.
        """
        raise NotImplementedError

    async def edit(self, tenant: Tenant, command: EditSession, *, deadline_s: float | None = None) -> SessionView:
        """Commit, then await the suggestions. Raises as `commit` does."""
        raise NotImplementedError

    async def get(self, tenant: Tenant, command: GetSession) -> SessionView:
        """The session as it is. Raises NotFound, Unavailable."""
        raise NotImplementedError

    async def delete(self, tenant: Tenant, command: DeleteSession) -> None:
        """Forget a session and its text. Raises NotFound, Unavailable."""
        raise NotImplementedError

    async def close(self) -> None:
        """Give up every path and close the store. Called once, last."""
        raise NotImplementedError
