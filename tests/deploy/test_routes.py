"""The Gateway API's routes lead callers to every path and service that the server has for them, and to no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_reflection.v1alpha.reflection import SERVICE_NAME as REFLECTION

from service.transport.grpc.calls import SERVICE
from service.transport.grpc.server import KSERVE_SERVICE as KSERVE
from tests.deploy import objects
from tests.integration.servers import running

FOR_OPERATORS = {"/livez", "/readyz", "/metrics"}


@pytest.fixture(scope="module")
def leads() -> Callable[[str], bool]:
    (rule,) = objects.one("overlays/operated", "HTTPRoute")["spec"]["rules"]

    def leads(path: str) -> bool:
        return any(_matches(match["path"], path) for match in rule["matches"])

    return leads


def _matches(match: dict[str, str], path: str) -> bool:
    """As the Gateway API says: a prefix matches whole parts of a path."""
    if match["type"] == "Exact":
        return path == match["value"]
    return path == match["value"] or path.startswith(match["value"].rstrip("/") + "/")


async def test_every_documented_path_has_a_route_but_those_for_operators(leads: Callable[[str], bool]) -> None:
    async with running() as server, httpx.AsyncClient(base_url=server.http, verify=False) as http:
        document = (await http.get("/openapi.json")).json()
        assert (await http.get("/docs")).is_success
    paths = set(document["paths"])
    assert paths >= FOR_OPERATORS
    assert {path for path in paths if not leads(path)} == FOR_OPERATORS
    assert leads("/docs") and leads("/docs/assets/swagger-ui.css") and leads("/openapi.json")
    assert leads("/v1/sessions/an-id/type"), "the WebSocket"


def test_every_grpc_service_has_a_route() -> None:
    (rule,) = objects.one("overlays/operated", "GRPCRoute")["spec"]["rules"]
    ours = {SERVICE.full_name, KSERVE, HEALTH, REFLECTION}
    assert {match["method"]["service"] for match in rule["matches"]} == ours


@pytest.mark.parametrize(("kind", "port"), [("HTTPRoute", "http"), ("GRPCRoute", "grpc")])
def test_they_lead_to_a_port_of_envoy_that_speaks_their_protocol(kind: str, port: str) -> None:
    spec = objects.one("overlays/operated", kind)["spec"]
    ((backend,),) = (rule["backendRefs"] for rule in spec["rules"])
    service: Any = objects.one("overlays/operated", "Service", backend["name"])
    assert {"name": port, "port": backend["port"]}.items() <= next(
        one for one in service["spec"]["ports"] if one["name"] == port
    ).items()


def test_the_two_routes_share_no_host_name() -> None:
    names = [set(objects.one("overlays/operated", kind)["spec"]["hostnames"]) for kind in ("HTTPRoute", "GRPCRoute")]
    assert not names[0] & names[1]


def test_kserves_probes_ask_for_paths_that_are_documented() -> None:
    (container,) = objects.one("components/kserve", "ServingRuntime")["spec"]["containers"]
    asked = {container[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")}
    assert asked == {"/v2/health/ready", "/v2/health/live"}
