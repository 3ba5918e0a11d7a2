"""A session: its text, cursor and revision, what makes its retries safe, and what its engine was told.

Knows the rules and nothing else: no store, no engine, no waiting. Planning raises and changes nothing; applying a plan
cannot fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from service.engine.requests import PathId
from service.errors import InvalidArgument, RevisionConflict
from service.sessions.accepts import OfferedSuggestions
from service.sessions.commands import Accept, EditSession, Insert, SetText, UndoTo, Units
from service.sessions.differences import common_prefix, difference
from service.sessions.edits import field_of, offset_of, splice_of
from service.sessions.exactly_once import KnownEdits, edit_digest
from service.sessions.history import History, undo
from service.sessions.limits import Limits
from service.sessions.records import Checkpoint, EditRecord, Fence, KnownEdit, SessionKey, Splice, StoredSession
from service.sessions.resting import Resting
from service.sessions.text import Text, kept_left

FIRST_REVISION = 1
"""Not 0, which is what a client that forgot the field sends over protobuf."""


class EditPlan(NamedTuple):
    """What a request with edits will do: the record to keep and the text that it makes."""

    record: EditRecord
    text: Text


class Movement(NamedTuple):
    """What the engine has to be told: all of the text left of the cursor, and how many of its bytes it knows."""

    text: bytes
    kept: int


class Session:
    """One session. `path` is its place in the engine of `model`; all else can be rebuilt from the store's records.

    fence: what the next write to the store is based on.  writing: how many writes are under way: it must not rest then.
    unwritten: why a write of it failed, after which it is let go, as it is ahead of the store.
    saved: how many code points left of the cursor the snapshot in the store is of, 0 if there is none of this text.
    saved_under: the digest of the model that it is of, if that is known.
    looked_at: the revision at which `snapshotting` has looked at it last.
    """

    __slots__ = (
        "_bytes_since_checkpoint",
        "_commits_since_checkpoint",
        "_history",
        "_kept",
        "_known",
        "_limits",
        "_text",
        "_told",
        "closed",
        "creation",
        "fence",
        "key",
        "looked_at",
        "model",
        "path",
        "saved",
        "saved_under",
        "store_text",
        "suggestions",
        "unwritten",
        "writing",
    )

    def __init__(self, key: SessionKey, checkpoint: Checkpoint, path: PathId, limits: Limits) -> None:
        self.key = key
        self.model = checkpoint.model
        self.creation = checkpoint.creation
        self.store_text = checkpoint.store_text
        self.path = path
        self.closed = False
        self.writing = 0
        self.unwritten: BaseException | None = None
        self.saved = self.looked_at = 0
        self.saved_under: str | None = None
        self.fence = Fence(checkpoint.incarnation, checkpoint.revision)
        self.suggestions = OfferedSuggestions()
        self._limits = limits
        self._text = Text.of(checkpoint.text, checkpoint.cursor)
        self._known = KnownEdits(limits.known_edits, checkpoint.known_edits)
        self._history = History(limits.history_revisions, limits.history_bytes)
        for record in checkpoint.history:
            self._history.append(record)
        self._commits_since_checkpoint = 0
        self._bytes_since_checkpoint = 0
        self._told = b""  # what the engine was told, unless that is ASCII, which is encoded again as fast as copied
        self._kept = 0  # code points left of the cursor that have not changed since the engine was told

    @classmethod
    def restore(
        cls, key: SessionKey, stored: StoredSession, path: PathId, limits: Limits, resting: Resting | None = None
    ) -> Session:
        """The session as its last commit left it, and if it has only rested since then, as it was put to rest."""
        session = cls(key, stored.checkpoint, path, limits)
        for record in stored.records:
            text = session._text
            for splice in record.splices:
                text = text.after(splice)
            session.apply(EditPlan(record, text))
        if resting is not None:
            session._kept, session.saved = resting.kept, resting.saved
            session.suggestions = OfferedSuggestions(resting.fence.revision, resting.offered)
        return session

    def resting(self) -> Resting:
        """What has to be held of it beside the store's records to go on as if it had never rested."""
        return Resting(self.path, self.model, self.fence, self._kept, self.suggestions.texts, self.saved)

    @property
    def revision(self) -> int:
        """Counts the committed requests with edits."""
        return self.fence.revision

    @property
    def edits_held(self) -> int:
        """How many edits it could undo: what it costs to put it to rest."""
        return len(self._history)

    @property
    def text(self) -> Text:
        """The text and its cursor."""
        return self._text

    def checkpoint(self) -> Checkpoint:
        """Everything that a store needs to bring the session back."""
        return Checkpoint(
            incarnation=self.fence.incarnation,
            revision=self.fence.revision,
            model=self.model,
            creation=self.creation,
            text=self._text.content,
            cursor=self._text.cursor,
            known_edits=tuple(self._known),
            history=tuple(self._history),
            store_text=self.store_text,
        )

    def checkpoint_at(self, revision: int) -> Checkpoint:
        """As `checkpoint`, of an earlier revision, without its known edits.

        Raises InvalidArgument (`revision`) for one that cannot be gone back to.
        """
        splice = self._undo(revision, self._text, (), "revision")
        text = self._text.after(splice)
        return replace(
            self.checkpoint(),
            revision=revision,
            text=text.content,
            cursor=text.cursor,
            known_edits=(),
            history=tuple(record for record in self._history if record.revision <= revision),
        )

    def was(self, checkpoint: Checkpoint) -> bool:
        """Whether this session, at the checkpoint's revision, was as it says; False if that is too long ago to tell."""
        current = self.fence.revision
        if self.creation != checkpoint.creation or not self._history.reaches(current) <= checkpoint.revision <= current:
            return False
        then = self._text.after(undo(self._text, self._history.back_to(checkpoint.revision)))
        return then.content == checkpoint.text and then.cursor == checkpoint.cursor

    def due_checkpoint(self) -> Checkpoint | None:
        """A checkpoint if enough was committed since the last one that the store should get a new one; else None."""
        limits = self._limits
        if (
            self._commits_since_checkpoint < limits.checkpoint_every
            and self._bytes_since_checkpoint <= limits.history_bytes
        ):
            return None
        self._commits_since_checkpoint = self._bytes_since_checkpoint = 0
        return self.checkpoint()

    def plan(self, command: EditSession | SetText, new_edit_id: Callable[[], str]) -> EditPlan | KnownEdit | None:
        """What `command` will do, or what it was answered if its edit id is known; None if there is nothing to do.

        Changes nothing. Raises RevisionConflict, or InvalidArgument that names the field.
        """
        digest = edit_digest(command)
        edit_id, revision = command.edit_id, self.fence.revision
        if edit_id is not None:
            known = self._known.recall(edit_id, digest, revision)
            if known is not None:
                return known
        self._check_revision(command.revision)
        text, splices = self._differences(command) if isinstance(command, SetText) else self._splices(command)
        if not splices:
            return None
        length, cursor = text.extent.count_in(command.units), text.left_extent.count_in(command.units)
        known = KnownEdit(new_edit_id() if edit_id is None else edit_id, digest, revision + 1, length, cursor)
        return EditPlan(EditRecord(known, tuple(splices)), text)

    def apply(self, plan: EditPlan) -> None:
        """Make the plan the newest revision. It was made from the current one."""
        record = plan.record
        for splice in record.splices:
            kept = kept_left(splice)
            self._kept = min(self._kept, kept)
            if kept < self.saved:
                self.saved = 0
        self._text = plan.text
        self.fence = Fence(self.fence.incarnation, record.revision)
        self._known.add(record.known)
        self._commits_since_checkpoint += 1
        self._bytes_since_checkpoint += self._history.append(record)
        self.suggestions.forget()

    def movement(self) -> Movement:
        """What the engine has to be told now. Costs a copy of the text and the encoding of what changed."""
        left = self._text.left
        if left.isascii():
            return Movement(left.encode(), self._kept)
        changed = left[self._kept :].encode()
        kept = self._text.left_extent.utf8 - len(changed)
        before = self._told if len(self._told) >= kept else left[: self._kept].encode()
        return Movement(before[:kept] + changed, kept)

    def told(self, movement: Movement) -> None:
        """The engine has taken `movement`."""
        self._told = b"" if self._text.left.isascii() else movement.text
        self._kept = self._text.cursor

    def knows(self, characters: int) -> None:
        """The engine stands where so many code points left of the cursor have been told, by whatever way."""
        self._kept = characters

    def stand_beside(self, other: Session, path: PathId) -> None:
        """Go on from `path`, which was forked from that of `other`: the engine knows what both texts begin with."""
        self.path = path
        self._kept = min(other._kept, common_prefix(other._text.left, self._text.left))
        self._told = other._told

    def _check_revision(self, base: int) -> None:
        current = self.fence.revision
        if base != current:
            raise RevisionConflict(
                f"the request is based on revision {base}, the session is at {current}: "
                "read it and send the edits anew",
                current,
            )

    def _splices(self, command: EditSession) -> tuple[Text, list[Splice]]:
        text = self._text
        splices: list[Splice] = []
        for index, edit in enumerate(command.edits):
            path = f"edits[{index}]"
            match edit:
                case UndoTo(revision):
                    splice = self._undo(revision, text, splices, f"{path}.undo_to")
                case Accept():
                    inserted = self.suggestions.accept(edit, self.revision, command.units, f"{path}.accept")
                    splice = splice_of(Insert(inserted), text, Units.CODEPOINT, path)
                case _:
                    splice = splice_of(edit, text, command.units, path)
            text = text.after(splice)
            if splice.inserted and text.extent.utf8 > self._limits.max_text_bytes:
                raise InvalidArgument(
                    field_of(edit, path),
                    f"brings the session to {text.extent.utf8} bytes; it holds at most {self._limits.max_text_bytes}: "
                    "delete from its start, or create a new session",
                )
            splices.append(splice)
        return text, splices

    def _differences(self, command: SetText) -> tuple[Text, list[Splice]]:
        text = self._text
        splices: list[Splice] = []
        splice = difference(text, command.text)
        if splice is not None:
            text = text.after(splice)
            splices.append(splice)
        if command.cursor is not None:
            target = offset_of(command.cursor, text, command.units, "cursor")
            if target != text.cursor:
                splices.append(Splice(target, "", "", text.cursor, target))
                text = text.after(splices[-1])
        return text, splices

    def _undo(self, revision: int, text: Text, done: Sequence[Splice], field: str) -> Splice:
        current = self.fence.revision
        oldest = self._history.reaches(current)
        if not oldest <= revision <= current:
            raise InvalidArgument(
                field, f"revision {revision} cannot be restored: {oldest} is the oldest and {current} the newest"
            )
        return undo(text, (*reversed(done), *self._history.back_to(revision)))
