"""Builds everything once, closes it in order, and runs it in one event loop until a signal comes."""

from __future__ import annotations

import asyncio
import gc
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial

import structlog
import uvloop

from service.bridge import EngineSuggester, LoopDelivery
from service.engine.engine import Engine, EngineConfig
from service.engine.ports import StepModel
from service.engine.requests import Advance, ModelIdentity, SuggestSpec
from service.engine.running import RunBeside
from service.engine.scheduler import BatchLimits
from service.engine.state_tree import BudgetTooSmall, TreeConfig
from service.greeting import Addresses, greeting, reachable
from service.runtime.onnx_model import load_model
from service.sessions.limits import Limits
from service.sessions.service import Sessions
from service.sessions.stores.memory import MemoryStore
from service.settings import CapacityConfig, ListenConfig, Settings, TransportConfig
from service.telemetry.logs import configure_logs
from service.telemetry.metrics import EngineMetrics, Metrics, RequestMetrics, serve_metrics
from service.telemetry.timed_store import TimedStore
from service.transport.caller import TenantResolver
from service.transport.grpc.server import GrpcServer
from service.transport.http.app import create_app
from service.transport.http.server import HttpServer
from service.transport.lifecycle import Lifecycle
from service.transport.listening import CannotListen, address

# How long a busy thread keeps the interpreter lock: at the default 5 ms the model loses most of its rate to it
# (docs/decisions/007-transports.md).
_SWITCH_INTERVAL_S = 0.0005
_WARM_UP_TEXT = b"def main():\n    "
_WARM_UP_SCOPE = "warm-up"  # a scope of its own: no session shares its states


class StartFailed(Exception):
    """The server cannot start; the message names the flag to change."""


class Server:
    """Every component of one process around one model. `start`, then `stop`; both on the event loop."""

    def __init__(
        self,
        model: StepModel,
        identity: ModelIdentity,
        *,
        listen: ListenConfig,
        transport: TransportConfig,
        capacity: CapacityConfig,
        grace_s: float,
    ) -> None:
        self._model, self._identity = model, identity
        self._listen, self._transport, self._capacity, self._grace_s = listen, transport, capacity, grace_s
        self._closing = AsyncExitStack()
        self._facades: list[Callable[[], Awaitable[None]]] = []  # how to stop those that are open
        self.lifecycle = Lifecycle()
        self.metrics = Metrics()
        self._observer = RequestMetrics(self.metrics)
        self._tenants = TenantResolver(trust_header=transport.trust_tenant_header)

    async def start(self) -> Addresses:
        """Listen, warm the model up, be ready. Raises StartFailed; everything is closed again then."""
        try:
            return await self._start()
        except BaseException:
            await self._closing.aclose()
            raise

    async def stop(self) -> None:
        """Readiness off, no new calls, what is in flight finished within the grace, everything closed in order."""
        self.lifecycle.drain()
        await self._closing.aclose()

    async def _start(self) -> Addresses:
        metrics_port = self._open_metrics()
        suggester = self._open_engine()
        sessions = self._open_sessions(suggester)
        self._closing.push_async_callback(self._stop_facades)
        grpc, grpc_port = await self._open_grpc(sessions)
        http_port = await self._open_http(sessions, f"http://{reachable(self._listen.host, metrics_port)}/metrics")
        await _warm_up(suggester)
        self.lifecycle.warmed()
        await grpc.set_ready(True)
        return Addresses(self._listen.host, grpc_port, http_port, metrics_port)

    def _open_metrics(self) -> int:
        listen, identity = self._listen, self._identity
        try:
            server = serve_metrics(self.metrics, listen.host, listen.metrics_port)
        except OSError as error:
            where = address(listen.host, listen.metrics_port)
            raise StartFailed(_refused("--metrics-port", f"cannot listen on {where}: {error.strerror}")) from error
        self._closing.push_async_callback(asyncio.to_thread, server.close)
        self.metrics.model_info.labels(identity.name, identity.digest, identity.numerics_id).set(1)
        return server.port

    def _open_engine(self) -> EngineSuggester:
        loop = asyncio.get_running_loop()
        config = EngineConfig(
            tree=TreeConfig(budget_bytes=self._capacity.state_budget_bytes),
            batch=BatchLimits(max_rows=self._capacity.max_batch_rows),
            max_waiting=self._capacity.max_queued,
        )
        try:
            engine = Engine(
                self._model,
                config,
                deliver=LoopDelivery(loop),
                clock=time.monotonic,
                observer=EngineMetrics(self.metrics),
                runner=RunBeside(),
            )
        except BudgetTooSmall as error:
            raise StartFailed(f"--state-budget: {error}") from error
        engine.start()
        # In a thread, because the engine's last answers need this loop to run.
        self._closing.push_async_callback(asyncio.to_thread, engine.stop, grace_s=self._grace_s)
        return EngineSuggester(engine, self._identity, loop)

    def _open_sessions(self, suggester: EngineSuggester) -> Sessions:
        sessions = Sessions(
            {self._identity.name: suggester},
            TimedStore(MemoryStore(), self.metrics.store_duration),
            new_id=lambda: secrets.token_hex(16),
            new_incarnation=lambda: secrets.randbits(63),
            limits=Limits(
                max_sessions=self._capacity.max_sessions,
                max_text_bytes=self._capacity.max_session_bytes,
                max_inserted_bytes=self._capacity.max_edit_bytes,
            ),
        )
        self.metrics.read_on_scrape(sessions=lambda: sessions.held, waiting=lambda: suggester.waiting)
        self._closing.push_async_callback(sessions.close)
        return sessions

    async def _stop_facades(self) -> None:
        """Both at once, so that they share the grace."""
        await asyncio.gather(*(stop() for stop in self._facades))

    async def _open_grpc(self, sessions: Sessions) -> tuple[GrpcServer, int]:
        server = GrpcServer(
            sessions,
            tenants=self._tenants,
            observer=self._observer,
            lifecycle=self.lifecycle,
            max_request_bytes=self._transport.max_request_bytes,
        )
        try:
            port = await server.start(self._listen.host, self._listen.grpc_port)
        except CannotListen as error:
            raise StartFailed(_refused("--grpc-port", str(error))) from error
        self._facades.append(partial(server.stop, self._grace_s))
        return server, port

    async def _open_http(self, sessions: Sessions, metrics_url: str) -> int:
        app = create_app(
            sessions,
            tenants=self._tenants,
            lifecycle=self.lifecycle,
            observer=self._observer,
            metrics_url=metrics_url,
            host=self._transport.host,
            allowed_origins=self._transport.allowed_origins,
            max_request_bytes=self._transport.max_request_bytes,
        )
        server = HttpServer(app, grace_s=self._grace_s)
        try:
            port = await server.start(self._listen.host, self._listen.http_port)
        except CannotListen as error:
            raise StartFailed(_refused("--http-port", str(error))) from error
        self._facades.append(server.stop)
        return port


def serve(settings: Settings) -> None:
    """Serve the model of the settings until SIGTERM or SIGINT.

    Raises StartFailed if a port cannot be opened, and ModelFolderError if the model cannot be served.
    """
    configure_logs(settings.log().level, settings.log().format)
    wanted = settings.model_to_load()
    model = load_model(
        wanted.folder,
        wanted.precision or "auto",
        wanted.threads,
        allow_batch_dependent=wanted.allow_batch_dependent,
    )
    if model.batch_dependence is not None:
        structlog.stdlib.get_logger("carousel").warning(
            "THE ROWS OF THIS MODEL DEPEND ON EACH OTHER: what one person types changes what another is shown",
            model=model.identity.name,
            found=model.batch_dependence,
            way_out="serve a graph of `carousel export`, without --allow-batch-dependent",
        )
    run(settings, model, model.identity)


def run(settings: Settings, model: StepModel, identity: ModelIdentity) -> None:
    """Serve a model that is loaded already until SIGTERM or SIGINT. Raises StartFailed."""
    server = Server(
        model,
        identity,
        listen=settings.listen(),
        transport=settings.transport(),
        capacity=settings.capacity(),
        grace_s=settings.grace_s,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(server, identity, banner=settings.log_format != "json"))


async def _run(server: Server, identity: ModelIdentity, *, banner: bool) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, loop, ended)
    addresses = await server.start()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    log = structlog.stdlib.get_logger("carousel")
    if banner:
        print(greeting(addresses, identity), file=sys.stderr, flush=True)
    log.info("serving", **asdict(addresses), model=identity.name, digest=identity.digest)
    await ended.wait()
    log.info("draining")
    await server.stop()
    log.info("ended")


def _end(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """The first signal ends the process in order; the next one has its usual effect, for whoever cannot wait."""
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
    ended.set()


async def _warm_up(suggester: EngineSuggester) -> None:
    """Run the model once the way that sessions will, so that the first caller does not pay for it."""
    path = suggester.open_path(_WARM_UP_SCOPE)
    await suggester.advance(Advance(path, _WARM_UP_TEXT, suggest=SuggestSpec()))
    suggester.close_path(path)


def _refused(flag: str, reason: str) -> str:
    return f"{flag}: {reason}; give another port, or 0 to let the system choose"
