"""gRPC: `Edit`, `Type`, `Complete`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal, Self, cast

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # it ships no types

from service.errors import Code
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteStub
from service.transport.statuses import STATUSES
from tests.contract.facades.facade import EVERYTHING, Ability, Asked, Facade, Refused, Told
from tests.integration.callers import detail, status_of
from tests.integration.servers import Running

_UNKNOWN_FIELD = b"\xf2\x3f\x01x"  # number 1022, a string
_SERVICE = "/carousel.v1.Autocomplete"


def refused_status(status: Any, code: object) -> Refused:
    info = detail(status, error_details_pb2.ErrorInfo())
    bad = detail(status, error_details_pb2.BadRequest())
    retry = detail(status, error_details_pb2.RetryInfo())
    delay = None if retry is None else retry.retry_delay.ToNanoseconds() / 1e9
    field = bad.field_violations[0].field if bad else None
    return Refused(info.reason, code, message=status.message, field=field, retry_after_s=delay)


def refused_call(error: grpc.aio.AioRpcError) -> Refused:
    """A deadline may be seen by the caller's own library first, which says nothing more of it."""
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and not error.trailing_metadata():
        return Refused("DEADLINE", error.code(), message=error.details() or "", field=None, retry_after_s=None)
    return refused_status(status_of(error), error.code())


class GrpcFacade(Facade):
    """A channel; requests are sent as bytes, so that what is no request can be sent, too."""

    can: ClassVar[frozenset[Ability]] = EVERYTHING - {"origin"}

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel: Any = channel
        self.stub: Any = AutocompleteStub(channel)

    @classmethod
    @asynccontextmanager
    async def to(cls, server: Running) -> AsyncIterator[Self]:
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            yield cls(channel)

    def status(self, code: Code) -> object:
        return STATUSES[code].grpc

    async def created(self, asked: Asked, text: str) -> str:
        request = pb.CreateSessionRequest(text=text, model=asked.model or "")
        try:
            return str((await self.stub.CreateSession(request, metadata=asked.metadata)).session.id)
        except grpc.aio.AioRpcError as error:
            raise refused_call(error) from error

    async def create_as(self, session: str, text: str) -> None:
        await self.stub.CreateSession(pb.CreateSessionRequest(id=session, text=text))

    async def text_of(self, session: str) -> str:
        shown = await self.stub.GetSession(pb.GetSessionRequest(session_id=session, include_text=True))
        return str(shown.text)

    def call(self, method: str, request: Message | bytes, answer: type[Message], asked: Asked) -> Any:
        """A call of one request; its answer is one message, or several."""
        kind = self.channel.unary_stream if method.endswith("/Complete") else self.channel.unary_unary
        data = request if isinstance(request, bytes) else request.SerializeToString()
        data += _UNKNOWN_FIELD if asked.unknown_field else b""
        make = kind(method, response_deserializer=answer.FromString)
        return make(data, metadata=asked.metadata, timeout=asked.timeout_s)


def _finish(reason: int) -> str | None:
    name = pb.FinishReason.Name(cast("pb.FinishReason.ValueType", reason)).removeprefix("FINISH_REASON_").lower()
    return None if name == "unspecified" else name


def _suggest(asked: Asked) -> pb.SuggestOptions:
    return pb.SuggestOptions(count=1, max_bytes=asked.max_bytes, stop=pb.STOP_NONE)


class GrpcEdit(GrpcFacade):
    """The last letter is typed, and suggestions are asked for with it."""

    name = "gRPC Edit"
    says: ClassVar[Literal["suggestions"]] = "suggestions"
    sheds = True
    longest = 512

    async def _request(self, asked: Asked) -> pb.EditRequest:
        session = asked.session or await self.created(asked, asked.text[:-1])
        edits = [pb.EditOperation(insert=asked.text[-1:])]
        return pb.EditRequest(session_id=session, revision=asked.revision, edits=edits, suggest=_suggest(asked))

    async def ask(self, asked: Asked) -> Told:
        request = await self._request(asked)
        try:
            answer = await self.call(f"{_SERVICE}/Edit", request, pb.EditResponse, asked)
        except grpc.aio.AioRpcError as error:
            raise refused_call(error) from error
        return suggestion_told(answer)

    async def nonsense(self) -> None:
        try:
            await self.call(f"{_SERVICE}/Edit", b"\xff\xff\xff", pb.EditResponse, Asked())
        except grpc.aio.AioRpcError as error:
            raise refused_call(error) from error

    async def leave(self, text: str, begun: Callable[[], Awaitable[object]], *, cut: bool) -> None:
        asked = Asked(text, max_bytes=self.longest)
        call = self.call(f"{_SERVICE}/Edit", await self._request(asked), pb.EditResponse, asked)
        await begun()
        await self.gone(call, cut)

    async def gone(self, call: Any, cut: bool) -> None:
        if cut:
            await self.channel.close()
        else:
            call.cancel()


def suggestion_told(answer: Any) -> Told:
    if not answer.suggestions:
        return Told("", _finish(answer.finish_reason))
    (one,) = answer.suggestions
    return Told(one.text, _finish(one.finish_reason))


class GrpcType(GrpcEdit):
    """The same on a stream, which has no deadline but its own end, and names its model when the session is made."""

    name = "gRPC Type"
    can: ClassVar[frozenset[Ability]] = GrpcEdit.can - {"timeout"}

    def _stream(self, asked: Asked) -> Any:
        make = self.channel.stream_stream(f"{_SERVICE}/Type", response_deserializer=pb.TypeResponse.FromString)
        return make(metadata=asked.metadata)

    async def ask(self, asked: Asked) -> Told:
        request = (await self._request(asked)).SerializeToString()
        call = self._stream(asked)
        try:
            return await _conversed(call, request + (_UNKNOWN_FIELD if asked.unknown_field else b""))
        except grpc.aio.AioRpcError as error:
            raise refused_call(error) from error
        finally:
            call.cancel()

    async def nonsense(self) -> None:
        call = self._stream(Asked())
        try:
            await _conversed(call, b"\xff\xff\xff")
        finally:
            call.cancel()

    async def leave(self, text: str, begun: Callable[[], Awaitable[object]], *, cut: bool) -> None:
        asked = Asked(text, max_bytes=self.longest)
        call = self._stream(asked)
        await call.write((await self._request(asked)).SerializeToString())
        await begun()
        await self.gone(call, cut)


async def _conversed(call: Any, request: bytes) -> Told:
    await call.write(request)
    while True:
        event = await call.read()
        if event.HasField("rejected"):
            status = event.rejected.error
            code = next(it for it in grpc.StatusCode if it.value[0] == status.code)
            raise refused_status(status, code)
        if event.HasField("suggested"):
            return suggestion_told(event.suggested)


class GrpcComplete(GrpcEdit):
    """The whole text is the prompt."""

    name = "gRPC Complete"
    says: ClassVar[Literal["completions"]] = "completions"  # type: ignore[assignment]  # another kind of answer
    can: ClassVar[frozenset[Ability]] = GrpcEdit.can - {"revision"}
    sheds = False
    longest = 4096

    def _completing(self, asked: Asked) -> Any:
        request = pb.CompleteRequest(model=asked.model or "", max_bytes=asked.max_bytes)
        if asked.session is None:
            request.prompt = asked.text
        else:
            request.session_id = asked.session
        return self.call(f"{_SERVICE}/Complete", request, pb.CompleteResponse, asked)

    async def ask(self, asked: Asked) -> Told:
        return await _completed(self._completing(asked))

    async def nonsense(self) -> None:
        await _completed(self.call(f"{_SERVICE}/Complete", b"\xff\xff\xff", pb.CompleteResponse, Asked()))

    async def leave(self, text: str, begun: Callable[[], Awaitable[object]], *, cut: bool) -> None:
        call = self._completing(Asked(text, max_bytes=self.longest))
        await begun()
        await self.gone(call, cut)


async def _completed(call: Any) -> Told:
    text, finish = "", None
    try:
        async for piece in call:
            text += piece.text
            finish = _finish(piece.finish_reason) or finish
    except grpc.aio.AioRpcError as error:
        raise refused_call(error) from error
    return Told(text, finish)
