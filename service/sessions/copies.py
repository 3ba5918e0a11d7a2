"""Sessions that are made of others: forks, and what was exported and is imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from service.errors import RevisionConflict
from service.sessions.at_work import AtWork
from service.sessions.checks import check_id
from service.sessions.commands import ExportSession, ForkSession, ImportSession, SessionId, SessionView, Tenant
from service.sessions.exactly_once import fork_digest
from service.sessions.prompts import Prompts
from service.sessions.records import SessionKey


class Copies:
    """new_id, new_incarnation: as of `Sessions`."""

    def __init__(
        self, at_work: AtWork, prompts: Prompts, new_id: Callable[[], str], new_incarnation: Callable[[], int]
    ) -> None:
        self._at_work, self._prompts = at_work, prompts
        self._new_id, self._new_incarnation = new_id, new_incarnation

    async def fork(self, tenant: Tenant, command: ForkSession) -> SessionView:
        """As `Sessions.fork`."""
        check_id(command)
        key = SessionKey(tenant, SessionId(self._new_id()) if command.id is None else command.id)
        creation = fork_digest(command)
        forked = None if command.id is None else await self._at_work.held.find(key)
        if forked is None:
            source = await self._at_work.find_newest(tenant, command.session)
            checkpoint = source.checkpoint_at(source.revision if command.revision is None else command.revision)
            await self._at_work.settled(source)
            incarnation = self._new_incarnation()
            forked = await self._at_work.held.begin(
                key, replace(checkpoint, incarnation=incarnation, creation=creation)
            )
            if forked.fence.incarnation == incarnation and not source.closed:
                suggester = self._at_work.suggesters[source.model]
                suggester.close_path(forked.path)
                forked.stand_beside(source, suggester.fork_path(source.path))
        if forked.creation != creation:
            raise RevisionConflict(
                f"session {key.id!r} exists and is no fork of that session and revision: choose another id",
                forked.revision,
            )
        return await self._at_work.begun(forked, command.units)

    async def export(self, tenant: Tenant, command: ExportSession) -> bytes:
        """As `Sessions.export`."""
        session = await self._at_work.find_newest(tenant, command.session)
        checkpoint = session.checkpoint()
        await self._at_work.settled(session)
        # Imported for the first document, here and below: the first keystroke does not wait for it.
        from service.sessions.documents import write_document

        return write_document(session.key.id, self._at_work.serving(session).identity, checkpoint)

    async def import_(self, tenant: Tenant, command: ImportSession) -> SessionView:
        """As `Sessions.import_`."""
        check_id(command)
        from service.sessions.documents import read_document

        document, named = read_document(command.document, self._at_work.limits)
        if command.id is None:
            check_id(replace(command, id=document.id))
        model = self._prompts.known_model(command.model or named)
        key = SessionKey(tenant, command.id or document.id)
        session = await self._at_work.held.find(key)
        if session is None:
            checkpoint = replace(document.checkpoint, incarnation=self._new_incarnation(), model=model)
            session = await self._at_work.held.begin(key, checkpoint)
        if not session.was(document.checkpoint):
            raise RevisionConflict(
                f"session {key.id!r} exists and has not grown out of this document: choose another id",
                session.revision,
            )
        return await self._at_work.begun(session, command.units)
