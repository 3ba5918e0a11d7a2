"""The text on the screen and the suggestions after its cursor: from keys and events to a state, without a terminal.

A key is planned (a `Change`: what to send, and what it does here), sent, and then applied, so that the text shows at
once what the server will have. Suggestions that the typed text agrees with stay while the next ones are on their way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from carousel_client import Accept, Delete, Edit, Insert, MoveCursor, Replace, Suggestion, UndoTo
from service.terminal.words import first_word, length_after, length_before

_HISTORY = 1000  # revisions, as many as a server keeps


@dataclass(frozen=True, slots=True)
class Ghost:
    """A continuation that can be accepted; `id` is None once a part of it was typed and only the rest is shown."""

    text: str
    probability: float
    id: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """What one key does: `edit` goes to the server; [start, end) becomes `inserted`, then the cursor is at `cursor`."""

    edit: Edit
    start: int
    end: int
    inserted: str
    cursor: int
    undoes: bool = False


@dataclass(frozen=True, slots=True)
class _Done:
    """The way back from a change: the revision, cursor and text that it found."""

    revision: int
    cursor: int
    start: int
    end: int
    removed: str


class Editor:
    """The state of the screen. Plans change nothing; `apply` and `suggested` do. Belongs to one thread."""

    def __init__(self, text: str, cursor: int, revision: int) -> None:
        self.text, self.cursor, self.revision = text, cursor, revision
        self.ghosts: tuple[Ghost, ...] = ()
        self.chosen = 0
        self._done: deque[_Done] = deque(maxlen=_HISTORY)

    @property
    def ghost(self) -> Ghost | None:
        """The continuation that is shown in grey."""
        return self.ghosts[self.chosen] if self.ghosts else None

    @property
    def at_end(self) -> bool:
        """Whether the cursor is at the end of the text, where arrows work on suggestions."""
        return self.cursor == len(self.text)

    # --- keys ---------------------------------------------------------------------------------------------------------

    def type(self, text: str) -> Change | None:
        """Put text at the cursor."""
        return self._insert(Insert(text), text) if text else None

    def backspace(self) -> Change | None:
        """Remove the character before the cursor, as it is seen."""
        length = length_before(self.text, self.cursor)
        start = self.cursor - length
        return Change(Delete(length), start, self.cursor, "", start) if length else None

    def delete(self) -> Change | None:
        """Remove the character after the cursor, as it is seen."""
        end = self.cursor + length_after(self.text, self.cursor)
        if end == self.cursor:
            return None
        return Change(Replace(self.cursor, end, ""), self.cursor, end, "", self.cursor)

    def accept(self) -> Change | None:
        """Take the whole of the continuation that is shown."""
        ghost = self.ghost
        if ghost is None:
            return None
        return self._insert(Insert(ghost.text) if ghost.id is None else Accept(ghost.id), ghost.text)

    def accept_word(self) -> Change | None:
        """Take the next word of the continuation that is shown."""
        ghost = self.ghost
        if ghost is None:
            return None
        word = first_word(ghost.text)
        return self._insert(Insert(word) if ghost.id is None else Accept(ghost.id, len(word)), word)

    def undo(self) -> Change | None:
        """Take the last change of the text back."""
        if not self._done:
            return None
        done = self._done[-1]
        return Change(UndoTo(done.revision), done.start, done.end, done.removed, done.cursor, undoes=True)

    def left(self) -> Change | None:
        """Move over the character before the cursor."""
        return self._move(self.cursor - length_before(self.text, self.cursor))

    def right(self) -> Change | None:
        """Move over the character after the cursor."""
        return self._move(self.cursor + length_after(self.text, self.cursor))

    def up(self) -> Change | None:
        """Move to the line above, in the same column or at its end."""
        start = self._line_start(self.cursor)
        if start == 0:
            return self._move(0)
        above = self._line_start(start - 1)
        return self._move(min(above + self.cursor - start, start - 1))

    def down(self) -> Change | None:
        """Move to the line below, in the same column or at its end."""
        below = self._line_end(self.cursor) + 1
        if below > len(self.text):
            return self._move(len(self.text))
        return self._move(min(below + self.cursor - self._line_start(self.cursor), self._line_end(below)))

    def home(self) -> Change | None:
        """Move to the start of the line."""
        return self._move(self._line_start(self.cursor))

    def end(self) -> Change | None:
        """Move to the end of the line."""
        return self._move(self._line_end(self.cursor))

    def text_end(self) -> Change | None:
        """Move to the end of the text."""
        return self._move(len(self.text))

    def choose(self, step: int) -> None:
        """Show another of the continuations."""
        if self.ghosts:
            self.chosen = (self.chosen + step) % len(self.ghosts)

    # --- what becomes of them -----------------------------------------------------------------------------------------

    def apply(self, change: Change) -> None:
        """The change was sent: it is the text now."""
        if change.undoes:
            self._done.pop()
        elif change.start != change.end or change.inserted:
            removed = self.text[change.start : change.end]
            end = change.start + len(change.inserted)
            self._done.append(_Done(self.revision, self.cursor, change.start, end, removed))
        typed_on = change.start == change.end == self.cursor and not change.undoes
        self._keep_ghosts(change.inserted if typed_on else "")
        self.text = self.text[: change.start] + change.inserted + self.text[change.end :]
        self.cursor = change.cursor
        self.revision += 1

    def begin_anew(self, revision: int) -> None:
        """The same text is in a new session, at `revision`: nothing can be undone, and what was suggested is gone."""
        self.revision = revision
        self._done.clear()
        self.ghosts = tuple(replace(ghost, id=None) for ghost in self.ghosts)

    def suggested(self, revision: int, suggestions: Sequence[Suggestion]) -> bool:
        """Suggestions came; False, and nothing changes, if they are for another revision than this."""
        if revision != self.revision:
            return False
        before = self.ghost if self.chosen else None  # chosen by hand: stay with it if it is still there
        self.ghosts = tuple(Ghost(one.text, one.probability, one.id) for one in suggestions)
        texts = [ghost.text for ghost in self.ghosts]
        self.chosen = texts.index(before.text) if before is not None and before.text in texts else 0
        return True

    def _insert(self, edit: Edit, text: str) -> Change:
        return Change(edit, self.cursor, self.cursor, text, self.cursor + len(text))

    def _move(self, position: int) -> Change | None:
        if position == self.cursor:
            return None
        return Change(MoveCursor(position), self.cursor, self.cursor, "", position)

    def _keep_ghosts(self, typed: str) -> None:
        """Of every continuation that begins with what was typed, the rest; none if nothing was."""
        shown = self.ghost
        kept = [
            (ghost is shown, replace(ghost, text=ghost.text[len(typed) :], id=None))
            for ghost in self.ghosts
            if typed and ghost.text.startswith(typed) and ghost.text != typed
        ]
        self.ghosts = tuple(rest for _, rest in kept)
        self.chosen = next((index for index, (was_shown, _) in enumerate(kept) if was_shown), 0)

    def _line_start(self, position: int) -> int:
        return self.text.rfind("\n", 0, position) + 1

    def _line_end(self, position: int) -> int:
        end = self.text.find("\n", position)
        return len(self.text) if end < 0 else end
