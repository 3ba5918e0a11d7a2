"""What opens once gRPC answers: the metrics and REST, whose libraries take longer to import than a model to load."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from service.sessions.service import Sessions
from service.settings import TransportConfig
from service.telemetry.metrics import EngineMetrics, Metrics, RequestMetrics, StoreMetrics
from service.telemetry.scraping import MetricsServer
from service.telemetry.version_metrics import VersionMetrics
from service.transport.caller import TenantResolver
from service.transport.http.app import create_app
from service.transport.http.server import HttpServer
from service.transport.kserve.late import LateInference
from service.transport.lifecycle import Lifecycle
from service.versions import ModelVersions


@dataclass(frozen=True, slots=True)
class HttpAndMetrics:
    """Both, ready to be opened, and the observers that count into the metrics."""

    metrics: Metrics
    engines: Mapping[str, EngineMetrics]  # by the name of their model
    requests: RequestMetrics
    stores: StoreMetrics
    versions: VersionMetrics
    http: HttpServer

    def serve_metrics(self, listening: socket.socket) -> MetricsServer:
        """Answer scrapes from now on."""
        return MetricsServer(self.metrics.registry, listening)


def prepare(
    sessions: Sessions,
    suggesters: Mapping[str, ModelVersions],
    *,
    tenants: TenantResolver,
    inference: LateInference,
    lifecycle: Lifecycle,
    transport: TransportConfig,
    metrics_url: str,
    grace_s: float,
) -> HttpAndMetrics:
    """Make everything that needs no event loop; may be called on a thread of its own."""
    metrics = Metrics()
    metrics.read_sessions_on_scrape(lambda: sessions.held)
    for name, suggester in suggesters.items():
        metrics.read_waiting_on_scrape(name, suggester)
    metrics.read_keys_on_scrape(lambda: tenants.keys_are_current)
    requests = RequestMetrics(metrics)
    app = create_app(
        sessions,
        tenants=tenants,
        inference=inference,
        lifecycle=lifecycle,
        observer=requests,
        metrics_url=metrics_url,
        host=transport.host,
        allowed_origins=transport.allowed_origins,
        max_request_bytes=transport.max_request_bytes,
    )
    return HttpAndMetrics(
        metrics,
        {name: EngineMetrics(metrics, name) for name in suggesters},
        requests,
        StoreMetrics(metrics),
        VersionMetrics(metrics),
        HttpServer(app, grace_s=grace_s, max_request_bytes=transport.max_request_bytes),
    )
