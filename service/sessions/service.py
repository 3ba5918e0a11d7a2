"""`Sessions`: what every facade calls. Checks a command, commits it, tells the engine, and answers with a view.

Call from one thread, the event loop's. A session's commits take effect in call order; nothing in here needs a lock,
because a session is only changed between two awaits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from service.engine.requests import Advance, AdvanceResult, FinishReason, ModelIdentity, SuggestSpec
from service.errors import CarouselError, Fenced, NotFound, QuotaExceeded, RevisionConflict, Unavailable
from service.sessions.answers import Committed, PendingSuggestions
from service.sessions.checks import (
    check_complete,
    check_create,
    check_edit,
    check_id,
    check_list,
    check_score,
    check_score_ahead,
    check_set_text,
    check_suggest_text,
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
    Prompt,
    ScoreAhead,
    ScoredText,
    ScoreText,
    SessionId,
    SessionView,
    SetText,
    Suggested,
    SuggestText,
    Tenant,
    Units,
)
from service.sessions.completions import Completion, requests_of
from service.sessions.exactly_once import creation_digest, fork_digest
from service.sessions.holding import HeldSessions
from service.sessions.limits import Limits
from service.sessions.ports import Store, Suggester
from service.sessions.prompts import NOWHERE_ELSE, Prompts
from service.sessions.records import Checkpoint, KnownEdit, SessionKey, SessionPage
from service.sessions.scores import ScorePlan, plan_score, score_apart, score_at, scored_text
from service.sessions.session import FIRST_REVISION, Session

_SWEPT_AT_ONCE = 256  # sessions; some milliseconds of a store's time
_SEED_MASK = 2**53 - 1  # a seed that the server chose is one that JavaScript can say


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
        self._held = HeldSessions(self._suggesters, store, self._limits, elsewhere)
        self._prompts, self._elsewhere = Prompts(self._suggesters, self._limits, elsewhere), elsewhere

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
        view = self._view(session, command.units)
        return await Committed(view, owed=self._advance(session, command.suggest, deadline_s)).answer()

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
        session = await self._find(tenant, command.session)
        try:
            return await self._commit(session, command, deadline_s)
        except (RevisionConflict, Fenced) as error:
            if not self._store.shared:
                raise
            # Another process may have written since this one read the session: whoever asks cannot know, and need not.
            newer = await self._find_newest(tenant, command.session)
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
            owed = self._advance(session, command.suggest, deadline_s) if command.suggest else None
            view = self._view(session, command.units)
            await self._settled(session)
            return Committed(view, owed=owed)
        if isinstance(plan, KnownEdit):
            owed = self._suggest_again(session, plan, command.suggest, deadline_s)
            await self._settled(session)
            return Committed(self._view_of(session, plan), plan.edit_id, owed, replayed=True)
        fence = session.fence
        session.writing += 1
        try:
            session.apply(plan)
            owed = self._advance(session, command.suggest, deadline_s)  # computes while the store writes
            view = self._view_of(session, plan.record.known)  # names the version that computes
            await self._store.append(session.key, fence, plan.record, session.due_checkpoint())
        except BaseException as error:
            # Also when cancelled: what is held may be ahead of the store, so the next request reads it from there.
            self._held.let_go(session)
            first, session.unwritten = session.unwritten, session.unwritten or error
            if first is not None and isinstance(error, Fenced):
                # As the one before it that it was based on: if that could not be written, nobody has taken over.
                raise self._not_written(first) from error
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
        session = await self._find_newest(tenant, command.session)
        view = self._view(session, command.units, include_text=command.include_text)
        await self._settled(session)
        return view

    async def delete(self, tenant: Tenant, command: DeleteSession) -> None:
        """Forget a session and its text. Raises NotFound, Overloaded, Unavailable."""
        if self._elsewhere and await self._deleted_elsewhere(SessionKey(tenant, command.session)):
            return
        session = await self._find_newest(tenant, command.session)
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
        check_id(command)
        key = SessionKey(tenant, SessionId(self._new_id()) if command.id is None else command.id)
        creation = fork_digest(command)
        forked = None if command.id is None else await self._held.find(key)
        if forked is None:
            source = await self._find_newest(tenant, command.session)
            checkpoint = source.checkpoint_at(source.revision if command.revision is None else command.revision)
            await self._settled(source)
            incarnation = self._new_incarnation()
            forked = await self._held.begin(key, replace(checkpoint, incarnation=incarnation, creation=creation))
            if forked.fence.incarnation == incarnation and not source.closed:
                suggester = self._suggesters[source.model]
                suggester.close_path(forked.path)
                forked.stand_beside(source, suggester.fork_path(source.path))
        if forked.creation != creation:
            raise RevisionConflict(
                f"session {key.id!r} exists and is no fork of that session and revision: choose another id",
                forked.revision,
            )
        return await self._begun(forked, command.units)

    async def export(self, tenant: Tenant, command: ExportSession) -> bytes:
        """A session as a document (`documents`). Raises NotFound, Overloaded, Unavailable."""
        session = await self._find_newest(tenant, command.session)
        checkpoint = session.checkpoint()
        await self._settled(session)
        # Imported for the first document, here and below: the first keystroke does not wait for it.
        from service.sessions.documents import write_document

        return write_document(session.key.id, self._serving(session).identity, checkpoint)

    async def import_(self, tenant: Tenant, command: ImportSession) -> SessionView:
        """The session of a document, or the existing one that has grown out of it.

        Raises InvalidArgument that names the place in the document, NotFound for its model, RevisionConflict if the id
        is taken by another session, or by one that was like the document too long ago to tell, Overloaded,
        QuotaExceeded, Unavailable.
        """
        check_id(command)
        from service.sessions.documents import read_document

        document, named = read_document(command.document, self._limits)
        if command.id is None:
            check_id(replace(command, id=document.id))
        model = self._prompts.known_model(command.model or named)
        key = SessionKey(tenant, command.id or document.id)
        session = await self._held.find(key)
        if session is None:
            checkpoint = replace(document.checkpoint, incarnation=self._new_incarnation(), model=model)
            session = await self._held.begin(key, checkpoint)
        if not session.was(document.checkpoint):
            raise RevisionConflict(
                f"session {key.id!r} exists and has not grown out of this document: choose another id",
                session.revision,
            )
        return await self._begun(session, command.units)

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
        check_complete(command, self._limits)
        seed = self._new_incarnation() & _SEED_MASK if command.seed is None else command.seed
        if isinstance(command.source, Prompt):
            return self._prompts.complete(tenant, command.source, command, seed, deadline_s)
        session = await self._find_newest(tenant, command.source)
        movement = session.movement()
        requests = requests_of(command, seed, session.path, movement.text, movement.kept, deadline_s)
        suggester = self._serving(session)
        return Completion(suggester.identity, seed, session.revision, suggester.complete(requests), _nothing)

    async def score(self, tenant: Tenant, command: ScoreText, *, deadline_s: float | None = None) -> ScoredText:
        """How likely every byte of a prompt or of a session's text is; edits meanwhile do not matter.

        Raises InvalidArgument that names the field, NotFound for the session or the model, DeadlineExceeded,
        Overloaded, Unavailable. Who does not await it any more stops the work.
        """
        check_score(command, self._limits)
        if isinstance(command.source, Prompt):
            return await self._prompts.score(tenant, command.source, command, deadline_s)
        session = await self._find_newest(tenant, command.source)
        revision, suggester = session.revision, self._serving(session)
        plan = plan_score(command, session.text.content, self._limits, deadline_s)
        if plan.surprises:
            scored, surprises = await score_apart(suggester, tenant, plan)
        else:
            scored, surprises = await score_at(suggester, session.path, session.movement().kept, plan), ()
        await self._settled(session)
        return scored_text(suggester.identity, revision, plan, scored, surprises)

    async def score_ahead(self, tenant: Tenant, command: ScoreAhead, *, deadline_s: float | None = None) -> ScoredText:
        """How likely bytes are after what is left of a session's cursor. Raises as `score` does."""
        check_score_ahead(command, self._limits)
        session = await self._find_newest(tenant, command.session)
        revision, suggester, movement = session.revision, self._serving(session), session.movement()
        text = movement.text + command.appended
        plan = ScorePlan(text, len(movement.text) + command.start, deadline_s=deadline_s)
        scored = await score_at(suggester, session.path, movement.kept, plan)
        await self._settled(session)
        return scored_text(suggester.identity, revision, plan, scored)

    async def suggest(self, tenant: Tenant, command: SuggestText, *, deadline_s: float | None = None) -> AdvanceResult:
        """How a prompt goes on. Raises InvalidArgument that names the field, NotFound, Overloaded, Unavailable."""
        check_suggest_text(command, self._limits)
        return await self._prompts.suggest(tenant, command, deadline_s)

    async def close(self) -> None:
        """Give up every path and close the store. Called once, last."""
        self._held.let_go_all()
        self._prompts.close()
        await self._store.close()

    async def _begun(self, session: Session, units: Units) -> SessionView:
        """Let the engine read it, and answer."""
        self._advance(session, None, None)
        view = self._view(session, units)
        await self._settled(session)
        return view

    async def _settled(self, session: Session) -> None:
        """Wait until the revision that is about to be answered is in the store: an answer acknowledges it.

        Raises Unavailable or QuotaExceeded if it did not get there.
        """
        if session.writing:
            await self._store.settled(session.key)
        if session.unwritten is not None:
            raise self._not_written(session.unwritten)

    def _not_written(self, error: BaseException) -> CarouselError:
        if isinstance(error, Fenced):
            return Fenced(str(error))
        if isinstance(error, QuotaExceeded):
            return QuotaExceeded(str(error), error.retry_after_s)
        retry_after_s = error.retry_after_s if isinstance(error, Unavailable) else self._limits.retry_after_s
        return Unavailable("an edit that this depends on could not be stored: send both again", retry_after_s)

    async def _find_newest(self, tenant: Tenant, name: SessionId) -> Session:
        """As `_find`, and as the newest write has left it, whoever wrote: for what names no revision."""
        session = await self._held.newest(SessionKey(tenant, name))
        if session is None:
            raise NotFound("session", name)
        return session

    async def _find(self, tenant: Tenant, name: SessionId) -> Session:
        session = await self._held.find(SessionKey(tenant, name))
        if session is None:
            raise NotFound("session", name)
        return session

    def _serving(self, session: Session) -> Suggester:
        """The version of its model that answers what is asked of it now."""
        return self._suggesters[session.model].serving(session.path)

    def _advance(
        self, session: Session, suggest: SuggestSpec | None, deadline_s: float | None
    ) -> PendingSuggestions | Suggested | None:
        """Tell the engine what is left of the cursor; what is owed to a caller who asked for suggestions."""
        movement = session.movement()
        request = Advance(session.path, movement.text, movement.kept, suggest, deadline_s)
        try:
            answer = self._serving(session).advance(request)
        except CarouselError:  # the next movement makes up for this one
            return None if suggest is None else Suggested(session.revision, (), FinishReason.SHED)
        session.told(movement)
        return None if suggest is None else PendingSuggestions(self._held, session, answer)

    def _suggest_again(
        self, session: Session, known: KnownEdit, suggest: SuggestSpec | None, deadline_s: float | None
    ) -> PendingSuggestions | Suggested | None:
        if suggest is None:
            return None
        if known.revision != session.revision:
            return Suggested(known.revision, (), FinishReason.SUPERSEDED)
        return self._advance(session, suggest, deadline_s)

    def _view(self, session: Session, units: Units, *, include_text: bool = False) -> SessionView:
        text = session.text
        return SessionView(
            id=session.key.id,
            revision=session.revision,
            length=text.extent.count_in(units),
            cursor=text.left_extent.count_in(units),
            model=self._serving(session).identity,
            text=text.content if include_text else None,
            stored=self._store.durable(session.key),
        )

    def _view_of(self, session: Session, known: KnownEdit) -> SessionView:
        identity = self._serving(session).identity
        return SessionView(session.key.id, known.revision, known.length, known.cursor, identity)


def _nothing(_told: bool) -> None:
    """A session's path stays open when a completion is closed."""
