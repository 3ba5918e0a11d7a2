"""A server of this process's own, for a command that needs a model and found no server.

It is the real server on ports that the system chooses, in a thread with an event loop of its own, so that what stands
above it speaks to it as to any other.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import uvloop

from service.bootstrap import Server
from service.engine.ports import StepModel
from service.engine.requests import ModelIdentity
from service.greeting import Addresses
from service.runtime.onnx_model import load_model
from service.settings import Settings, StoreConfig
from service.storing import Opening

_START_S = 120.0
_STOP_S = 10.0
_GRACE_S = 1.0
_LOOPBACK = "127.0.0.1"
_SWITCH_INTERVAL_S = 0.0005  # as in every process that runs a model beside other threads; see service.bootstrap


class LocalServer:
    """Runs while it is entered. `addresses` says where; nobody but this machine can call it."""

    def __init__(self, model: StepModel, identity: ModelIdentity, settings: Settings) -> None:
        self._model, self._identity, self._settings = model, identity, settings
        self._addresses: Future[Addresses] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="carousel-server", daemon=True)

    @property
    def addresses(self) -> Addresses:
        """Where it listens; only while it runs."""
        return self._addresses.result(timeout=0)

    def __enter__(self) -> LocalServer:
        """Start, and wait until it is ready. Raises StartFailed."""
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._thread.start()
        self._addresses.result(timeout=_START_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End it in order and wait for that; once is enough, twice is fine."""
        if self._thread.is_alive() and self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = Server(
            [(self._model, self._identity)],
            listen=replace(self._settings.listen(), host=_LOOPBACK, grpc_port=0, http_port=0, metrics_port=0),
            transport=replace(self._settings.transport(), host=_LOOPBACK, api_keys_file=None),
            capacity=self._settings.capacity(),
            opening=Opening(StoreConfig("memory")),  # what is typed here is nobody's to keep
            grace_s=_GRACE_S,
        )
        try:
            addresses = await server.start()
        except BaseException as error:  # noqa: BLE001  whatever it is, the thread that waits for the addresses raises it
            self._addresses.set_exception(error)
            return
        self._addresses.set_result(addresses)
        await self._stopping.wait()
        await server.stop()


def model_of_this_process(settings: Settings, folder: Path | None) -> LocalServer:
    """A server, not yet started, of the model in `folder`, or of the first one that the settings name.

    Raises ModelFolderError.
    """
    wanted = settings.models_to_load()[0]
    model = load_model(
        folder or wanted.folder,
        wanted.precision or "auto",
        wanted.threads,
        allow_batch_dependent=wanted.allow_batch_dependent,
    )
    return LocalServer(model, model.identity, settings)
