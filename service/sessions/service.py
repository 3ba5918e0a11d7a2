"""`Sessions`: what every facade calls. Checks a command, commits it, tells the engine, and answers with a view.

Call from one thread, the event loop's. A session's commits take effect in call order; nothing in here needs a lock,
because a session is only changed between two awaits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from service.engine.requests import AdvanceResult, ModelIdentity
from service.errors import Fenced, RevisionConflict, Unavailable
from service.sessions.answers import Committed
from service.sessions.at_work import AtWork
from service.sessions.checks import (
    check_create,
    check_edit,
    check_list,
    check_set_text,
)
from service.sessions.commands import (
    CompleteText,
    CreateSession,
    DeleteSession,
    EditSession,
    ExportSession,
    ForkSession,
    GetSession,
    ImportSession,
    ListSessions,
    ScoreAhead,
    ScoredText,
    ScoreText,
    SessionId,
    SessionView,
    SetText,
    SuggestText,
    Tenant,
)
from service.sessions.completions import Completion
from service.sessions.copies import Copies
from service.sessions.exactly_once import creation_digest
from service.sessions.limits import Limits
from service.sessions.ports import Store, Suggester
from service.sessions.prompts import NOWHERE_ELSE, Prompts
from service.sessions.questions import Questions
from service.sessions.records import Checkpoint, KnownEdit, SessionKey, SessionPage
from service.sessions.session import FIRST_REVISION, Session

_SWEPT_AT_ONCE = 256  # sessions; some milliseconds of a store's time


class Sessions:
    """The sessions of this process: text and revisions in memory, their records in `store`, one engine per model.

    suggesters: by model name; the first is the default.  new_id: unique, unguessable strings of `[A-Za-z0-9._-]`.
    new_incarnation: numbers that do not repeat (63 random bits), of which seeds are made, too.  elsewhere: models that
    read no text, by name, and what is told to who wants text of them.

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
        elsewhere: Mapping[str, str] = NOWHERE_ELSE,
    ) -> None:
        if not suggesters and not elsewhere:
            raise ValueError("at least one model is needed")
        self._suggesters = dict(suggesters)
        self._store = store
        self._new_id = new_id
        self._new_incarnation = new_incarnation
        self._limits = limits or Limits()
        self._at_work = AtWork(self._suggesters, store, self._limits, elsewhere)
        self._held = self._at_work.held
        self._prompts, self._elsewhere = Prompts(self._suggesters, self._limits, elsewhere), elsewhere
        self._copies = Copies(self._at_work, self._prompts, new_id, new_incarnation)
        self._questions = Questions(self._at_work, self._prompts, new_incarnation)

    @property
    def models(self) -> tuple[ModelIdentity, ...]:
        """The models that a session may name, the default first."""
        return tuple(suggester.identity for suggester in self._suggesters.values())

    def model(self, name: str | None) -> ModelIdentity:
        """The newest version of the model of that name, `NAME@DIGEST` a certain one; the default model for None.

        Raises NotFound that names those there are.
        """
        return self._prompts.suggester(name).identity

    def refuse_elsewhere(self, name: str | None) -> None:
        """Raises InvalidArgument if the model of that name, the default one for None, reads no text."""
        if name is None or name in self._elsewhere:
            self._prompts.known_model(name)

    @property
    def max_document_bytes(self) -> int:
        """How large an exported session may be that is imported here."""
        return self._limits.max_document_bytes

    @property
    def limits(self) -> Limits:
        """How large sessions and requests may be."""
        return self._limits

    @property
    def held(self) -> int:
        """How many sessions this process holds in memory."""
        return len(self._held)

    async def create(self, tenant: Tenant, command: CreateSession, *, deadline_s: float | None = None) -> SessionView:
        """Create a session at revision 1, or answer the existing one if `id`, text and model are the same.

        Raises InvalidArgument (`id`, `text`, a field of `suggest`), NotFound for an unknown model, RevisionConflict if
        the id is taken by a session that was created from something else, Overloaded if this process holds all the
        sessions it may, Unavailable.
        """
        check_create(command, self._limits)
        model = self._prompts.known_model(command.model)
        key = SessionKey(tenant, SessionId(self._new_id()) if command.id is None else command.id)
        creation = creation_digest(model, command.text, store_text=command.store_text)
        session = None if command.id is None else await self._existing(key, may_be_away=not command.store_text)
        if session is None:
            incarnation = self._new_incarnation()
            text = command.text
            checkpoint = Checkpoint(
                incarnation,
                FIRST_REVISION,
                model,
                creation,
                text,
                cursor=len(text),
                store_text=command.store_text,
            )
            session = await self._held.begin(key, checkpoint)
        if session.creation != creation:
            raise RevisionConflict(
                f"session {key.id!r} exists and was created with another text, model or store_text: choose another id",
                session.revision,
            )
        view = self._at_work.view(session, command.units)
        return await Committed(view, owed=self._at_work.advance(session, command.suggest, deadline_s)).answer()

    async def _existing(self, key: SessionKey, *, may_be_away: bool) -> Session | None:
        """As `HeldSessions.find`; but where nothing is to be stored, a store that is away knows of none."""
        try:
            return await self._held.find(key)
        except Unavailable:
            if may_be_away:
                return None
            raise

    async def commit(
        self, tenant: Tenant, command: EditSession | SetText, *, deadline_s: float | None = None
    ) -> Committed:
        """Apply the edits, all or none, and tell the engine; what is returned is committed in the store.

        Edits of one session that are committed without awaiting the earlier ones take effect in call order.
        Raises InvalidArgument that names the field, NotFound, RevisionConflict, Fenced, QuotaExceeded, Unavailable;
        nothing was applied then, save that after Unavailable only a retry with the same edit id can tell.
        """
        if isinstance(command, SetText):
            check_set_text(command, self._limits)
        else:
            check_edit(command, self._limits)
        session = await self._at_work.find(tenant, command.session)
        try:
            return await self._commit(session, command, deadline_s)
        except (RevisionConflict, Fenced) as error:
            if not self._store.shared:
                raise
            # Another process may have written since this one read the session: whoever asks cannot know, and need not.
            newer = await self._at_work.find_newest(tenant, command.session)
            if newer is session:
                raise
            try:
                return await self._commit(newer, command, deadline_s)
            except RevisionConflict:
                if isinstance(error, Fenced):
                    raise error from None
                raise

    async def _commit(self, session: Session, command: EditSession | SetText, deadline_s: float | None) -> Committed:
        plan = session.plan(command, self._new_id)
        if plan is None:
            owed = self._at_work.advance(session, command.suggest, deadline_s) if command.suggest else None
            view = self._at_work.view(session, command.units)
            await self._at_work.settled(session)
            return Committed(view, owed=owed)
        if isinstance(plan, KnownEdit):
            owed = self._at_work.suggest_again(session, plan, command.suggest, deadline_s)
            await self._at_work.settled(session)
            return Committed(self._at_work.view_of(session, plan), plan.edit_id, owed, replayed=True)
        fence = session.fence
        session.writing += 1
        try:
            session.apply(plan)
            owed = self._at_work.advance(session, command.suggest, deadline_s)  # computes while the store writes
            view = self._at_work.view_of(session, plan.record.known)  # names the version that computes
            await self._store.append(session.key, fence, plan.record, session.due_checkpoint())
        except BaseException as error:
            # Also when cancelled: what is held may be ahead of the store, so the next request reads it from there.
            self._held.let_go(session)
            first, session.unwritten = session.unwritten, session.unwritten or error
            if first is not None and isinstance(error, Fenced):
                # As the one before it that it was based on: if that could not be written, nobody has taken over.
                raise self._at_work.not_written(first) from error
            raise
        finally:
            session.writing -= 1
        return Committed(view, plan.record.known.edit_id, owed)

    async def edit(self, tenant: Tenant, command: EditSession, *, deadline_s: float | None = None) -> SessionView:
        """Commit, then await the suggestions. Raises as `commit` does."""
        committed = await self.commit(tenant, command, deadline_s=deadline_s)
        return await committed.answer()

    async def set_text(self, tenant: Tenant, command: SetText, *, deadline_s: float | None = None) -> SessionView:
        """Make a text the session's text, as one edit; then await the suggestions. Raises as `commit` does."""
        committed = await self.commit(tenant, command, deadline_s=deadline_s)
        return await committed.answer()

    async def get(self, tenant: Tenant, command: GetSession) -> SessionView:
        """The session as it is. Raises NotFound, Overloaded, Unavailable."""
        session = await self._at_work.find_newest(tenant, command.session)
        view = self._at_work.view(session, command.units, include_text=command.include_text)
        await self._at_work.settled(session)
        return view

    async def delete(self, tenant: Tenant, command: DeleteSession) -> None:
        """Forget a session and its text. Raises NotFound, Overloaded, Unavailable."""
        if self._elsewhere and await self._deleted_elsewhere(SessionKey(tenant, command.session)):
            return
        session = await self._at_work.find_newest(tenant, command.session)
        session.writing += 1
        try:
            await self._store.delete(session.key, session.fence.incarnation)
        finally:
            session.writing -= 1
            self._held.let_go(session)  # also when cancelled: the store alone knows whether it is gone

    async def _deleted_elsewhere(self, key: SessionKey) -> bool:
        """Whether it was the log of a model that reads no text, which is not held here; it is gone then."""
        stored = await self._store.load(key)
        if stored is None or stored.checkpoint.model not in self._elsewhere:
            return False
        await self._store.delete(key, stored.fence.incarnation)
        return True

    async def fork(self, tenant: Tenant, command: ForkSession) -> SessionView:
        """A new session with the text, cursor and history of another, or the existing one if it was forked so before.

        It is at the revision that it was taken from. What makes retries safe is not copied: an edit was made in one
        session. Raises InvalidArgument (`id`, `revision`), NotFound, RevisionConflict if the id is taken by a session
        that is no such fork, Overloaded, QuotaExceeded, Unavailable.
        """
        return await self._copies.fork(tenant, command)

    async def export(self, tenant: Tenant, command: ExportSession) -> bytes:
        """A session as a document (`documents`). Raises NotFound, Overloaded, Unavailable."""
        return await self._copies.export(tenant, command)

    async def import_(self, tenant: Tenant, command: ImportSession) -> SessionView:
        """The session of a document, or the existing one that has grown out of it.

        Raises InvalidArgument that names the place in the document, NotFound for its model, RevisionConflict if the id
        is taken by another session, or by one that was like the document too long ago to tell, Overloaded,
        QuotaExceeded, Unavailable.
        """
        return await self._copies.import_(tenant, command)

    async def page(self, tenant: Tenant, command: ListSessions) -> SessionPage:
        """The tenant's sessions, those at rest and parked included. Raises InvalidArgument (`limit`), Unavailable."""
        check_list(command)
        found = await self._store.page(tenant, command.after, command.limit + 1)
        shown = found[: command.limit]
        return SessionPage(shown, shown[-1].id if len(found) > len(shown) else None)

    async def sweep(self) -> bool:
        """Forget sessions whose time of retention is over; whether there is more to do. Raises Unavailable."""
        swept = await self._store.sweep(_SWEPT_AT_ONCE)
        for key in swept.keys:
            self._held.forget(key)
        return swept.more

    async def write_snapshots(self, pause: Callable[[], Awaitable[None]], *, last: bool = False) -> int:
        """Keep states beside the texts of those that are worth it, with a pause before each; how many were written.

        To be called again and again; last: for the last time. Never raises a CarouselError.
        """
        return await self._held.write_snapshots(pause, last=last)

    async def complete(self, tenant: Tenant, command: CompleteText, *, deadline_s: float | None = None) -> Completion:
        """Begin to go on from a prompt or from a session's cursor; whoever gets the Completion must close it.

        At the deadline it ends with what it has. Another edit of the session ends it as superseded.
        Raises InvalidArgument that names the field, NotFound for the session or the model, Overloaded, Unavailable.
        """
        return await self._questions.complete(tenant, command, deadline_s=deadline_s)

    async def score(self, tenant: Tenant, command: ScoreText, *, deadline_s: float | None = None) -> ScoredText:
        """How likely every byte of a prompt or of a session's text is; edits meanwhile do not matter.

        Raises InvalidArgument that names the field, NotFound for the session or the model, DeadlineExceeded,
        Overloaded, Unavailable. Who does not await it any more stops the work.
        """
        return await self._questions.score(tenant, command, deadline_s=deadline_s)

    async def score_ahead(self, tenant: Tenant, command: ScoreAhead, *, deadline_s: float | None = None) -> ScoredText:
        """How likely bytes are after what is left of a session's cursor. Raises as `score` does."""
        return await self._questions.score_ahead(tenant, command, deadline_s=deadline_s)

    async def suggest(self, tenant: Tenant, command: SuggestText, *, deadline_s: float | None = None) -> AdvanceResult:
        """How a prompt goes on. Raises InvalidArgument that names the field, NotFound, Overloaded, Unavailable."""
        return await self._questions.suggest(tenant, command, deadline_s=deadline_s)

    async def close(self) -> None:
        """Give up every path and close the store. Called once, last."""
        self._held.let_go_all()
        self._prompts.close()
        await self._store.close()
