"""The Kubernetes manifests: valid, rendered as kubectl renders them, and true of the server that they start."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from deploy import validate
from service.settings import ENVIRONMENT_PREFIX, SETTINGS, load_settings
from service.transport.grpc.calls import SERVICE
from service.transport.http.operations_routes import operations_routes
from service.transport.lifecycle import Lifecycle

BASE = validate.DEPLOY / "base"
KUBECTL = shutil.which("kubectl")
PORTS = {"grpc": "grpc_port", "http": "http_port", "metrics": "metrics_port"}


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    """The objects of deploy/base by kind."""
    return {manifest["kind"]: manifest for _, manifest in validate.files(BASE)}


@pytest.fixture(scope="module")
def pod(manifests: dict[str, Any]) -> Any:
    """The pod that the Deployment makes."""
    return manifests["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod: Any) -> Any:
    """Its only container."""
    (only,) = pod["containers"]
    return only


def environment(container: Any) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}


@pytest.mark.parametrize("folder", validate.kustomizations(), ids=lambda folder: folder.name)
def test_every_file_matches_its_kinds_schema(folder: Path) -> None:
    found = list(validate.files(folder))
    assert found
    for source, manifest in found:
        validate.validate(manifest, source)


@pytest.mark.skipif(KUBECTL is None, reason="kubectl, which renders kustomizations, is not on the PATH")
@pytest.mark.parametrize("folder", validate.kustomizations(), ids=lambda folder: folder.name)
def test_every_kustomization_renders_to_valid_objects(folder: Path) -> None:
    assert KUBECTL is not None
    rendered = validate.render(folder, KUBECTL)
    assert {manifest["kind"] for manifest in rendered} >= {"Deployment", "Service", "ServiceAccount"}
    for manifest in rendered:
        validate.validate(manifest, f"{folder.name}, rendered")
    images = [
        container["image"]
        for manifest in rendered
        if manifest["kind"] == "Deployment"
        for container in manifest["spec"]["template"]["spec"]["containers"]
    ]
    assert all(":" in image and not image.endswith(":latest") for image in images)


def test_an_unknown_field_is_refused_with_its_place(manifests: dict[str, Any]) -> None:
    broken = {**manifests["Service"], "spec": {**manifests["Service"]["spec"], "sesionAffinity": "None"}}
    with pytest.raises(validate.InvalidManifest, match=r"Service carousel: spec: .*sesionAffinity"):
        validate.validate(broken, "a test")


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "a: [", "metadata: {}\n"])
def test_yaml_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(validate.InvalidManifest, match="a test"):
        list(validate.manifests(text, "a test"))


def test_the_container_opens_the_ports_that_the_server_listens_on(container: Any) -> None:
    opened = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert opened == {name: SETTINGS[field].default for name, field in PORTS.items()}


def test_the_service_leads_to_ports_and_pods_that_exist(manifests: dict[str, Any], container: Any) -> None:
    service = manifests["Service"]["spec"]
    opened = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["targetPort"] for port in service["ports"]} == set(opened)
    assert all(port["port"] == opened[port["targetPort"]] for port in service["ports"])
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    assert manifests["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_every_variable_is_a_setting_with_a_value_that_the_server_takes(
    container: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(container).items():
        assert name.startswith(ENVIRONMENT_PREFIX)
        assert name.removeprefix(ENVIRONMENT_PREFIX).lower() in SETTINGS
        monkeypatch.setenv(name, value)
    settings = load_settings({})
    assert settings.state_budget == 256 << 20
    assert settings.threads == 1


def test_the_probes_ask_for_a_path_and_a_service_that_exist(container: Any) -> None:
    opened = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["grpc"] == {"port": opened["grpc"], "service": SERVICE.full_name}
    routes = operations_routes(Lifecycle(), "").routes
    paths = {route.path for route in routes if isinstance(route, APIRoute)}
    assert container["livenessProbe"]["httpGet"]["path"] in paths
    assert container["livenessProbe"]["httpGet"]["port"] in opened


def test_the_pod_lives_longer_than_the_server_takes_to_end(pod: Any, container: Any) -> None:
    grace_s = float(environment(container)["CAROUSEL_GRACE_S"])
    assert grace_s + 5 <= pod["terminationGracePeriodSeconds"]


def test_the_states_fit_into_the_memory_with_room_for_the_rest(container: Any) -> None:
    budget_bytes = int(environment(container)["CAROUSEL_STATE_BUDGET"])
    limit = container["resources"]["limits"]["memory"]
    assert limit.endswith("Gi")
    assert 2 * budget_bytes <= int(limit.removesuffix("Gi")) << 30


def test_the_pod_satisfies_the_restricted_standard_and_gets_no_token(
    manifests: dict[str, Any], pod: Any, container: Any
) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert manifests["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == manifests["ServiceAccount"]["metadata"]["name"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & pod.keys()
