"""A whole server in this process: real ports, real engine thread, a tiny exact model."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bootstrap import Server
from service.engine.fake_model import FakeModel
from service.engine.ports import States, StepModel, StepResult
from service.engine.requests import ModelIdentity
from service.engines import Models
from service.greeting import Addresses
from service.rollout import Source
from service.settings import load_settings
from service.storing import Opening
from service.tensors.ports import TensorModel
from service.transport.listening import open_socket

IDENTITY = ModelIdentity("fake", "0" * 64, "numerics")
ON_FREE_PORTS = {"grpc_port": 0, "http_port": 0, "metrics_port": 0, "store": "memory:"}


@dataclass(frozen=True)
class Running:
    """A server that runs, and where."""

    server: Server
    addresses: Addresses

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.addresses.grpc_port}"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.addresses.http_port}"

    @property
    def metrics(self) -> str:
        return f"http://127.0.0.1:{self.addresses.metrics_port}/metrics"


def make_server(
    model: StepModel | None = None,
    *,
    models: Models | None = None,
    of: type[Server] = Server,
    opening: type[Opening] = Opening,
    sources: Mapping[str, Source] | None = None,
    tensors: Sequence[TensorModel] = (),
    **flags: Any,
) -> Server:
    settings = load_settings({**ON_FREE_PORTS, "grace_s": 10.0, **flags})
    return of(
        [(model or FakeModel(), IDENTITY)] if models is None else models,
        listen=settings.listen(),
        transport=settings.transport(),
        capacity=settings.capacity(),
        opening=opening(settings.storing()),
        grace_s=settings.grace_s,
        sources=sources,
        rollout=settings.rollout(),
        tensors=tensors,
    )


@asynccontextmanager
async def running(model: StepModel | None = None, **flags: Any) -> AsyncIterator[Running]:
    server = make_server(model, **flags)
    addresses = await server.start()
    try:
        yield Running(server, addresses)
    finally:
        await server.stop()


def free_port() -> int:
    with open_socket("127.0.0.1", 0) as opened:
        return int(opened.getsockname()[1])


_SLOW_S = 0.002
"""Of a gated model's step: the engine runs what is quicker on the event loop's own thread, which must stay free."""


class GatedModel(FakeModel):
    """A FakeModel that waits at its gate before every step, so that a test can hold the engine still.

    The gate is open; `closed_after` closes it after so many steps (the engine makes the first one as it is built).
    """

    def __init__(self, *, closed_after: int | None = None) -> None:
        super().__init__()
        self._closed_after = closed_after
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()

    def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
        if self._closed_after is not None and len(self.calls) == self._closed_after:
            self.gate.clear()
            self._closed_after = None
        time.sleep(_SLOW_S)
        if not self.gate.is_set():
            self.waiting.set()
            if not self.gate.wait(timeout=30):
                raise TimeoutError("nobody opened the gate")
        return super().step(tokens, states, all_probabilities=all_probabilities)
