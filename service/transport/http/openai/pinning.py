"""`x-carousel-session`: a prompt set into a session, so that what follows it is an edit of that session.

The header names a session of the caller's, which begins with the first prompt that names it. Each later prompt becomes
its text: the server finds what differs, and the session has one revision more. So a prompt that goes back to what it
was costs no step, its states are kept as a session's are, and the native facades show and undo what was set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from service.errors import Fenced, InvalidArgument, NotFound, RevisionConflict
from service.sessions.commands import CreateSession, GetSession, SessionId, SessionView, SetText, Tenant
from service.sessions.service import Sessions

SESSION_HEADER: Final = "x-carousel-session"
REVISION_HEADER: Final = "x-carousel-revision"

_ATTEMPTS: Final = 3  # another request may set the same session's text between our reading and our writing


@dataclass(frozen=True, slots=True)
class Pinned:
    """A session whose text is the prompt."""

    session: SessionId
    revision: int

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says of it."""
        return {SESSION_HEADER: self.session, REVISION_HEADER: str(self.revision)}


async def pin(sessions: Sessions, tenant: Tenant, session: SessionId, text: str, model: str | None) -> Pinned:
    """Make `text` the text of the session, which begins if there is none; the cursor is at its end.

    Raises InvalidArgument (`x-carousel-session`, `model`, or what the text's size is refused for), NotFound for an
    unknown model, RevisionConflict or Fenced if others keep on writing to it, Unavailable.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            view = await _set(sessions, tenant, session, text, model)
        except (RevisionConflict, Fenced):
            if attempt == _ATTEMPTS:
                raise
        else:
            return Pinned(session, view.revision)
    raise AssertionError("the last attempt returns or raises")


async def _set(sessions: Sessions, tenant: Tenant, session: SessionId, text: str, model: str | None) -> SessionView:
    try:
        view = await sessions.get(tenant, GetSession(session))
    except NotFound:
        return await _begin(sessions, tenant, session, text, model)
    if model is not None and model != view.model.name:
        fault = f"the session was begun with {view.model.name!r}: leave the model out, or name another session"
        raise InvalidArgument("model", fault)
    return await sessions.set_text(tenant, SetText(session, view.revision, text, cursor=len(text)))


async def _begin(sessions: Sessions, tenant: Tenant, session: SessionId, text: str, model: str | None) -> SessionView:
    try:
        return await sessions.create(tenant, CreateSession(text, session, model))
    except InvalidArgument as error:
        if error.field == "id":
            raise InvalidArgument(SESSION_HEADER, "must be 1 to 128 of A-Z a-z 0-9 . _ -") from None
        raise
