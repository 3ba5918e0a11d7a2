"""The gRPC server: our service, health and reflection on one port."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import _async as health_aio  # the package offers it as health.aio, which its stubs do not know
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE

from service.sessions.service import Sessions
from service.transport.caller import TenantResolver
from service.transport.grpc.calls import SERVICE, CallGuard
from service.transport.grpc.servicer import AutocompleteMethods
from service.transport.grpc.typing_stream import Typing
from service.transport.kserve.late import LateInference
from service.transport.lifecycle import Lifecycle
from service.transport.listening import CannotListen, address, open_socket
from service.transport.observer import RequestObserver

if TYPE_CHECKING:
    _Handlers = grpc.GenericRpcHandler[Any, Any]
else:
    _Handlers = grpc.GenericRpcHandler  # generic in its stubs alone

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_LAST_BYTES_S = 0.25
_BESIDE_A_DOCUMENT = 1024  # bytes, of ids and names
_WHOLE_SERVER = ""
_PING_EVERY_MS = 30_000
_PONG_WITHIN_MS = 20_000
_MOST_PENDING = 1 << 14  # two seconds of what an event loop takes; gRPC's own limit is 1,000
_REFLECTION_PREFIX = "/grpc.reflection.v1alpha.ServerReflection/"
KSERVE_SERVICE = "inference.GRPCInferenceService"
_KSERVE_PREFIX = f"/{KSERVE_SERVICE}/"


class GrpcServer:
    """Serves from the moment `start` returns.

    Health says NOT_SERVING of our service until `set_ready`, and of the whole server until `complete`.
    """

    def __init__(
        self,
        sessions: Sessions,
        *,
        tenants: TenantResolver,
        observer: RequestObserver,
        lifecycle: Lifecycle,
        max_request_bytes: int,
        inference: LateInference | None = None,
    ) -> None:
        """inference: shared with the HTTP facade; one of its own if not given."""
        self._lifecycle = lifecycle
        age_s = lifecycle.max_stream_age_s
        largest = max(max_request_bytes, sessions.max_document_bytes)
        self._server = grpc.aio.server(
            options=[
                # An old connection takes no new streams, whose callers go over another one, perhaps to another replica.
                # Without a grace (the default) those that it has end by themselves: each has an age of its own.
                *(() if age_s is None else (("grpc.max_connection_age_ms", max(round(age_s * 1000), 1)),)),
                # Two servers on one port would share its connections silently; we want the second one to fail.
                ("grpc.so_reuseport", 0),
                # Above the limit that we refuse with details, so that gRPC's own refusal is met by gross excess only.
                ("grpc.max_receive_message_length", 2 * largest + 4096),
                # Calls that Python has not taken yet: above the first, gRPC drops some at random, above the second all.
                # The caller sees a CANCELLED then that it never asked for; what is too much is ours to refuse.
                ("grpc.server.max_pending_requests", _MOST_PENDING),
                ("grpc.server.max_pending_requests_hard_limit", _MOST_PENDING),
                # An editor may sit idle for hours and still want its stream.
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                # Who is gone without a word is found, and lets go of what it holds; gRPC alone asks after two hours,
                # and never a third time on a stream that nobody types on.
                ("grpc.keepalive_time_ms", _PING_EVERY_MS),
                ("grpc.keepalive_timeout_ms", _PONG_WITHIN_MS),
                ("grpc.http2.ping_timeout_ms", _PONG_WITHIN_MS),  # a minute if not set, whatever the line above says
                ("grpc.http2.max_pings_without_data", 0),
            ]
        )
        guard = CallGuard(
            tenants=tenants,
            observer=observer,
            lifecycle=lifecycle,
            max_request_bytes=max_request_bytes,
            larger_requests={"ImportSession": sessions.max_document_bytes + _BESIDE_A_DOCUMENT},
        )
        typing = Typing(sessions, lifecycle=lifecycle, observer=observer)
        methods = AutocompleteMethods(sessions)
        handler = guard.handler(methods.by_name(), {"Type": typing.serve, "Complete": methods.complete})
        kserve = _Kserve(inference or LateInference(sessions), guard, lifecycle, observer)
        self._server.add_generic_rpc_handlers((handler, kserve, _Reflection(guard)))
        self._health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def start(self, host: str, port: int) -> int:
        """Listen, not ready yet; returns the port, chosen by the system if 0 was given. Raises CannotListen."""
        for name in (SERVICE.full_name, KSERVE_SERVICE, _WHOLE_SERVER):
            await self._health.set(name, _NOT_SERVING)
        open_socket(host, port).close()  # raises what is wrong; gRPC would only log it and say that it failed
        try:
            bound = self._server.add_insecure_port(address(host, port))
        except RuntimeError as error:
            raise CannotListen(f"cannot listen on {address(host, port)}: {error}") from error
        await self._server.start()
        return bound

    async def set_ready(self) -> None:
        """Our service answers as fast as it ever will."""
        await self._health.set(SERVICE.full_name, _SERVING)

    async def complete(self) -> None:
        """All ports of the process are open."""
        await self._health.set(KSERVE_SERVICE, _SERVING)
        await self._health.set(_WHOLE_SERVER, _SERVING)

    async def stop(self, grace_s: float) -> None:
        """Health off, then no new calls; calls in flight may take `grace_s`. The lifecycle must be draining."""
        await self._health.enter_graceful_shutdown()
        stopping = asyncio.create_task(self._server.stop(grace_s))
        await self._lifecycle.wait_idle(grace_s)
        # What is left are watchers of health, which would wait for ever, and last bytes on their way out.
        await self._server.stop(_LAST_BYTES_S)
        await stopping


class _Kserve(_Handlers):
    """The Open Inference Protocol, imported when its first call comes."""

    def __init__(
        self, inference: LateInference, guard: CallGuard, lifecycle: Lifecycle, observer: RequestObserver
    ) -> None:
        self._inference, self._guard, self._lifecycle, self._observer = inference, guard, lifecycle, observer

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The behaviour of one of its methods; None for any other method."""
        if not handler_call_details.method.startswith(_KSERVE_PREFIX):
            return None
        return self._imported.service(handler_call_details)

    @cached_property
    def _imported(self) -> _Handlers:
        from service.transport.grpc.kserve.handler import inference_handler

        return inference_handler(self._inference.here, self._guard, self._lifecycle, self._observer)


class _Reflection(_Handlers):
    """Reflection, imported when somebody asks: people do, and they come later than the first keystroke."""

    def __init__(self, guard: CallGuard) -> None:
        self._guard = guard

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The behaviour of a method of reflection; None for any other method."""
        if not handler_call_details.method.startswith(_REFLECTION_PREFIX):
            return None
        handler = self._imported.service(handler_call_details)
        return None if handler is None else self._guard.keyed(handler, handler_call_details)

    @cached_property
    def _imported(self) -> _Handlers:
        from grpc_reflection.v1alpha import _async, reflection, reflection_pb2_grpc

        from service.transport.grpc.generated.inference import grpc_service_pb2

        assert KSERVE_SERVICE in (of.full_name for of in grpc_service_pb2.DESCRIPTOR.services_by_name.values())
        handlers = _Collector()
        names = (SERVICE.full_name, KSERVE_SERVICE, HEALTH_SERVICE, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(_async.ReflectionServicer(names), handlers)
        return handlers.collected


class _Collector:
    """Stands for a server, to which generated code can add its handlers."""

    collected: _Handlers

    def add_generic_rpc_handlers(self, handlers: Sequence[_Handlers]) -> None:
        (self.collected,) = handlers

    def add_registered_method_handlers(self, service_name: str, handlers: Mapping[str, Any]) -> None:
        """A shortcut for servers that have not started; the generic handler does the same."""
