"""The gRPC server: our service, health and reflection on one port."""

from __future__ import annotations

import asyncio

import grpc
from grpc_health.v1 import _async as health_aio  # the package offers it as health.aio, which its stubs do not know
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_reflection.v1alpha import reflection

from service.sessions.service import Sessions
from service.transport.caller import TenantResolver
from service.transport.grpc.calls import SERVICE, CallGuard
from service.transport.grpc.servicer import AutocompleteMethods
from service.transport.grpc.typing_stream import Typing
from service.transport.lifecycle import Lifecycle
from service.transport.listening import CannotListen, address, open_socket
from service.transport.observer import RequestObserver

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_LAST_BYTES_S = 0.25
_HEALTH_NAMES = ("", SERVICE.full_name)


class GrpcServer:
    """Serves from the moment `start` returns; health says NOT_SERVING until `set_ready(True)`."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        tenants: TenantResolver,
        observer: RequestObserver,
        lifecycle: Lifecycle,
        max_request_bytes: int,
    ) -> None:
        self._lifecycle = lifecycle
        self._server = grpc.aio.server(
            options=[
                # Two servers on one port would share its connections silently; we want the second one to fail.
                ("grpc.so_reuseport", 0),
                # Above the limit that we refuse with details, so that gRPC's own refusal is met by gross excess only.
                ("grpc.max_receive_message_length", 2 * max_request_bytes + 4096),
                # An editor may sit idle for hours and still want its stream.
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ]
        )
        guard = CallGuard(tenants=tenants, observer=observer, lifecycle=lifecycle, max_request_bytes=max_request_bytes)
        typing = Typing(sessions, lifecycle=lifecycle, observer=observer)
        methods = AutocompleteMethods(sessions)
        handler = guard.handler(methods.by_name(), {"Type": typing.serve, "Complete": methods.complete})
        self._server.add_generic_rpc_handlers((handler,))
        self._health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE.full_name, HEALTH_SERVICE, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, host: str, port: int) -> int:
        """Listen, not ready yet; returns the port, chosen by the system if 0 was given. Raises CannotListen."""
        await self.set_ready(False)
        open_socket(host, port).close()  # raises what is wrong; gRPC would only log it and say that it failed
        try:
            bound = self._server.add_insecure_port(address(host, port))
        except RuntimeError as error:
            raise CannotListen(f"cannot listen on {address(host, port)}: {error}") from error
        await self._server.start()
        return bound

    async def set_ready(self, ready: bool) -> None:
        """What health answers, for the whole server and for our service."""
        for name in _HEALTH_NAMES:
            await self._health.set(name, _SERVING if ready else _NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Health off, then no new calls; calls in flight may take `grace_s`. The lifecycle must be draining."""
        await self._health.enter_graceful_shutdown()
        stopping = asyncio.create_task(self._server.stop(grace_s))
        await self._lifecycle.wait_idle(grace_s)
        # What is left are watchers of health, which would wait for ever, and last bytes on their way out.
        await self._server.stop(_LAST_BYTES_S)
        await stopping
