"""A text that grows by pieces of bytes, and may end inside a character: a session underneath, which survives as much.

A session's text is whole characters. The one to three bytes of a character that is not finished yet stand right of the
cursor, where the model does not read: one private character for each byte. So the text and what is pending change in
one commit, and a restart, another replica or an export finds both.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

from service.engine.requests import FinishReason, ModelIdentity, SuggestSpec
from service.errors import Fenced, InvalidArgument, NotFound, RevisionConflict, Unavailable
from service.sessions.commands import (
    CreateSession,
    DeleteSession,
    Edit,
    EditSession,
    GetSession,
    Insert,
    MoveCursor,
    Prompt,
    Replace,
    ScoreAhead,
    ScoredText,
    ScoreText,
    SessionId,
    SessionView,
    SuggestText,
    Tenant,
)
from service.sessions.commands import Suggestion as Offered
from service.sessions.service import Sessions

_PENDING_BYTE = 0xEF00
"""Byte b is the character U+EF00 + b. Bytes that are pending are above 7F: the private characters U+EF80 to U+EFFF."""
_TRIES = 4  # against writers of other facades and replicas; each of their writes lets one of two through
_RETRY_AFTER_S = 0.1


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be told of the text with the piece in it.

    score: what comes next, and with `likelihood` how likely the piece itself is.  deadline_s: on the engine's clock.
    """

    score: bool = True
    likelihood: bool = True
    suggest: SuggestSpec | None = None
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Suggestion:
    """How the text goes on; empty, with the reason in `finish`, if that came too late."""

    text: str
    finish: FinishReason


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What was asked for. scored: of what comes after the piece, and of the piece.  suggestion: None in a character."""

    model: ModelIdentity
    scored: ScoredText | None = None
    suggestion: Suggestion | None = None


class GrowingTexts:
    """Texts by session, each only appended to. Requests of one text must come one after the other.

    Everything that can be refused or be late is so before anything is appended: after an error the same piece may be
    sent again. Raises InvalidArgument (`text`) for bytes that are no UTF-8, and whatever `Sessions` raises.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def read(self, tenant: Tenant, model: str, text: bytes, asked: Asked) -> Told:
        """Of a text that is not kept."""
        _, pending = whole_characters(text)
        scored = await self._score(tenant, Prompt(text, model), asked)
        suggestion = None
        if asked.suggest is not None and not pending:
            command = SuggestText(Prompt(text.decode(), model), asked.suggest)
            suggested = await self._sessions.suggest(tenant, command, deadline_s=asked.deadline_s)
            best = [Suggestion(one.text.decode(), one.finish) for one in suggested.continuations[:1]]
            suggestion = best[0] if best else Suggestion("", suggested.finish or FinishReason.END)
        return Told(self._sessions.model(model), scored, suggestion)

    async def begin(self, tenant: Tenant, session: SessionId, model: str, piece: bytes, asked: Asked) -> Told:
        """Of a new text, in the place of the one that the session held until now."""
        text, pending = whole_characters(piece)
        scored = await self._score(tenant, Prompt(piece, model), asked)
        for _ in range(_TRIES):
            await self.forget(tenant, session)
            try:
                suggest = None if pending else asked.suggest
                create = CreateSession(text, session, model, suggest)
                view = await self._sessions.create(tenant, create, deadline_s=asked.deadline_s)
                if pending:
                    await self._commit(tenant, view, _appended(view, "", "", pending), None, asked)
                if scored is not None and scored.model != view.model:  # another version has begun to serve meanwhile
                    scored = await self._score(tenant, Prompt(piece, f"{model}@{view.model.digest}"), asked)
                return Told(view.model, scored, _suggestion(view.suggestions, view.finish_reason))
            except (RevisionConflict, Fenced):  # somebody else has begun it, too
                continue
            except NotFound as error:  # or ended it
                if error.kind != "session":
                    raise
        raise _contended(session)

    async def append(
        self,
        tenant: Tenant,
        session: SessionId,
        piece: bytes,
        asked: Asked,
        *,
        whole: bool,
        last: bool,
        only: ModelIdentity | None = None,
    ) -> Told | None:
        """Of the session's text and the piece; None if there is no such session.

        whole: the piece is not to begin inside a character.  last: the session is forgotten then.  only: the version
        of the model that is to answer; if the session is with another one, that is InvalidArgument (`model`).
        """
        for _ in range(_TRIES):
            found = await self._find(tenant, session)
            if found is None:
                return None
            if len(piece) > self._sessions.limits.max_inserted_bytes:
                most = self._sessions.limits.max_inserted_bytes
                raise InvalidArgument("text", f"{len(piece)} bytes are more than {most}: send them in several pieces")
            view, before = found
            if only is not None and view.model != only:
                raise InvalidArgument(
                    "model", f"the text is with another version, {view.model.digest}: name that one, or none"
                )
            if whole and before:
                raise InvalidArgument(
                    "text", f"the text ends inside a character, after {before!r}: send its last bytes"
                )
            text, after = whole_characters(before + piece)
            start = len(before) + (0 if asked.likelihood else len(piece))
            scored = await self._score(tenant, ScoreAhead(session, before + piece, start), asked)
            if scored is not None and scored.revision != view.revision:
                continue
            suggest = None if after else asked.suggest
            try:
                suggestion = None
                if suggest is not None or not last:
                    edits = _appended(view, _private(before), text, after) if piece else ()
                    suggestion = await self._commit(tenant, view, edits, suggest, asked)
            except (RevisionConflict, Fenced):
                continue
            if last:
                await self.forget(tenant, session)
            return Told(view.model, scored, suggestion)
        raise _contended(session)

    async def forget(self, tenant: Tenant, session: SessionId) -> None:
        """Give the text up; nothing happens if there is none."""
        try:
            await self._sessions.delete(tenant, DeleteSession(session))
        except NotFound:
            return

    async def _score(self, tenant: Tenant, what: Prompt | ScoreAhead, asked: Asked) -> ScoredText | None:
        if not asked.score:
            return None
        if isinstance(what, Prompt):
            command = ScoreText(what, start=0 if asked.likelihood else len(what.data))
            return await self._sessions.score(tenant, command, deadline_s=asked.deadline_s)
        return await self._sessions.score_ahead(tenant, what, deadline_s=asked.deadline_s)

    async def _commit(
        self, tenant: Tenant, view: SessionView, edits: tuple[Edit, ...], suggest: SuggestSpec | None, asked: Asked
    ) -> Suggestion | None:
        command = EditSession(view.id, view.revision, edits, suggest=suggest)
        edited = await self._sessions.edit(tenant, command, deadline_s=asked.deadline_s)
        return _suggestion(edited.suggestions, edited.finish_reason)

    async def _find(self, tenant: Tenant, session: SessionId) -> tuple[SessionView, bytes] | None:
        """The session, and the bytes of a character that is not finished; None if there is none."""
        try:
            view = await self._sessions.get(tenant, GetSession(session))
            if view.cursor == view.length:
                return view, b""
            view = await self._sessions.get(tenant, GetSession(session, include_text=True))
        except NotFound as error:
            if error.kind == "session":
                return None
            raise
        return view, _bytes_of((view.text or "")[view.cursor :])


def whole_characters(data: bytes) -> tuple[str, bytes]:
    """The characters of `data`, and the bytes at its end that begin another one.

    Raises InvalidArgument for what can be no part of UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(data)
    except UnicodeDecodeError as error:
        at, byte = error.start, data[error.start]
        raise InvalidArgument(
            "text", f"byte {at} of the piece (0x{byte:02X}) is no UTF-8: a text is whole characters"
        ) from None
    return text, decoder.getstate()[0]


def _appended(view: SessionView, old: str, text: str, pending: bytes) -> tuple[Edit, ...]:
    """The edits that put `text` before the cursor, and `pending` after it in the place of `old`."""
    new = _private(pending)
    if not old and not new:
        return (Insert(text),)
    put = Replace(view.cursor, view.cursor + len(old), text + new)
    return (put, MoveCursor(view.cursor + len(text))) if new else (put,)


def _private(pending: bytes) -> str:
    return "".join(chr(_PENDING_BYTE + byte) for byte in pending)


def _bytes_of(right: str) -> bytes:
    """What is pending; nothing if somebody else has put something else there."""
    if all(0x80 <= ord(character) - _PENDING_BYTE <= 0xFF for character in right):
        return bytes(ord(character) - _PENDING_BYTE for character in right)
    return b""


def _suggestion(found: Sequence[Offered] | None, finish: FinishReason | None) -> Suggestion | None:
    if found is None:
        return None
    if not found:
        return Suggestion("", finish or FinishReason.END)
    return Suggestion(found[0].text, found[0].finish_reason)


def _contended(session: SessionId) -> Unavailable:
    return Unavailable(f"others are writing to {session!r} at the same time: try again", _RETRY_AFTER_S)
