"""Sessions with fakes around them, and a way to run them without any event loop."""

from __future__ import annotations

from collections.abc import Coroutine
from itertools import count
from typing import Any, TypeVar

from service.engine.requests import SuggestSpec
from service.sessions.answers import Committed
from service.sessions.commands import (
    CreateSession,
    DeleteSession,
    Edit,
    EditSession,
    GetSession,
    SessionId,
    SessionView,
    Tenant,
    Units,
)
from service.sessions.fake_suggester import FakeSuggester
from service.sessions.limits import Limits
from service.sessions.ports import Store
from service.sessions.service import Sessions
from service.sessions.stores.memory import MemoryStore

TENANT = Tenant("default")

T = TypeVar("T")


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits, as none does over fakes and memory."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    raise AssertionError("it waited")


class Room:
    """`Sessions` over a fake engine and a store, with a shorthand for every command."""

    def __init__(self, limits: Limits | None = None, store: Store | None = None, models: int = 2) -> None:
        ids, incarnations = count(1), count(1)
        self.suggester = FakeSuggester("first")
        self.other_suggester = FakeSuggester("second", digest="1" * 64)
        self.store = MemoryStore() if store is None else store
        self.newest = SessionId("")  # the session that was created last
        self.sessions = Sessions(
            dict([("first", self.suggester), ("second", self.other_suggester)][:models]),
            self.store,
            new_id=lambda: f"made-{next(ids)}",
            new_incarnation=lambda: next(incarnations),
            limits=limits,
        )

    def create(
        self,
        text: str = "",
        session: str | None = None,
        *,
        model: str | None = None,
        suggest: SuggestSpec | None = None,
        units: Units = Units.CODEPOINT,
        tenant: Tenant = TENANT,
    ) -> SessionView:
        chosen = None if session is None else SessionId(session)
        view = now(self.sessions.create(tenant, CreateSession(text, chosen, model, suggest, units)))
        self.newest = view.id
        return view

    def commit(
        self,
        session: SessionId,
        revision: int,
        *edits: Edit,
        edit_id: str | None = None,
        units: Units = Units.CODEPOINT,
        suggest: SuggestSpec | None = None,
        tenant: Tenant = TENANT,
    ) -> Committed:
        return now(self.sessions.commit(tenant, EditSession(session, revision, edits, edit_id, units, suggest)))

    def edit(
        self,
        session: SessionId,
        revision: int,
        *edits: Edit,
        edit_id: str | None = None,
        units: Units = Units.CODEPOINT,
        suggest: SuggestSpec | None = None,
        tenant: Tenant = TENANT,
    ) -> SessionView:
        return now(self.sessions.edit(tenant, EditSession(session, revision, edits, edit_id, units, suggest)))

    def get(
        self, session: SessionId, *, text: bool = True, units: Units = Units.CODEPOINT, tenant: Tenant = TENANT
    ) -> SessionView:
        return now(self.sessions.get(tenant, GetSession(session, text, units)))

    def text(self, session: SessionId) -> str:
        text = self.get(session).text
        assert text is not None
        return text

    def delete(self, session: SessionId, tenant: Tenant = TENANT) -> None:
        now(self.sessions.delete(tenant, DeleteSession(session)))

    def close(self) -> None:
        now(self.sessions.close())

    def told(self) -> list[str]:
        """What the engine of the first model was told last, per open path."""
        return [text.decode() for text in self.suggester.paths.values()]
