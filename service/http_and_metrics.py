"""What opens once gRPC answers: the metrics and REST, whose libraries take longer to import than a model to load."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from service.engine.requests import ModelIdentity
from service.sessions.service import Sessions
from service.settings import TransportConfig
from service.telemetry.metrics import EngineMetrics, Metrics, RequestMetrics, StoreMetrics
from service.telemetry.scraping import MetricsServer
from service.transport.caller import TenantResolver
from service.transport.http.app import create_app
from service.transport.http.server import HttpServer
from service.transport.lifecycle import Lifecycle


@dataclass(frozen=True, slots=True)
class HttpAndMetrics:
    """Both, ready to be opened, and the observers that count into the metrics."""

    metrics: Metrics
    engine: EngineMetrics
    requests: RequestMetrics
    stores: StoreMetrics
    http: HttpServer

    def serve_metrics(self, listening: socket.socket) -> MetricsServer:
        """Answer scrapes from now on."""
        return MetricsServer(self.metrics.registry, listening)


def prepare(
    sessions: Sessions,
    waiting: Callable[[], int],
    identity: ModelIdentity,
    *,
    tenants: TenantResolver,
    lifecycle: Lifecycle,
    transport: TransportConfig,
    metrics_url: str,
    grace_s: float,
) -> HttpAndMetrics:
    """Make everything that needs no event loop; may be called on a thread of its own."""
    metrics = Metrics()
    metrics.model_info.labels(identity.name, identity.digest, identity.numerics_id).set(1)
    metrics.read_on_scrape(sessions=lambda: sessions.held, waiting=waiting)
    requests = RequestMetrics(metrics)
    app = create_app(
        sessions,
        tenants=tenants,
        lifecycle=lifecycle,
        observer=requests,
        metrics_url=metrics_url,
        host=transport.host,
        allowed_origins=transport.allowed_origins,
        max_request_bytes=transport.max_request_bytes,
    )
    return HttpAndMetrics(
        metrics, EngineMetrics(metrics), requests, StoreMetrics(metrics), HttpServer(app, grace_s=grace_s)
    )
