"""The client for threads: every call waits for its answer, within its deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import grpc

from carousel_client.answers import Answer
from carousel_client.channels import (
    CHANNEL_OPTIONS,
    DEFAULT_RESUME_WITHIN_S,
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT_S,
    about_session,
    metadata_of,
)
from carousel_client.completion import Completion
from carousel_client.conversation import Conversation
from carousel_client.edits import CompleteOptions, Edit, SuggestOptions, Units
from carousel_client.errors import CarouselError, error_of_call
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.generated.carousel.v1 import autocomplete_pb2_grpc as pb_grpc
from carousel_client.messages import Call, complete_request
from carousel_client.opening import SessionSummary, attaching, creating, export_call, forking, importing, list_call
from carousel_client.resuming import Resumption
from carousel_client.retries import Attempts, RetryPolicy
from carousel_client.scores import Score, score_call, score_session_call
from carousel_client.session_state import SessionMethods, SessionState, Steps, once
from carousel_client.typing_stream import StreamCall, TypingStream

A = TypeVar("A")


class Client:
    """A connection to a server. Thread-safe; each of its sessions belongs to one thread.

        with Client("127.0.0.1:50051", timeout_s=2.0) as client:
            print(client.score("import os").bits_per_byte)

    `timeout_s` is the deadline of every call, its retries included; a typing stream that loses its server looks for it
    for `resume_within_s`. `api_key`, for a server that asks for keys, and `headers` go with every call; who listens on
    the way reads them, but for `credentials` (grpc.ssl_channel_credentials). Connecting is lazy: the first call says
    whether there is a server, and whether it knows the key (Unauthenticated).
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retry: RetryPolicy | None = None,
        resume_within_s: float = DEFAULT_RESUME_WITHIN_S,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._timeout_s, self._retry, self._resume_within_s = timeout_s, retry or RetryPolicy(), resume_within_s
        self._metadata = metadata_of(headers, api_key)
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
        else:
            self._channel = grpc.secure_channel(target, credentials, options=CHANNEL_OPTIONS)
        self._stub = pb_grpc.AutocompleteStub(self._channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; sessions stay on the server, open streams end."""
        self._channel.close()

    def session(
        self,
        text: str = "",
        *,
        id: str | None = None,  # noqa: A002  the protocol's word for it
        model: str | None = None,
        units: Units = Units.CODEPOINT,
        recreate: bool = False,
        store_text: bool = True,
    ) -> Session:
        """Create a session with this text, the cursor at its end. As a context manager it is deleted at the end.

        With an `id` that exists, and the same text, it is the existing session.
        `recreate`: should the server forget the session (its store did not outlive it), it is made anew from what it
        held by all this client knows; else that is NotFound.
        `store_text`: False has nothing of it written anywhere; it is lost with the server's process.
        """
        return Session(self, self.run(creating(id, text, model, units, recreate=recreate, store_text=store_text)))

    def attach(
        self,
        id: str,  # noqa: A002  the protocol's word for it
        *,
        units: Units = Units.CODEPOINT,
        recreate: bool = False,
    ) -> Session:
        """An existing session, as it stands now. Raises NotFound. See `session` for `recreate`.

        Undoing to a revision of before is not followed here: with `recreate`, read the text after it.
        """
        return Session(self, self.run(attaching(id, units, recreate=recreate)))

    def import_session(
        self,
        document: bytes,
        *,
        id: str | None = None,  # noqa: A002  the protocol's word for it
        model: str | None = None,
        units: Units = Units.CODEPOINT,
        recreate: bool = False,
    ) -> Session:
        """A session from what `Session.export` gave, here or elsewhere, at its revision and with its history.

        Its id and model are those of then unless others are given. Raises InvalidArgument for another document.
        """
        return Session(self, self.run(importing(document, id, model, units, recreate=recreate)))

    def sessions(self, *, part: int = 100) -> Iterator[SessionSummary]:
        """The sessions of this caller, by id; asked for in parts of so many (1 to 1000)."""
        after = ""
        while True:
            told = self.run(once(list_call(after, part)))
            yield from told.sessions
            if not told.after:
                return
            after = told.after

    def score(
        self,
        text: str | bytes,
        *,
        start: int = 0,
        top: int = 0,
        surprises: int | None = None,
        units: Units = Units.CODEPOINT,
        model: str | None = None,
        timeout_s: float | None = None,
    ) -> Score:
        """How likely a text is, byte by byte, and where the model expected something else.

        start: what is before it is only read.  top: so many of the likeliest bytes at each place, 0 to 16.
        surprises: so many places, 0 to 64; 10 unless asked otherwise. Bytes need not be whole characters; `start` and
        offsets count bytes then. A long text takes more than the usual `timeout_s`: some seconds for 64 KiB.
        """
        call = score_call(text, start=start, top=top, surprises=surprises, units=units, model=model)
        return self.run(once(call), timeout_s=timeout_s)

    def complete(
        self,
        prompt: str,
        options: CompleteOptions | None = None,
        *,
        model: str | None = None,
        timeout_s: float | None = None,
    ) -> Completion:
        """Go on from a text without a session; one completion of at most 256 bytes unless asked otherwise.

        `timeout_s` (the client's, if None) is the deadline at which it ends with what it has.
        Iterating it raises CarouselErrors; this raises InvalidArgument for what cannot be sent at all.
        """
        return self.open_completion(
            complete_request(options or CompleteOptions(), prompt=prompt, model=model), timeout_s
        )

    def run(self, steps: Steps[A], *, timeout_s: float | None = None) -> A:
        """Make the calls that `steps` yields, each again if the server was not available. Raises CarouselErrors.

        How the sessions of this client make theirs.
        """
        attempts = Attempts(self._retry, self._timeout_s if timeout_s is None else timeout_s, time.monotonic)
        try:
            call = next(steps)
            while True:
                try:
                    answer = self._make(call, attempts)
                except CarouselError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(answer)
        except StopIteration as done:
            outcome: A = done.value
            return outcome

    def attempt(self, call: Call[A], timeout_s: float) -> A:
        """Make a call once. Raises CarouselErrors."""
        metadata = about_session(self._metadata, call.session_id)
        try:
            return call.parse(getattr(self._stub, call.method)(call.request, timeout=timeout_s, metadata=metadata))
        except grpc.RpcError as failure:
            raise error_of_call(failure) from None

    def _make(self, call: Call[A], attempts: Attempts) -> A:
        while True:
            try:
                return self.attempt(call, attempts.timeout_s())
            except CarouselError as error:
                time.sleep(attempts.delay_after(error))

    def open_completion(self, request: pb.CompleteRequest, timeout_s: float | None) -> Completion:
        """A completion; `complete` of a client or a session is how users get one."""
        attempts = Attempts(self._retry, self._timeout_s if timeout_s is None else timeout_s, time.monotonic)
        return Completion(
            lambda left_s: self._stub.Complete(request, timeout=left_s, metadata=self._metadata), attempts
        )

    def open_typing(self, state: SessionState, max_unanswered: int) -> TypingStream:
        """A stream for a session; `Session.typing` is how users open one."""
        resumption = Resumption(self._retry, self._resume_within_s, time.monotonic)
        return TypingStream(self, Conversation(state, max_unanswered, resumption))

    def start_typing(self, requests: Iterator[pb.TypeRequest], session_id: str) -> StreamCall:
        """Begin a call of `Type`, as the streams of this client do."""
        call: StreamCall = self._stub.Type(requests, metadata=about_session(self._metadata, session_id))
        return call


class Session(SessionMethods[Answer]):
    """A text on the server. Made by `Client.session` and `Client.attach`."""

    def __init__(self, client: Client, state: SessionState) -> None:
        super().__init__(state)
        self._client = client

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.close()
        except CarouselError as failure:
            if error is None:
                raise
            error.add_note(f"the session could not be deleted either: {failure}")

    def edit(
        self,
        edits: Sequence[Edit],
        *,
        suggest: SuggestOptions | None = None,
        edit_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """See SessionMethods.edit."""
        return self._client.run(self._state.editing(edits, suggest, edit_id), timeout_s=timeout_s)

    def score(
        self, *, start: int = 0, top: int = 0, surprises: int | None = None, timeout_s: float | None = None
    ) -> Score:
        """How likely the text is; nothing changes. See Client.score."""
        state = self._state
        call = score_session_call(state.id, start=start, top=top, surprises=surprises, units=state.units)
        return self._client.run(state.about(lambda: call), timeout_s=timeout_s)

    def fork(
        self,
        *,
        id: str | None = None,  # noqa: A002  the protocol's word for it
        revision: int | None = None,
    ) -> Session:
        """Another session of this text and history, at its newest revision or at one that can still be undone to.

        It lives on by itself: close it, too.
        """
        return Session(self._client, self._client.run(forking(self._state, id, revision)))

    def export(self) -> bytes:
        """The session as a document that `Client.import_session` takes, on any server."""
        return self._client.run(self._state.about(lambda: export_call(self.id)))

    def complete(self, options: CompleteOptions | None = None, *, timeout_s: float | None = None) -> Completion:
        """Go on from the cursor; nothing changes. An edit of the session ends it as superseded. See Client.complete."""
        request = complete_request(options or CompleteOptions(), session_id=self.id)
        return self._client.open_completion(request, timeout_s)

    def text(self) -> str:
        """Read the text. The next edit is based on what was read, also if somebody else had edited the session."""
        return self._client.run(self._state.reading())

    def typing(self, *, max_unanswered: int = 64) -> TypingStream:
        """Open a stream on which edits need not wait for answers, until so many (1 to 256) are unanswered."""
        return self._client.open_typing(self._state, max_unanswered)

    def close(self, *, delete: bool = True) -> None:
        """Let go of the session; the server forgets it and its text unless told not to. One that is gone is fine."""
        if delete:
            self._client.run(self._state.deleting())
