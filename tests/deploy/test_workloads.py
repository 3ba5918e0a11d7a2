"""What the manifests say of the server is so: settings, ports, probes, memory, and pods that can gain no rights."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import APIRoute

from service.settings import ENVIRONMENT_PREFIX, SETTINGS, Settings, load_settings
from service.transport.grpc.calls import SERVICE
from service.transport.http.operations_routes import operations_routes
from service.transport.lifecycle import Lifecycle
from tests.deploy import objects

PORTS = {"grpc": "grpc_port", "http": "http_port", "metrics": "metrics_port"}
EVERY_WORKLOAD = [
    pytest.param(workload, id=f"{name}-{workload['metadata']['name']}")
    for name in objects.SERVED
    for workload in objects.workloads(name)
]
served = pytest.mark.parametrize("name", objects.SERVED)


def settings_of(container: Any, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in objects.environment(container).items():
        assert name.startswith(ENVIRONMENT_PREFIX)
        assert name.removeprefix(ENVIRONMENT_PREFIX).lower() in SETTINGS
        monkeypatch.setenv(name, value)
    return load_settings({})


@served
def test_every_variable_is_a_setting_with_a_value_that_the_server_takes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(objects.container(name), monkeypatch)
    assert settings.threads == 1
    kind = {"base": "memory:", "overlays/single": "sqlite:/var/lib/carousel/sessions.sqlite"}
    assert settings.store == kind.get(name, "valkey://carousel-valkey:6379/0")


@served
def test_the_container_opens_the_ports_that_the_server_listens_on(name: str) -> None:
    assert objects.ports(objects.container(name)) == {port: SETTINGS[field].default for port, field in PORTS.items()}


@served
def test_the_services_lead_to_ports_and_pods_that_exist(name: str) -> None:
    opened = {
        tuple(sorted(workload["spec"]["template"]["metadata"]["labels"].items())): objects.ports(container)
        for workload in objects.workloads(name)
        for container in workload["spec"]["template"]["spec"]["containers"]
    }
    services = [manifest for manifest in objects.applied(name) if manifest["kind"] == "Service"]
    assert len(services) >= 2
    for service in services:
        ports = opened[tuple(sorted(service["spec"]["selector"].items()))]
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports.keys()


@served
def test_the_replicas_have_a_name_without_an_address_of_its_own_and_no_service_shows_metrics(name: str) -> None:
    assert objects.one(name, "Service", "carousel-replicas")["spec"]["clusterIP"] == "None"
    shown = [port["name"] for one in objects.applied(name) if one["kind"] == "Service" for port in one["spec"]["ports"]]
    assert "metrics" not in shown


@served
def test_the_probes_ask_without_a_key_for_a_path_and_a_service_that_exist(name: str) -> None:
    container = objects.container(name)
    opened = objects.ports(container)
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["grpc"] == {"port": opened["grpc"], "service": SERVICE.full_name}
    paths = {route.path for route in operations_routes(Lifecycle(), "").routes if isinstance(route, APIRoute)}
    asked = container["livenessProbe"]["httpGet"]
    assert asked.keys() == {"path", "port"}
    assert asked["path"] in paths
    assert asked["port"] in opened


@served
def test_the_pod_lives_longer_than_the_server_takes_to_end(name: str) -> None:
    grace_s = float(objects.environment(objects.container(name))["CAROUSEL_GRACE_S"])
    assert grace_s + 5 <= objects.pod(name)["terminationGracePeriodSeconds"]


@served
def test_the_states_fit_into_the_memory_with_room_for_the_rest(name: str) -> None:
    container = objects.container(name)
    budget_mib = int(objects.environment(container)["CAROUSEL_STATE_BUDGET"]) >> 20
    limit_mib = objects.mebibytes(container["resources"]["limits"]["memory"])
    assert 2 * budget_mib + 300 <= limit_mib
    assert budget_mib + 200 <= objects.mebibytes(container["resources"]["requests"]["memory"])
    assert "cpu" not in container["resources"]["limits"], "a throttled step stalls everybody in its batch"


@pytest.mark.parametrize("workload", EVERY_WORKLOAD)
def test_every_pod_satisfies_the_restricted_standard_cannot_write_its_root_and_gets_no_token(workload: Any) -> None:
    pod = workload["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False, "addresses of services would come as variables that look like settings"
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"].keys() == {"requests", "limits"}
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
    for volume in pod.get("volumes", ()):
        assert volume.keys() - {"name"} <= {"configMap", "secret"}, "the kinds of volume that hold nothing that is kept"


@pytest.mark.parametrize("workload", EVERY_WORKLOAD)
def test_every_mount_has_its_volume(workload: Any) -> None:
    pod = workload["spec"]["template"]["spec"]
    claimed = [claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())]
    volumes = {volume["name"] for volume in pod.get("volumes", ())} | set(claimed)
    mounted = {mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts", ())}
    assert mounted == volumes


@served
def test_a_selector_finds_the_pods_that_it_means(name: str) -> None:
    labels = [workload["spec"]["template"]["metadata"]["labels"] for workload in objects.workloads(name)]
    for manifest in objects.applied(name):
        if manifest["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            assert manifest["spec"]["selector"]["matchLabels"] in labels
        if manifest["kind"] == "NetworkPolicy":
            assert manifest["spec"]["podSelector"]["matchLabels"] in labels
            assert "Ingress" in manifest["spec"]["policyTypes"]


@served
def test_pods_are_spread_over_nodes_and_zones(name: str) -> None:
    spread = {one["topologyKey"] for one in objects.pod(name)["topologySpreadConstraints"]}
    assert spread == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


@served
def test_one_thing_alone_says_how_many_replicas_there_are(name: str) -> None:
    scalers = [kind for kind, _ in objects.kinds(name) if kind in ("HorizontalPodAutoscaler", "ScaledObject")]
    fixed = "replicas" in objects.server(name)["spec"]
    assert len(scalers) + fixed == 1
    for kind in scalers:
        target = objects.one(name, kind)["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == (objects.server(name)["kind"], "carousel")


def test_the_file_of_a_single_replica_lies_on_its_volume() -> None:
    server, container = objects.server("overlays/single"), objects.container("overlays/single")
    assert (server["kind"], server["spec"]["replicas"]) == ("StatefulSet", 1)
    (mount,) = container["volumeMounts"]
    path = objects.environment(container)["CAROUSEL_STORE"].removeprefix("sqlite:")
    assert path.startswith(mount["mountPath"] + "/")
    assert server["spec"]["serviceName"] == "carousel-replicas"
    assert objects.pod("overlays/single")["securityContext"]["fsGroup"] == 10001


@pytest.mark.parametrize("name", ["overlays/scaled", "overlays/operated"])
def test_the_password_of_the_store_is_a_file_of_a_secret_and_nothing_here_holds_one(name: str) -> None:
    assert "Secret" not in {kind for kind, _ in objects.kinds(name)}
    container = objects.container(name)
    (mount,) = (one for one in container["volumeMounts"] if one["name"] == "store-password")
    (volume,) = (one for one in objects.pod(name)["volumes"] if one["name"] == "store-password")
    file = objects.environment(container)["CAROUSEL_STORE_PASSWORD_FILE"]
    assert mount["readOnly"] is True
    assert file == f"{mount['mountPath']}/{volume['secret']['items'][0]['path']}"
    valkey = objects.one(name, "StatefulSet", "carousel-valkey")["spec"]["template"]["spec"]
    secrets = [one["secret"]["secretName"] for one in valkey["volumes"] if "secret" in one]
    assert secrets == [volume["secret"]["secretName"]]
    assert "@" not in objects.environment(container)["CAROUSEL_STORE"]


@pytest.mark.parametrize("name", ["overlays/scaled", "overlays/operated"])
def test_replicas_may_reach_their_store_and_names_and_nothing_else(name: str) -> None:
    (names, store) = objects.one(name, "NetworkPolicy")["spec"]["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    labels = objects.one(name, "StatefulSet", "carousel-valkey")["spec"]["template"]["metadata"]["labels"]
    assert store["to"] == [{"podSelector": {"matchLabels": labels}}]
    (inward,) = objects.one(name, "NetworkPolicy", "carousel-valkey")["spec"]["ingress"]
    ours = objects.server(name)["spec"]["template"]["metadata"]["labels"]
    assert inward["from"] == [{"podSelector": {"matchLabels": ours}}]


def test_kserve_gets_a_server_at_the_port_and_model_folder_that_it_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = objects.one("components/kserve", "ServingRuntime")["spec"]["containers"]
    settings = settings_of(container, monkeypatch)
    assert str(settings.default_model) == "/mnt/models"
    assert [port["containerPort"] for port in container["ports"]] == [settings.http_port] == [8080]
    annotations = objects.one("components/kserve", "ServingRuntime")["spec"]["annotations"]
    assert annotations["prometheus.kserve.io/port"] == str(settings.metrics_port)
