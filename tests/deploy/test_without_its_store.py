"""A replica whose Valkey is away starts, is ready to its probes, and says of edits that they cannot be kept."""

from __future__ import annotations

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.deploy import objects
from tests.integration.servers import Running, free_port, running


async def _ready(server: Running) -> tuple[int, int]:
    """What the kubelet's questions are answered: gRPC's status, and that of /livez."""
    probe = objects.container("overlays/scaled")["readinessProbe"]["grpc"]
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        asked = health_pb2.HealthCheckRequest(service=probe["service"])
        status = (await health_pb2_grpc.HealthStub(channel).Check(asked)).status
    async with httpx.AsyncClient(verify=False) as http:
        path = objects.container("overlays/scaled")["livenessProbe"]["httpGet"]["path"]
        assert (await http.get(f"{server.http}/readyz")).status_code == 200
        return status, (await http.get(f"{server.http}{path}")).status_code


async def test_it_starts_and_stays_ready_while_the_store_is_away() -> None:
    async with running(store=f"valkey://127.0.0.1:{free_port()}/0") as server:
        assert await _ready(server) == (health_pb2.HealthCheckResponse.SERVING, 200)
        async with httpx.AsyncClient(verify=False) as http:
            refused = await http.post(f"{server.http}/v1/sessions", json={"text": "a"})
            assert (refused.status_code, refused.json()["code"]) == (503, "UNAVAILABLE")
            assert int(refused.headers["retry-after"]) > 0
        assert await _ready(server) == (health_pb2.HealthCheckResponse.SERVING, 200)
