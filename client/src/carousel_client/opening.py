"""How a session comes to a client: created, attached to, forked from another or imported; and which there are."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from carousel_client.answers import Answer
from carousel_client.edits import Units
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.messages import (
    Call,
    answer_of_session,
    create_call,
    get_call,
    number,
    text_field,
    units_field,
)
from carousel_client.session_state import FIRST_REVISION, SessionState, Steps


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """What a list tells of a session. written_s: its last write, seconds since 1970."""

    id: str
    revision: int
    model: str
    text_bytes: int
    written_s: int


@dataclass(frozen=True, slots=True)
class SessionsPart:
    """A part of the list of sessions, by id; `after` asks for the next one, and is empty if this is the last."""

    sessions: tuple[SessionSummary, ...]
    after: str


def creating(
    id_: str | None, text: str, model: str | None, units: Units, *, recreate: bool, store_text: bool
) -> Steps[SessionState]:
    """Create a session, or find the one that was created with this id, text and model."""
    answer: Answer = yield create_call(id_ or secrets.token_hex(16), text, model, units, store_text=store_text)
    if recreate and answer.revision != FIRST_REVISION:  # it was edited since: its text is another one
        return (yield from attaching(answer.session_id, units, recreate=True))
    return SessionState(answer, units, text if recreate else None, store_text=store_text)


def attaching(id_: str, units: Units, *, recreate: bool) -> Steps[SessionState]:
    """An existing session; its text is read only if it may have to be made anew."""
    answer, text = yield get_call(id_, units, include_text=recreate)
    return SessionState(answer, units, text if recreate else None, store_text=answer.stored is not False)


def forking(session: SessionState, id_: str | None, revision: int | None) -> Steps[SessionState]:
    """Another session of the same text and history, which lives on by itself."""
    new = id_ or secrets.token_hex(16)
    answer: Answer = yield from session.about(_fork_call(session, new, revision))
    if session.recreates:
        return (yield from attaching(answer.session_id, session.units, recreate=True))
    return SessionState(answer, session.units, store_text=answer.stored is not False)


def importing(
    document: bytes, id_: str | None, model: str | None, units: Units, *, recreate: bool
) -> Steps[SessionState]:
    """A session from what another one was exported as."""
    request = pb.ImportSessionRequest(
        document=document,
        id=text_field(id_ or "", "id"),
        model=text_field(model or "", "model"),
        units=units_field(units),
    )
    answer: Answer = yield Call("ImportSession", request, answer_of_session, id_ or "")
    if recreate:
        return (yield from attaching(answer.session_id, units, recreate=True))
    return SessionState(answer, units, store_text=answer.stored is not False)


def export_call(session_id: str) -> Call[bytes]:
    """A session as a document that can be imported anywhere."""
    request = pb.ExportSessionRequest(session_id=text_field(session_id, "session_id"))
    return Call("ExportSession", request, lambda response: bytes(response.document), session_id)


def list_call(after: str, part: int) -> Call[SessionsPart]:
    """The sessions that come after an id, at most `part` of them."""
    request = pb.ListSessionsRequest(after=text_field(after, "after"), limit=number(part, "limit", 2**32 - 1))
    return Call("ListSessions", request, _part)


def _fork_call(session: SessionState, new: str, revision: int | None) -> Callable[[], Call[Answer]]:
    request = pb.ForkSessionRequest(
        session_id=text_field(session.id, "session_id"), id=text_field(new, "id"), units=units_field(session.units)
    )
    if revision is not None:
        request.revision = number(revision, "revision")
    return lambda: Call("ForkSession", request, answer_of_session, session.id)


def _part(response: pb.ListSessionsResponse) -> SessionsPart:
    sessions = tuple(
        SessionSummary(one.id, one.revision, one.model, one.text_bytes, one.written_s) for one in response.sessions
    )
    return SessionsPart(sessions, response.after)
