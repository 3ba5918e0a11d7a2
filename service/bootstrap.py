"""Builds everything once, closes it in order, and runs it in one event loop until a signal comes.

gRPC answers first; what the first keystroke does not need (REST, metrics, reflection) is imported on a thread while it
is answered, and opened then. Connections to those ports wait meanwhile: they are listened on from the beginning.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import uvloop

from service.engine.requests import ModelIdentity
from service.engine.state_tree import BudgetTooSmall
from service.engines import Engines, Models
from service.greeting import Addresses, greeting, reachable
from service.loading import Loading, ModelFolderError, warn_of_dependence
from service.sessions.limits import Limits
from service.sessions.service import Sessions
from service.sessions.stores.opening import CannotOpen
from service.settings import CapacityConfig, ListenConfig, RolloutConfig, Settings, StoreConfig, TransportConfig
from service.storing import (
    Opening,
    last_snapshots,
    max_awake,
    snapshot_for_ever,
    sweep_for_ever,
    where_text_is_kept,
)
from service.telemetry.late import LateEngineObserver, LateRequestObserver, LateStoreObserver
from service.telemetry.logs import configure_logs
from service.telemetry.timed_store import TimedStore
from service.transport.caller import TenantResolver
from service.transport.grpc.server import GrpcServer
from service.transport.keys import ApiKeys, BadKeys
from service.transport.kserve.late import LateInference
from service.transport.lifecycle import Lifecycle
from service.transport.listening import CannotListen, open_socket

if TYPE_CHECKING:
    from service.http_and_metrics import HttpAndMetrics
    from service.rollout import Rollout, Source
    from service.sessions.ports import Store
    from service.telemetry.scraping import MetricsServer
    from service.tensor_serving import TensorServing
    from service.tensors.ports import TensorModel

# How long a busy thread keeps the interpreter lock: at the default 5 ms the model loses most of its rate to it
# (docs/decisions/007-transports.md).
_SWITCH_INTERVAL_S = 0.0005
# Shorter while libraries are imported beside the first keystrokes: these hand the lock over some dozen times each.
_STARTING_SWITCH_INTERVAL_S = 0.00005
# A crowd of requests holds some thousands; to look through them at every 700th new one takes 6 % of a keystroke.
_YOUNG_OBJECTS = 10_000
_HEAD_START_S = 0.1  # for the warm-up, before imports take turns with it at the interpreter


class StartFailed(Exception):
    """The server cannot start; the message says what to change."""


class Server:
    """Every component of one process around its models. `start`, then `stop`; both on the event loop.

    sources: by the name of a model, where later versions of it come from.  tensors: models that read no text.
    """

    def __init__(
        self,
        models: Models,
        *,
        listen: ListenConfig,
        transport: TransportConfig,
        capacity: CapacityConfig,
        opening: Opening,
        grace_s: float,
        sources: Mapping[str, Source] | None = None,
        rollout: RolloutConfig | None = None,
        tensors: Sequence[TensorModel] = (),
    ) -> None:
        self._models, self._opening, self._tensors = models, opening, tensors
        self._sources, self._rollout_config = sources or {}, rollout or RolloutConfig()
        self._rollout: Rollout | None = None
        self._listen, self._transport, self._capacity, self._grace_s = listen, transport, capacity, grace_s
        self._tensor_budget_bytes = 0
        if tensors:  # all of them together have the share of one model
            self._tensor_budget_bytes = capacity.state_budget_bytes // (len(models) + 1)
            kept = capacity.state_budget_bytes - self._tensor_budget_bytes if models else capacity.state_budget_bytes
            self._capacity = replace(capacity, state_budget_bytes=kept)
        self._closing = AsyncExitStack()
        self._facades: list[Callable[[], Awaitable[None]]] = []  # how to stop those that are open
        self.lifecycle = Lifecycle(transport.max_stream_age_s)
        self._metrics_server: MetricsServer | None = None
        self._engine_observers = {identity.name: LateEngineObserver() for _, identity in models}
        self._tensor_serving: TensorServing | None = None
        self._request_observer = LateRequestObserver()
        self._store_observer = LateStoreObserver()

    @property
    def asks_for_keys(self) -> bool:
        """Whether callers need one."""
        return self._transport.api_keys_file is not None

    async def start(self) -> Addresses:
        """Listen, warm the models up, be ready. Raises StartFailed; everything is closed again then."""
        try:
            return await self._start()
        except BaseException:
            await self._closing.aclose()
            raise

    async def stop(self) -> None:
        """Readiness off, no new calls, what is in flight finished within the grace, everything closed in order."""
        self.lifecycle.drain()
        await self._closing.aclose()

    def renew_models(self) -> None:
        """Look into the models' folders now, and serve what is new there beside what serves. Never waits."""
        if self._rollout is not None:
            self._rollout.renew_soon()

    async def _start(self) -> Addresses:
        listen = self._listen
        self._closing.push_async_callback(self._opening.give_up)
        self._tenants = self._open_tenants()
        metrics_socket = self._listen_on("--metrics-port", listen.metrics_port)
        self._closing.push_async_callback(self._close_metrics)
        http_socket = self._listen_on("--http-port", listen.http_port)
        engines = self._open_engines()
        sessions = self._open_sessions(engines)
        self._closing.push_async_callback(self._stop_facades)
        self._inference = LateInference(
            sessions,
            self._opening.config.retention_s,
            partial(self._rollout_of, engines),
            None if self._tensor_serving is None else self._tensor_serving.inference,
        )
        grpc, grpc_port = await self._open_grpc(sessions)
        warming = asyncio.create_task(_warm_up(engines, grpc))
        try:
            await asyncio.wait([warming], timeout=_HEAD_START_S)
            await self._open_the_rest(sessions, engines, http_socket, metrics_socket)
            await warming
        finally:
            warming.cancel()
        self.lifecycle.warmed()
        await grpc.complete()
        return Addresses(listen.host, grpc_port, _port(http_socket), _port(metrics_socket))

    def _listen_on(self, flag: str, port: int) -> socket.socket:
        """Connections wait from now on; what is not taken over is closed at the end."""
        try:
            opened = open_socket(self._listen.host, port)
        except CannotListen as error:
            raise StartFailed(_refused(flag, str(error))) from error
        self._closing.callback(opened.close)
        return opened

    def _open_tenants(self) -> TenantResolver:
        file, trusted = self._transport.api_keys_file, self._transport.trust_tenant_header
        if file is None:
            return TenantResolver(trust_header=trusted)
        try:
            keys = ApiKeys(file, gateways=trusted)
        except BadKeys as error:
            raise StartFailed(f"--api-keys-file: {error}") from error
        self._closing.callback(asyncio.create_task(keys.follow()).cancel)
        return TenantResolver(trust_header=trusted, keys=keys)

    async def _close_metrics(self) -> None:
        if self._metrics_server is not None:
            await asyncio.to_thread(self._metrics_server.close)

    async def _open_the_rest(
        self,
        sessions: Sessions,
        engines: Engines,
        http_socket: socket.socket,
        metrics_socket: socket.socket,
    ) -> None:
        rest = await asyncio.to_thread(self._prepare_the_rest, sessions, engines, _port(metrics_socket))
        self._metrics_server = rest.serve_metrics(metrics_socket)
        for name, observer in rest.engines.items():
            self._engine_observers[name].open(observer)
        self._request_observer.open(rest.requests)
        self._store_observer.open(rest.stores)
        if self._tensor_serving is not None:
            self._tensor_serving.show(rest.metrics)
        rollout = self._rollout_of(engines)
        rollout.observe(rest.versions)
        rollout.start()
        self._closing.push_async_callback(rollout.stop)
        await rest.http.start(http_socket)
        self._facades.append(rest.http.stop)

    def _prepare_the_rest(self, sessions: Sessions, engines: Engines, metrics_port: int) -> HttpAndMetrics:
        from service.http_and_metrics import prepare

        import_module("service.rollout")  # here, where nobody waits for it; made on the event loop
        return prepare(
            sessions,
            engines.suggesters,
            tenants=self._tenants,
            inference=self._inference,
            lifecycle=self.lifecycle,
            transport=self._transport,
            metrics_url=f"http://{reachable(self._listen.host, metrics_port)}/metrics",
            grace_s=self._grace_s,
        )

    def _rollout_of(self, engines: Engines) -> Rollout:
        """The one of this server; the first keystroke does not wait for it."""
        from service.rollout import Rollout

        if self._rollout is None:
            self._rollout = Rollout(engines, self._sources, self._rollout_config)
        return self._rollout

    def _open_engines(self) -> Engines:
        try:
            observer_of = self._engine_observers.__getitem__
            engines = Engines(self._models, self._capacity, observer_of, self._rollout_config)
        except BudgetTooSmall as error:
            raise StartFailed(f"--state-budget: {error}") from error
        self._closing.push_async_callback(engines.stop, grace_s=self._grace_s)
        return engines

    def _open_sessions(self, engines: Engines) -> Sessions:
        try:
            store = self._opening.take()
        except CannotOpen as error:
            raise StartFailed(f"--store: {error}") from error
        timed = TimedStore(store, self._store_observer)
        limits = Limits(
            max_sessions=self._capacity.max_sessions,
            max_awake=max_awake(self._opening.config),
            max_text_bytes=self._capacity.max_session_bytes,
            max_inserted_bytes=self._capacity.max_edit_bytes,
            snapshots=self._opening.config.snapshots,
        )
        sessions = Sessions(
            engines.suggesters,
            timed,
            new_id=lambda: secrets.token_hex(16),
            new_incarnation=lambda: secrets.randbits(63),
            limits=limits,
            elsewhere={model.identity.name: model.way_out for model in self._tensors},
        )
        if self._tensors:
            self._open_tensors(timed, limits)
        self._closing.push_async_callback(sessions.close)
        self._closing.push_async_callback(last_snapshots, sessions)
        self._closing.callback(asyncio.create_task(snapshot_for_ever(sessions)).cancel)
        if self._opening.config.retention_s is not None:
            self._closing.callback(asyncio.create_task(sweep_for_ever(sessions)).cancel)
        return sessions

    def _open_tensors(self, store: Store, limits: Limits) -> None:
        from service.tensor_serving import TensorServing  # who serves texts alone need not wait for it

        self._tensor_serving = TensorServing(
            self._tensors,
            store,
            limits,
            budget_bytes=self._tensor_budget_bytes,
            max_waiting=self._capacity.max_queued,
        )
        self._closing.callback(self._tensor_serving.close)

    async def _stop_facades(self) -> None:
        """Both at once, so that they share the grace."""
        await asyncio.gather(*(stop() for stop in self._facades))

    async def _open_grpc(self, sessions: Sessions) -> tuple[GrpcServer, int]:
        server = GrpcServer(
            sessions,
            tenants=self._tenants,
            observer=self._request_observer,
            lifecycle=self.lifecycle,
            max_request_bytes=self._transport.max_request_bytes,
            inference=self._inference,
        )
        try:
            port = await server.start(self._listen.host, self._listen.grpc_port)
        except CannotListen as error:
            raise StartFailed(_refused("--grpc-port", str(error))) from error
        self._facades.append(partial(server.stop, self._grace_s))
        return server, port


def serve(settings: Settings, loading: Loading, opening: Opening) -> None:
    """Serve the models that are being loaded, with the store that is being opened, until SIGTERM or SIGINT.

    Raises StartFailed if a port cannot be opened or a model cannot be served.
    """
    configure_logs(settings.log().level, settings.log().format)
    try:
        loaded = loading.result()
    except ModelFolderError as error:
        raise StartFailed(str(error)) from error
    models = loaded.models
    for model in models:
        warn_of_dependence(model)
    sources = {model.identity.name: folder for model, folder in zip(models, loaded.folders, strict=True)}
    run(settings, [(model, model.identity) for model in models], opening, sources, loaded.tensors)


def run(
    settings: Settings,
    models: Models,
    opening: Opening,
    sources: Mapping[str, Source] | None = None,
    tensors: Sequence[TensorModel] = (),
) -> None:
    """Serve models that are loaded already until SIGTERM or SIGINT; the others as for Server. Raises StartFailed."""
    server = Server(
        models,
        listen=settings.listen(),
        transport=settings.transport(),
        capacity=settings.capacity(),
        opening=opening,
        grace_s=settings.grace_s,
        sources=sources,
        rollout=settings.rollout(),
        tensors=tensors,
    )
    identities = [*(identity for _, identity in models), *(model.identity for model in tensors)]
    example = None if models else tensors[0].example
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(server, identities, opening.config, example, banner=settings.log_format != "json"))


async def _run(
    server: Server,
    identities: Sequence[ModelIdentity],
    storing: StoreConfig,
    example: Mapping[str, object] | None,
    *,
    banner: bool,
) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, loop, ended)
    sys.setswitchinterval(_STARTING_SWITCH_INTERVAL_S)
    addresses = await server.start()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.freeze()  # without a look at it first: that would hold everybody up for as long as dozens of keystrokes
    gc.set_threshold(_YOUNG_OBJECTS)
    gc.enable()
    log = logging.getLogger("carousel")
    if banner:
        kept = where_text_is_kept(storing)
        lines = greeting(addresses, identities, kept, example, asks_for_keys=server.asks_for_keys)
        print(lines, file=sys.stderr, flush=True)
    default = identities[0]
    about = {
        "model": default.name,
        "digest": default.digest,
        "models": [identity.name for identity in identities],
        "store": storing.described,
        "asks_for_keys": server.asks_for_keys,
    }
    log.info("serving", extra={**addresses._asdict(), **about})
    if not sys.stderr.isatty():  # on a terminal it says that the terminal is gone, and ends the process
        loop.add_signal_handler(signal.SIGHUP, server.renew_models)
    await ended.wait()
    log.info("draining")
    await server.stop()
    log.info("ended")


def _end(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """The first signal ends the process in order; the next one has its usual effect, for whoever cannot wait."""
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
    ended.set()


async def _warm_up(engines: Engines, grpc: GrpcServer) -> None:
    await engines.warm_up()
    await grpc.set_ready()


def _port(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port


def _refused(flag: str, reason: str) -> str:
    return f"{flag}: {reason}; give another port, or 0 to let the system choose"
