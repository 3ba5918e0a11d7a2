"""The client for asyncio: the same sessions, awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc

from carousel_client.aio_completion import AsyncCompletion
from carousel_client.aio_typing_stream import AsyncTypingStream
from carousel_client.answers import Answer
from carousel_client.channels import (
    CHANNEL_OPTIONS,
    DEFAULT_RESUME_WITHIN_S,
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT_S,
    about_session,
    metadata_of,
)
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

A = TypeVar("A")


class AsyncClient:
    """A connection to a server, for one event loop. See Client for its arguments.

        async with AsyncClient("127.0.0.1:50051") as client, client.session("import o") as session:
            await session.type("s")
            print((await session.suggest()).suggestions)

    An edit whose task was cancelled may be committed or not: reading the text tells.
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
            self._channel = grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, options=CHANNEL_OPTIONS)
        self._stub = pb_grpc.AutocompleteStub(self._channel)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; sessions stay on the server."""
        await self._channel.close(None)

    @asynccontextmanager
    async def session(
        self,
        text: str = "",
        *,
        id: str | None = None,  # noqa: A002  the protocol's word for it
        model: str | None = None,
        units: Units = Units.CODEPOINT,
        recreate: bool = False,
        store_text: bool = True,
    ) -> AsyncIterator[AsyncSession]:
        """A session with this text, created on entering and deleted on leaving. See Client.session."""
        session = await self.create(text, id=id, model=model, units=units, recreate=recreate, store_text=store_text)
        try:
            yield session
        except BaseException as error:
            try:
                await session.close()
            except CarouselError as failure:
                error.add_note(f"the session could not be deleted either: {failure}")
            raise
        await session.close()

    async def create(
        self,
        text: str = "",
        *,
        id: str | None = None,  # noqa: A002  the protocol's word for it
        model: str | None = None,
        units: Units = Units.CODEPOINT,
        recreate: bool = False,
        store_text: bool = True,
    ) -> AsyncSession:
        """Create a session that stays until it is closed. See Client.session."""
        steps = creating(id, text, model, units, recreate=recreate, store_text=store_text)
        return AsyncSession(self, await self.run(steps))

    async def attach(
        self,
        id: str,  # noqa: A002  the protocol's word for it
        *,
        units: Units = Units.CODEPOINT,
        recreate: bool = False,
    ) -> AsyncSession:
        """An existing session, as it stands now. Raises NotFound. See Client.session for `recreate`."""
        return AsyncSession(self, await self.run(attaching(id, units, recreate=recreate)))

    async def import_session(
        self,
        document: bytes,
        *,
        id: str | None = None,  # noqa: A002  the protocol's word for it
        model: str | None = None,
        units: Units = Units.CODEPOINT,
        recreate: bool = False,
    ) -> AsyncSession:
        """A session from what `AsyncSession.export` gave, here or elsewhere, at its revision and with its history.

        Its id and model are those of then unless others are given. Raises InvalidArgument for another document.
        """
        return AsyncSession(self, await self.run(importing(document, id, model, units, recreate=recreate)))

    async def sessions(self, *, part: int = 100) -> AsyncIterator[SessionSummary]:
        """The sessions of this caller, by id; asked for in parts of so many (1 to 1000)."""
        after = ""
        while True:
            told = await self.run(once(list_call(after, part)))
            for one in told.sessions:
                yield one
            if not told.after:
                return
            after = told.after

    async def score(
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
        return await self.run(once(call), timeout_s=timeout_s)

    def complete(
        self,
        prompt: str,
        options: CompleteOptions | None = None,
        *,
        model: str | None = None,
        timeout_s: float | None = None,
    ) -> AsyncCompletion:
        """Go on from a text without a session, to be iterated with `async for`. See Client.complete."""
        return self.open_completion(
            complete_request(options or CompleteOptions(), prompt=prompt, model=model), timeout_s
        )

    def open_completion(self, request: pb.CompleteRequest, timeout_s: float | None) -> AsyncCompletion:
        """A completion; `complete` of a client or a session is how users get one."""
        attempts = Attempts(self._retry, self._timeout_s if timeout_s is None else timeout_s, time.monotonic)
        return AsyncCompletion(
            lambda left_s: self._stub.Complete(request, timeout=left_s, metadata=self._metadata), attempts
        )

    async def run(self, steps: Steps[A], *, timeout_s: float | None = None) -> A:
        """Make the calls that `steps` yields, each again if the server was not available. See Client.run."""
        attempts = Attempts(self._retry, self._timeout_s if timeout_s is None else timeout_s, time.monotonic)
        try:
            call = next(steps)
            while True:
                try:
                    answer = await self._make(call, attempts)
                except CarouselError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(answer)
        except StopIteration as done:
            outcome: A = done.value
            return outcome

    async def attempt(self, call: Call[A], timeout_s: float) -> A:
        """Make a call once. Raises CarouselErrors."""
        metadata = about_session(self._metadata, call.session_id)
        try:
            return call.parse(
                await getattr(self._stub, call.method)(call.request, timeout=timeout_s, metadata=metadata)
            )
        except grpc.RpcError as failure:
            raise error_of_call(failure) from None

    async def _make(self, call: Call[A], attempts: Attempts) -> A:
        while True:
            try:
                return await self.attempt(call, attempts.timeout_s())
            except CarouselError as error:
                await asyncio.sleep(attempts.delay_after(error))

    def open_typing(self, state: SessionState, max_unanswered: int) -> AsyncTypingStream:
        """A stream for a session; `AsyncSession.typing` is how users open one."""
        resumption = Resumption(self._retry, self._resume_within_s, time.monotonic)
        return AsyncTypingStream(self, Conversation(state, max_unanswered, resumption))

    def start_typing(self, session_id: str) -> Any:
        """Begin a call of `Type`, as the streams of this client do."""
        return self._stub.Type(None, metadata=about_session(self._metadata, session_id))


class AsyncSession(SessionMethods[Awaitable[Answer]]):
    """A text on the server. Made by AsyncClient; its edits are awaited one after the other."""

    def __init__(self, client: AsyncClient, state: SessionState) -> None:
        super().__init__(state)
        self._client = client

    async def edit(
        self,
        edits: Sequence[Edit],
        *,
        suggest: SuggestOptions | None = None,
        edit_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """See SessionMethods.edit."""
        return await self._client.run(self._state.editing(edits, suggest, edit_id), timeout_s=timeout_s)

    async def score(
        self, *, start: int = 0, top: int = 0, surprises: int | None = None, timeout_s: float | None = None
    ) -> Score:
        """How likely the text is; nothing changes. See Client.score."""
        state = self._state
        call = score_session_call(state.id, start=start, top=top, surprises=surprises, units=state.units)
        return await self._client.run(state.about(lambda: call), timeout_s=timeout_s)

    async def fork(
        self,
        *,
        id: str | None = None,  # noqa: A002  the protocol's word for it
        revision: int | None = None,
    ) -> AsyncSession:
        """Another session of this text and history, at its newest revision or at one that can still be undone to.

        It lives on by itself: close it, too.
        """
        return AsyncSession(self._client, await self._client.run(forking(self._state, id, revision)))

    async def export(self) -> bytes:
        """The session as a document that `Client.import_session` takes, on any server."""
        return await self._client.run(self._state.about(lambda: export_call(self.id)))

    def complete(self, options: CompleteOptions | None = None, *, timeout_s: float | None = None) -> AsyncCompletion:
        """Go on from the cursor; nothing changes. An edit of the session ends it as superseded. See Client.complete."""
        request = complete_request(options or CompleteOptions(), session_id=self.id)
        return self._client.open_completion(request, timeout_s)

    async def text(self) -> str:
        """Read the text. The next edit is based on what was read, also if somebody else had edited the session."""
        return await self._client.run(self._state.reading())

    def typing(self, *, max_unanswered: int = 64) -> AsyncTypingStream:
        """Open a stream on which edits need not wait for answers, until so many (1 to 256) are unanswered."""
        return self._client.open_typing(self._state, max_unanswered)

    async def close(self, *, delete: bool = True) -> None:
        """Let go of the session; the server forgets it and its text unless told not to. One that is gone is fine."""
        if delete:
            await self._client.run(self._state.deleting())
