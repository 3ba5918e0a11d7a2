"""Between the editor and a server: sends what keys do, takes what the server says, and starts over when it must.

The server may refuse an edit (the text is full, an undo reaches too far): the editor shows what the server holds then.
Or it may be gone: the stream looks for it while keys go on, and takes up what was typed meanwhile, in the same session
or in a new one of the same text. If it is not found for long, the next key makes a new session of the screen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from carousel_client import (
    Accept,
    CarouselError,
    Client,
    DeadlineExceeded,
    Disconnected,
    Event,
    Insert,
    InvalidArgument,
    Reconnected,
    Rejected,
    Session,
    Suggested,
    SuggestOptions,
    TypingStream,
)
from service.terminal.editor import Change, Editor
from service.terminal.tally import Tally

Post = Callable[[Callable[[], None]], object]
"""Runs a function on the thread that owns the typist, soon; callable from any thread."""

_BEHIND_S = 2.0  # how long a key may wait for a server that owes very many answers
_MOST_AHEAD = 256  # keys that a server may owe an answer, while it is looked for too


class Typist:
    """Owns the editor, its session and its stream. All but the reading of events happens on one thread, the owner's.

    `changed` is called on that thread whenever the screen is to be drawn again.
    """

    def __init__(
        self,
        client: Client,
        session: Session,
        text: str,
        *,
        suggest: SuggestOptions,
        post: Post,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._client, self._session, self._suggest = client, session, suggest
        self._post, self._changed, self._clock = post, changed, clock
        self.editor = Editor(text, session.cursor, session.revision)
        self.tally = Tally()
        self.notice = ""
        self._stream: TypingStream | None = None
        self._looking = False  # for a server that the stream has lost
        self._recreations = 0  # of the stream's session, as far as the editor knows
        self._readers: list[threading.Thread] = []
        self._pressed_s: tuple[int, float] | None = None  # the revision that the last key made, and when

    @property
    def model(self) -> str:
        """The name of the model that suggests."""
        return self._session.model.name

    @property
    def session_id(self) -> str:
        """The session that holds the text now."""
        return self._session.id

    def start(self) -> None:
        """Open the stream and ask for the first suggestions. Events arrive through `post` from now on."""
        self._open_stream()
        self._send(None)

    def press(self, change: Change | None, *, made: int = 0) -> None:
        """Do what a key does; `made` counts the characters that it makes. None is a key that does nothing here."""
        if change is None:
            return
        self.notice = ""
        if self._stream is None:
            if not self._start_over() or change.undoes:  # the new session has no past
                return
            if isinstance(change.edit, Accept):  # nor has it suggested anything yet
                change = replace(change, edit=Insert(change.inserted))
        elif change.undoes and self._stream.recreations != self._recreations:
            return  # it says so itself in a moment
        if self._send(change):
            self.editor.apply(change)
            if made:
                self.tally.made(made)
        self._changed()

    def close(self) -> None:
        """End the stream and forget the session. Nothing is posted any more when this returns."""
        self._close_stream()
        for reader in self._readers:
            reader.join()
        try:
            self._session.close()
        except CarouselError as error:
            self.notice = f"the session may still be held by the server: {error}"

    def _send(self, change: Change | None) -> bool:
        """Whether it was sent. Without a change only suggestions are asked for."""
        stream = self._stream
        if stream is None:
            return False
        now_s = self._clock()
        try:
            edits = [change.edit] if change else []
            stream.send(*edits, suggest=self._suggest, timeout_s=0.0 if self._looking else _BEHIND_S)
        except InvalidArgument as error:
            self.notice = str(error)
            return False
        except DeadlineExceeded as error:
            if not self._looking:
                self._lost(stream, error)
            self.notice = f"{_MOST_AHEAD} keys wait for a server that is not there; this one was not taken"
            return False
        except CarouselError as error:
            self._lost(stream, error)
            return False
        self._pressed_s = (stream.next_revision, now_s)
        return True

    def _take(self, stream: TypingStream, event: Event, at_s: float) -> None:
        if stream is not self._stream:
            return  # of a stream that was given up
        match event:
            case Suggested(revision=revision, suggestions=suggestions):
                if self._pressed_s is not None and self._pressed_s[0] == revision:
                    self.tally.suggested(at_s - self._pressed_s[1])
                    self._pressed_s = None
                if self.editor.suggested(revision, suggestions):
                    self._changed()
            case Rejected(error=error):
                self._refused(error)
            case Disconnected(error=error):
                self._looking = True
                self.notice = f"lost the server, looking for it; go on typing: {error}"
                self._changed()
            case Reconnected():
                self._found(stream)
            case _:
                pass  # an acknowledgement says what the screen shows already

    def _refused(self, error: CarouselError) -> None:
        """Show what the server holds: what was refused, and all that was built on it, is not in the text."""
        self._close_stream()
        try:
            text = self._session.text()
        except CarouselError as lost:
            self.notice = f"lost the server: {lost}"
        else:
            self._show(text)
            self.notice = f"refused: {error}"
        self._changed()

    def _found(self, stream: TypingStream) -> None:
        """The server is there again, with the session or with a new one of the same text."""
        self._looking = False
        self.notice = "found the server again"
        if stream.recreations != self._recreations:
            self._recreations = stream.recreations
            self.editor.begin_anew(stream.next_revision)
            self.notice = "found a server again, which has forgotten what could be undone"
        self._changed()

    def _lost(self, stream: TypingStream, error: CarouselError) -> None:
        if stream is self._stream:
            self._close_stream()
            self.notice = f"lost the server, the next key tries again: {error}"
            self._changed()

    def _start_over(self) -> bool:
        """A new session of the text on the screen, as the old one is lost."""
        editor = self.editor
        try:
            self._session.close()  # if the server is there, it may still hold it
            self._session = self._client.session(editor.text, model=self._session.model.name, recreate=True)
            if editor.cursor != len(editor.text):
                self._session.move(editor.cursor)
        except CarouselError as error:
            self.notice = f"no server, the next key tries again: {error}"
            self._changed()
            return False
        self._show(editor.text)
        return True

    def _show(self, text: str) -> None:
        self.editor = Editor(text, self._session.cursor, self._session.revision)
        self._open_stream()
        self._send(None)

    def _open_stream(self) -> None:
        stream = self._stream = self._session.typing(max_unanswered=_MOST_AHEAD)
        self._looking, self._recreations = False, 0
        reader = threading.Thread(target=self._read, args=(stream,), name="carousel-events", daemon=True)
        self._readers = [*(one for one in self._readers if one.is_alive()), reader]
        reader.start()

    def _close_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _read(self, stream: TypingStream) -> None:
        """Hand every event of a stream to the owner's thread, until it ends."""
        try:
            for event in stream:
                self._post(partial(self._take, stream, event, self._clock()))
        except CarouselError as error:
            self._post(partial(self._lost, stream, error))
