"""Around every call: request id, tenant and deadline on the way in; metrics and the error's status on the way out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from service.errors import CarouselError, DeadlineExceeded, InvalidArgument
from service.sessions.commands import Tenant
from service.transport.caller import DEFAULT_TENANT, REQUEST_ID_HEADER, TenantResolver, answering, request_id
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.messages import decode
from service.transport.lifecycle import Lifecycle
from service.transport.observer import CANCELLED, OK, RequestObserver, level_of
from service.transport.statuses import STATUSES, code_of

SERVICE = pb.DESCRIPTOR.services_by_name["Autocomplete"]

# Suggestions have to be on their way before the caller's clock runs out.
_ANSWER_MARGIN_S = 0.005

# What probes ask, who have no keys; it is what /livez and /readyz say.
_ASKED_WITHOUT_KEYS = frozenset({"ServerLive", "ServerReady"})

Context = grpc.aio.ServicerContext[Any, Any]
Unary = Callable[[Any, "Call"], Awaitable[Message]]
Stream = Callable[[Any, "Call", Context], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Call:
    """What a method knows of its caller. `deadline_s` is a moment on `time.monotonic`, None without a deadline."""

    request_id: str
    tenant: Tenant
    deadline_s: float | None


class CallGuard:
    """Makes the handler of the service from plain methods that raise CarouselErrors and know no gRPC."""

    def __init__(
        self,
        *,
        tenants: TenantResolver,
        observer: RequestObserver,
        lifecycle: Lifecycle,
        max_request_bytes: int,
        larger_requests: Mapping[str, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """larger_requests: the bytes that requests of a method may have, by its name, where those are more."""
        self._tenants, self._observer, self._lifecycle, self._clock = tenants, observer, lifecycle, clock
        self._max_request_bytes, self._larger_requests = max_request_bytes, larger_requests or {}
        self._log = logging.getLogger("carousel.grpc")

    def handler(
        self, unary: Mapping[str, Unary], streams: Mapping[str, Stream], service: ServiceDescriptor = SERVICE
    ) -> grpc.GenericRpcHandler[Any, Any]:
        """Every method of the protocol needs its behaviour, by name; a missing one raises KeyError here, at start.

        Those in `streams` write their answers to the context; they are given the request, or all of them in turn.
        """
        handlers = {}
        for method in service.methods:
            serve: Any
            if method.client_streaming:
                serve = self._stream(method.name, streams[method.name])
                make = grpc.stream_stream_rpc_method_handler
            elif method.server_streaming:
                serve = self._server_stream(method.name, streams[method.name])
                make = grpc.unary_stream_rpc_method_handler
            else:
                serve = self._unary(method.name, unary[method.name])
                make = grpc.unary_unary_rpc_method_handler
            handlers[method.name] = make(
                serve,
                request_deserializer=self._deserializer(method.name, GetMessageClass(method.input_type)),
                response_serializer=_serialize,
            )
        return grpc.method_handlers_generic_handler(service.full_name, handlers)

    def keyed(
        self, handler: grpc.RpcMethodHandler[Any, Any], details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """A library's own handler of a stream; for a caller without a key, one that says so."""
        headers: dict[str, Any] = dict(details.invocation_metadata or ())
        try:
            self._tenants.resolve(headers.get)
        except CarouselError as error:
            refusal = error

            async def refuse(_: object, context: Context) -> None:
                await _abort(context, refusal, request_id(headers.get))

            return grpc.stream_stream_rpc_method_handler(refuse)
        return handler

    def _deserializer(self, method: str, kind: type[Message]) -> Callable[[bytes], Message | InvalidArgument]:
        """Parse without raising: gRPC would turn an exception here into a status of its own, without our details."""
        most = max(self._max_request_bytes, self._larger_requests.get(method, 0))

        def deserialize(data: bytes) -> Message | InvalidArgument:
            if len(data) > most:
                fault = f"has {len(data)} bytes, at most {most} are taken"
                return InvalidArgument("message", fault)
            try:
                return decode(kind, data)
            except InvalidArgument as error:
                return error

        return deserialize

    def _unary(self, name: str, behaviour: Unary) -> Callable[[Message | InvalidArgument, Context], Awaitable[Message]]:
        async def serve(request: Message | InvalidArgument, context: Context) -> Message:
            async with self._call(name, context) as call:
                if isinstance(request, InvalidArgument):
                    raise request
                return await behaviour(request, call)

        return serve

    def _server_stream(
        self, name: str, behaviour: Stream
    ) -> Callable[[Message | InvalidArgument, Context], Awaitable[None]]:
        async def serve(request: Message | InvalidArgument, context: Context) -> None:
            async with self._call(name, context) as call:
                if isinstance(request, InvalidArgument):
                    raise request
                await context.send_initial_metadata(((REQUEST_ID_HEADER, call.request_id),))
                await behaviour(request, call, context)

        return serve

    def _stream(self, name: str, behaviour: Stream) -> Callable[[AsyncIterator[Message], Context], Awaitable[None]]:
        async def serve(requests: AsyncIterator[Message], context: Context) -> None:
            async with self._call(name, context, streaming=True) as call:
                await context.send_initial_metadata(((REQUEST_ID_HEADER, call.request_id),))
                await behaviour(requests, call, context)

        return serve

    @asynccontextmanager
    async def _call(self, name: str, context: Context, *, streaming: bool = False) -> AsyncIterator[Call]:
        """One call from start to end. What it raises ends the call with the status of the one map."""
        began = self._clock()
        headers = dict(context.invocation_metadata() or ())
        id_ = request_id(headers.get)
        context.set_trailing_metadata(((REQUEST_ID_HEADER, id_),))
        code = OK
        with self._lifecycle.in_flight(), answering(id_):
            try:
                tenant = DEFAULT_TENANT if name in _ASKED_WITHOUT_KEYS else self._tenants.resolve(headers.get)
                yield Call(id_, tenant, _deadline(context, began))
            except asyncio.CancelledError:
                code = CANCELLED
                raise
            except Exception as error:  # noqa: BLE001  what is not a CarouselError is a bug, logged and shown as INTERNAL
                code = code_of(error).value
                if not isinstance(error, CarouselError):
                    self._log.exception("a call failed", extra={"operation": name})
                await _abort(context, error, id_)
            finally:
                seconds = self._clock() - began
                if not streaming:  # a stream reports each of its edits
                    self._observer.request("grpc", name, code, seconds)
                about = {"operation": name, "code": code, "seconds": round(seconds, 6)}
                self._log.log(level_of(code), "call", extra=about)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _deadline(context: Context, now_s: float) -> float | None:
    remaining = cast("float | None", context.time_remaining())  # None without a deadline, whatever the stubs say
    if remaining is None:
        return None
    if remaining <= 0:
        raise DeadlineExceeded("the call's time was up before it was begun; allow it more")
    return now_s + max(remaining - _ANSWER_MARGIN_S, 0.0)


async def _abort(context: Context, error: Exception, id_: str) -> NoReturn:
    # Imported for the first refusal, or once the server is up: the first keystroke does not wait for it.
    from service.transport.grpc.failures import DETAILS_HEADER, status_of

    status = status_of(error, id_)
    trailers = ((DETAILS_HEADER, status.SerializeToString()), (REQUEST_ID_HEADER, id_))
    await context.abort(STATUSES[code_of(error)].grpc, status.message, trailers)
