"""The Envoy configuration: Envoy takes it, it leads where the server is, and it is what the cluster gets.

What it does with real replicas: tests/faults/test_behind_envoy.py.
"""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml

from service.sessions.checks import _SESSION_ID
from service.settings import SETTINGS
from service.transport.grpc.calls import SERVICE
from service.transport.grpc.server import KSERVE_SERVICE
from service.transport.http.openai.pinning import SESSION_HEADER
from tests.deploy import objects
from tests.faults.envoy_process import CONFIGURATION, command, shipped

CLUSTERS = {"carousel_grpc": "grpc_port", "carousel_http": "http_port"}


@pytest.fixture(scope="module")
def config() -> Any:
    return shipped()


@pytest.fixture(scope="module")
def clusters(config: Any) -> dict[str, Any]:
    return {cluster["name"]: cluster for cluster in config["static_resources"]["clusters"]}


@pytest.fixture(scope="module")
def manager(config: Any) -> Any:
    """The connection manager of the callers' listener."""
    return config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def routes(manager: Any) -> dict[str, Any]:
    (host,) = manager["route_config"]["virtual_hosts"]
    return {route["name"]: route for route in host["routes"]}


def test_envoy_takes_it_and_warns_of_nothing() -> None:
    arguments = [command(), "--mode", "validate", "--log-level", "warning", "--config-path", str(CONFIGURATION)]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "[warning]" not in result.stderr, result.stderr


def test_it_leads_to_the_replicas_at_the_ports_that_they_listen_on(clusters: dict[str, Any]) -> None:
    ports = {
        port["name"]: port["port"] for port in objects.one("base", "Service", "carousel-replicas")["spec"]["ports"]
    }
    assert clusters.keys() == CLUSTERS.keys()
    for name, setting in CLUSTERS.items():
        ((endpoint,),) = (one["lb_endpoints"] for one in clusters[name]["load_assignment"]["endpoints"])
        address = endpoint["endpoint"]["address"]["socket_address"]
        assert address == {"address": "carousel-replicas", "port_value": SETTINGS[setting].default}
        assert ports[setting.removesuffix("_port")] == address["port_value"]
        assert clusters[name]["lb_policy"] == "RING_HASH"


def test_replicas_are_asked_for_their_health_as_the_kubelet_asks(clusters: dict[str, Any]) -> None:
    ((grpc,), (http,)) = (clusters[name]["health_checks"] for name in CLUSTERS)
    assert grpc["grpc_health_check"]["service_name"] == SERVICE.full_name
    assert http["http_health_check"]["path"] == "/readyz"


def test_every_way_to_a_replica_hashes_the_session(manager: Any) -> None:
    for name, route in routes(manager).items():
        if "route" in route:
            assert route["route"]["hash_policy"][0]["header"]["header_name"] == SESSION_HEADER, name


def test_a_path_with_a_session_hashes_the_sessions_name_alone(manager: Any) -> None:
    route = routes(manager)["session"]
    matches = route["match"]["safe_regex"]["regex"]
    rewrite = route["route"]["hash_policy"][1]["header"]["regex_rewrite"]
    for path in ("/v1/sessions/a.b_c-1", "/v1/sessions/a.b_c-1/type", "/v1/sessions/a.b_c-1/edits"):
        assert re.fullmatch(matches, path)
        hashed = re.sub(rewrite["pattern"]["regex"], rewrite["substitution"], f"{path}?include=text")
        assert hashed == "a.b_c-1"
    for path in ("/v1/sessions", "/v1/sessions/", "/v1/sessions/a%20b/edits", "/v1/completions"):
        assert not re.fullmatch(matches, path)
    characters = _SESSION_ID.pattern.partition("{")[0]
    assert characters in matches and characters in rewrite["pattern"]["regex"]
    assert list(routes(manager)).index("import") < list(routes(manager)).index("session")


def test_streams_are_not_cut_by_a_clock_and_another_replica_is_asked_when_one_fails(manager: Any) -> None:
    assert manager["request_timeout"] == "0s"
    streamed = ("grpc", "kserve_grpc", "kserve_http", "session", "http")
    assert {routes(manager)[name]["route"]["timeout"] for name in streamed} == {"0s"}
    (host,) = manager["route_config"]["virtual_hosts"]
    (predicate,) = host["retry_policy"]["retry_host_predicate"]
    assert predicate["name"] == "envoy.retry_host_predicates.previous_hosts"
    assert host["retry_policy"]["host_selection_retry_max_attempts"] >= 32


def test_what_may_have_been_appended_to_a_sequence_is_not_sent_again(manager: Any) -> None:
    for name, prefix in (("kserve_grpc", f"/{KSERVE_SERVICE}/"), ("kserve_http", "/v2/")):
        route = routes(manager)[name]
        assert route["match"]["prefix"] == prefix
        again = set(route["route"]["retry_policy"]["retry_on"].split(","))
        assert again == {"connect-failure", "refused-stream", "reset-before-request"}
    order = list(routes(manager))
    assert order.index("kserve_grpc") < order.index("grpc") and order.index("kserve_http") < order.index("http")


def test_the_cluster_gets_this_file_at_the_path_that_envoy_is_given() -> None:
    envoy = objects.one("overlays/scaled", "Deployment", "carousel-envoy")["spec"]["template"]["spec"]
    (container,), (volume,) = envoy["containers"], envoy["volumes"]
    configured = objects.one("overlays/scaled", "ConfigMap", volume["configMap"]["name"])
    assert yaml.safe_load(configured["data"]["envoy.yaml"]) == shipped()
    (mount,) = container["volumeMounts"]
    assert container["args"][:2] == ["--config-path", f"{mount['mountPath']}/envoy.yaml"]


def test_its_listeners_are_the_ports_of_its_pod_and_its_probes(config: Any) -> None:
    callers, ready = (one["address"]["socket_address"]["port_value"] for one in config["static_resources"]["listeners"])
    envoy = objects.one("overlays/scaled", "Deployment", "carousel-envoy")["spec"]["template"]["spec"]
    (container,) = envoy["containers"]
    assert objects.ports(container) == {"callers": callers, "ready": ready}
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "ready"}


def test_its_flags_are_envoys_own() -> None:
    envoy = objects.one("overlays/scaled", "Deployment", "carousel-envoy")["spec"]["template"]["spec"]
    flags = [argument for argument in envoy["containers"][0]["args"] if argument.startswith("--")]
    known = subprocess.run([command(), "--help"], capture_output=True, text=True, timeout=60).stdout
    assert flags
    assert all(flag in known for flag in flags)


def test_its_image_is_the_version_that_is_tested_here() -> None:
    (image,) = {
        container["image"]
        for container in objects.one("overlays/scaled", "Deployment", "carousel-envoy")["spec"]["template"]["spec"][
            "containers"
        ]
    }
    version = subprocess.run([command(), "--version"], capture_output=True, text=True, timeout=60).stdout
    assert f"/{image.rpartition('v')[2]}/" in version
