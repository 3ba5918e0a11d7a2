"""The client for asyncio: the same sessions, awaited."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import grpc

from carousel_client.aio_completion import AsyncCompletion
from carousel_client.answers import Answer
from carousel_client.channels import CHANNEL_OPTIONS, DEFAULT_TARGET, DEFAULT_TIMEOUT_S, metadata_of
from carousel_client.edits import CompleteOptions, Edit, SuggestOptions, Units
from carousel_client.errors import CarouselError, NotFound, error_of_call
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.generated.carousel.v1 import autocomplete_pb2_grpc as pb_grpc
from carousel_client.messages import Call, complete_request, create_call, get_call
from carousel_client.retries import Attempts, RetryPolicy
from carousel_client.session_state import SessionMethods, SessionState

A = TypeVar("A")


class AsyncClient:
    """A connection to a server, for one event loop. See Client for its arguments."""

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
    ) -> AsyncIterator[AsyncSession]:
        """A session with this text, created on entering and deleted on leaving."""
        session = await self.create(text, id=id, model=model, units=units)
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
    ) -> AsyncSession:
        """Create a session that stays until it is closed. See Client.session."""
        answer = await self.call(create_call(id or secrets.token_hex(16), text, model, units, None))
        return AsyncSession(self, SessionState(answer, units))

    async def attach(self, id: str, *, units: Units = Units.CODEPOINT) -> AsyncSession:  # noqa: A002  the protocol's word for it
        """An existing session, as it stands now. Raises NotFound."""
        answer, _ = await self.call(get_call(id, units, include_text=False))
        return AsyncSession(self, SessionState(answer, units))

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

    async def call(self, call: Call[A], *, timeout_s: float | None = None) -> A:
        """Make a call, again if the server was not available. Raises CarouselErrors."""
        attempts = Attempts(self._retry, self._timeout_s if timeout_s is None else timeout_s, time.monotonic)
        method = getattr(self._stub, call.method)
        while True:
            try:
                return call.parse(await method(call.request, timeout=attempts.timeout_s(), metadata=self._metadata))
            except grpc.RpcError as failure:
                error = error_of_call(failure)
            await asyncio.sleep(attempts.delay_after(error))


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
        answer = await self._client.call(self._state.edit(edits, suggest, edit_id), timeout_s=timeout_s)
        self._state.take(answer)
        return answer

    def complete(self, options: CompleteOptions | None = None, *, timeout_s: float | None = None) -> AsyncCompletion:
        """Go on from the cursor; nothing changes. An edit of the session ends it as superseded. See Client.complete."""
        request = complete_request(options or CompleteOptions(), session_id=self.id)
        return self._client.open_completion(request, timeout_s)

    async def text(self) -> str:
        """Read the text. The next edit is based on what was read, also if somebody else had edited the session."""
        answer, text = await self._client.call(self._state.read())
        self._state.take(answer)
        return text

    async def close(self, *, delete: bool = True) -> None:
        """Let go of the session; the server forgets it and its text unless told not to. One that is gone is fine."""
        if delete:
            try:
                await self._client.call(self._state.delete())
            except NotFound:
                return  # what was wanted
