"""The client for threads: every call waits for its answer, within its deadline."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TypeVar

import grpc

from carousel_client.answers import Answer
from carousel_client.channels import CHANNEL_OPTIONS, DEFAULT_TARGET, DEFAULT_TIMEOUT_S, metadata_of
from carousel_client.completion import Completion
from carousel_client.edits import CompleteOptions, Edit, SuggestOptions, Units
from carousel_client.errors import CarouselError, NotFound, error_of_call
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.generated.carousel.v1 import autocomplete_pb2_grpc as pb_grpc
from carousel_client.messages import Call, complete_request, create_call, get_call
from carousel_client.retries import Attempts, RetryPolicy
from carousel_client.session_state import SessionMethods, SessionState
from carousel_client.typing_stream import TypingStream

A = TypeVar("A")


class Client:
    """A connection to a server. Thread-safe; each of its sessions belongs to one thread.

    `timeout_s` is the deadline of every call, its retries included. `headers` go with every call. Connecting is lazy:
    the first call says whether there is a server.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._timeout_s, self._retry, self._metadata = timeout_s, retry or RetryPolicy(), metadata_of(headers)
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
    ) -> Session:
        """Create a session with this text, the cursor at its end. As a context manager it is deleted at the end.

        With an `id` that exists, and the same text, it is the existing session.
        """
        answer = self.call(create_call(id or secrets.token_hex(16), text, model, units, None))
        return Session(self, SessionState(answer, units))

    def attach(self, id: str, *, units: Units = Units.CODEPOINT) -> Session:  # noqa: A002  the protocol's word for it
        """An existing session, as it stands now. Raises NotFound."""
        answer, _ = self.call(get_call(id, units, include_text=False))
        return Session(self, SessionState(answer, units))

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

    def call(self, call: Call[A], *, timeout_s: float | None = None) -> A:
        """Make a call, again if the server was not available. Raises CarouselErrors."""
        attempts = Attempts(self._retry, self._timeout_s if timeout_s is None else timeout_s, time.monotonic)
        method = getattr(self._stub, call.method)
        while True:
            try:
                return call.parse(method(call.request, timeout=attempts.timeout_s(), metadata=self._metadata))
            except grpc.RpcError as failure:
                error = error_of_call(failure)
            time.sleep(attempts.delay_after(error))

    def open_completion(self, request: pb.CompleteRequest, timeout_s: float | None) -> Completion:
        """A completion; `complete` of a client or a session is how users get one."""
        attempts = Attempts(self._retry, self._timeout_s if timeout_s is None else timeout_s, time.monotonic)
        return Completion(
            lambda left_s: self._stub.Complete(request, timeout=left_s, metadata=self._metadata), attempts
        )

    def open_typing(self, state: SessionState, max_unanswered: int) -> TypingStream:
        """A stream for a session; `Session.typing` is how users open one."""
        return TypingStream(lambda requests: self._stub.Type(requests, metadata=self._metadata), state, max_unanswered)


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
        answer = self._client.call(self._state.edit(edits, suggest, edit_id), timeout_s=timeout_s)
        self._state.take(answer)
        return answer

    def complete(self, options: CompleteOptions | None = None, *, timeout_s: float | None = None) -> Completion:
        """Go on from the cursor; nothing changes. An edit of the session ends it as superseded. See Client.complete."""
        request = complete_request(options or CompleteOptions(), session_id=self.id)
        return self._client.open_completion(request, timeout_s)

    def text(self) -> str:
        """Read the text. The next edit is based on what was read, also if somebody else had edited the session."""
        answer, text = self._client.call(self._state.read())
        self._state.take(answer)
        return text

    def typing(self, *, max_unanswered: int = 64) -> TypingStream:
        """Open a stream on which edits need not wait for answers; `send` waits when so many are unanswered."""
        return self._client.open_typing(self._state, max_unanswered)

    def close(self, *, delete: bool = True) -> None:
        """Let go of the session; the server forgets it and its text unless told not to. One that is gone is fine."""
        if delete:
            try:
                self._client.call(self._state.delete())
            except NotFound:
                return  # what was wanted
