"""The Kubernetes manifests: valid as files and as kubectl renders them, and what is kept of that is of these files."""

from __future__ import annotations

import copy
import shutil
from typing import Any

import pytest

from deploy import kustomizations, validate
from deploy.kustomizations import Kustomization
from tests.deploy import objects

KUBECTL = shutil.which("kubectl")
NAMES = [one.name for one in kustomizations.kustomizations()]
BUILT_IN = {
    "ConfigMap",
    "Deployment",
    "HorizontalPodAutoscaler",
    "Namespace",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Service",
    "ServiceAccount",
    "StatefulSet",
}


@pytest.mark.parametrize("name", NAMES)
def test_every_file_matches_its_kinds_schema(name: str) -> None:
    found = list(validate.files(objects.kustomization(name)))
    assert found or name.startswith(("overlays/", "components/api-keys"))  # which change what others have made
    for source, manifest in found:
        validate.validate(manifest, source)


@pytest.mark.parametrize("name", objects.NAMES)
def test_what_is_kept_of_a_rendering_is_valid_and_of_the_files_that_are_there(name: str) -> None:
    for manifest in objects.applied(name):
        validate.validate(manifest, f"{name}, rendered")


def test_without_kubectl_what_is_kept_is_checked(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(validate, "validate", lambda _manifest, _source: None)  # every object is, above
    assert validate.main() == 0
    assert "no kubectl" in capsys.readouterr().out


@pytest.mark.skipif(KUBECTL is None, reason="kubectl, which renders kustomizations, is not on the PATH")
@pytest.mark.parametrize("name", objects.NAMES)
def test_kubectl_renders_what_is_kept(name: str) -> None:
    assert KUBECTL is not None
    assert validate.render(objects.kustomization(name), KUBECTL) == list(objects.applied(name))


def test_the_base_holds_built_in_kinds_only_and_one_of_each_thing_that_a_server_needs() -> None:
    assert {kind for name in ("base", "overlays/single", "overlays/scaled") for kind, _ in objects.kinds(name)} == (
        BUILT_IN
    )
    assert objects.kinds("base") == [
        ("Deployment", "carousel"),
        ("HorizontalPodAutoscaler", "carousel"),
        ("Namespace", "carousel"),
        ("NetworkPolicy", "carousel"),
        ("PodDisruptionBudget", "carousel"),
        ("Service", "carousel"),
        ("Service", "carousel-replicas"),
        ("ServiceAccount", "carousel"),
    ]


@pytest.mark.parametrize("name", objects.SERVED)
def test_every_object_is_in_the_namespace_that_refuses_pods_with_rights(name: str) -> None:
    for manifest in objects.applied(name):
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == "carousel", manifest["metadata"]
    assert objects.one(name, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_image_has_a_version() -> None:
    images = {
        container["image"]
        for name in objects.NAMES
        for manifest in objects.applied(name)
        for container in _containers(manifest)
    }
    assert len(images) == 3
    assert all(":" in image and not image.endswith(":latest") for image in images)


def _containers(manifest: dict[str, Any]) -> list[Any]:
    if manifest["kind"] == "ServingRuntime":
        return list(manifest["spec"]["containers"])
    pod = manifest.get("spec", {}).get("template", {}).get("spec", {})
    return [*pod.get("initContainers", ()), *pod.get("containers", ())]


def test_a_file_that_changes_makes_its_renderings_stale(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(kustomizations.DEPLOY, tmp_path / "deploy")
    monkeypatch.setattr(kustomizations, "DEPLOY", tmp_path / "deploy")
    monkeypatch.setattr(kustomizations, "_RENDERED", tmp_path / "deploy" / "rendered")
    scaled, single = (Kustomization(tmp_path / "deploy" / "overlays" / name) for name in ("scaled", "single"))
    assert not scaled.is_stale()
    changed = tmp_path / "deploy" / "components" / "valkey" / "valkey.conf"
    changed.write_text(changed.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    assert scaled.is_stale()
    assert not single.is_stale()


def test_an_unknown_field_is_refused_with_its_place() -> None:
    service = objects.one("base", "Service")
    broken = {**service, "spec": {**service["spec"], "sesionAffinity": "None"}}
    with pytest.raises(validate.InvalidManifest, match=r"Service carousel: spec: .*sesionAffinity"):
        validate.validate(broken, "a test")


@pytest.mark.parametrize(
    ("rendering", "kind", "place"),
    [
        ("overlays/operated", "ScaledObject", ("spec", "triggers", 0, "metadata")),
        ("overlays/operated", "PodMonitor", ("spec", "podMetricsEndpoints", 0)),
        ("overlays/operated", "PrometheusRule", ("spec", "groups", 0, "rules", 0)),
        ("overlays/operated", "HTTPRoute", ("spec", "rules", 0, "matches", 0, "path")),
        ("overlays/operated", "GRPCRoute", ("spec", "rules", 0, "backendRefs", 0)),
        ("components/kserve", "ServingRuntime", ("spec", "containers", 0)),
    ],
)
def test_an_unknown_field_of_a_custom_resource_is_refused_anywhere(
    rendering: str, kind: str, place: tuple[str | int, ...]
) -> None:
    broken = copy.deepcopy(objects.one(rendering, kind))
    inner = broken
    for key in place:
        inner = inner[key]
    inner["unknwon"] = "value"
    with pytest.raises(validate.InvalidManifest, match=f"{kind} carousel: spec"):
        validate.validate(broken, "a test")


def test_a_kind_without_a_schema_is_refused() -> None:
    with pytest.raises(validate.InvalidManifest, match="no such kind"):
        validate.validate({"apiVersion": "example.com/v1", "kind": "Unheard", "metadata": {"name": "of"}}, "a test")


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "a: [", "metadata: {}\n"])
def test_yaml_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(validate.InvalidManifest, match="a test"):
        list(validate.manifests(text, "a test"))
