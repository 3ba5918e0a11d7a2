"""The component api-keys: a server that starts from its mount asks for keys, probes have none, and keys may change."""

from __future__ import annotations

import shutil
import time
from pathlib import Path, PurePosixPath
from typing import Any

import grpc
import httpx
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy import validate
from deploy.kustomizations import DEPLOY, Kustomization
from service.settings import SETTINGS
from tests.deploy import objects
from tests.integration.servers import running

OPERATIONS = (DEPLOY.parent / "docs" / "operations.md").read_text(encoding="utf-8")
KUBECTL = shutil.which("kubectl")
KEY, NEW = "key-of-team-a-0123456789", "newkey-of-team-a-0123456"


def mount_of(pod: Any) -> tuple[PurePosixPath, dict[str, Any]]:
    """The file that the variable names, and the Secret in whose mount it lies."""
    (container,) = pod["containers"]
    file = PurePosixPath(objects.environment(container)["CAROUSEL_API_KEYS_FILE"])
    (mount,) = (mount for mount in container["volumeMounts"] if mount["mountPath"] == str(file.parent))
    assert mount["readOnly"] is True
    assert "subPath" not in mount, "the kubelet does not exchange what is mounted so"
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == mount["name"])
    return file, volume["secret"]


def test_the_file_lies_in_the_secret_that_the_pages_make() -> None:
    assert "api_keys_file" in SETTINGS
    file, secret = mount_of(objects.pod("overlays/operated"))
    (item,) = secret["items"]
    assert item["path"] == file.name
    assert not secret.get("optional"), "without its keys a server would not start, or be open"
    line = f"secret generic {secret['secretName']} --from-literal={item['key']}="
    assert line in OPERATIONS
    assert line in (DEPLOY.parent / "docs" / "kind.md").read_text(encoding="utf-8")


@pytest.mark.skipif(KUBECTL is None, reason="kubectl, which renders kustomizations, is not on the PATH")
@pytest.mark.parametrize("overlay", ["base", "overlays/single", "overlays/scaled"])
def test_it_goes_beside_any_overlay_as_the_page_about_kind_has_it(overlay: str, tmp_path: Path) -> None:
    assert KUBECTL is not None
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    mine = tmp_path / "mine"
    mine.mkdir()
    document = {"resources": [f"../deploy/{overlay}"], "components": ["../deploy/components/api-keys"]}
    (mine / "kustomization.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    made = list(validate.manifests(Kustomization(mine).render(KUBECTL), overlay))
    for manifest in made:
        validate.validate(manifest, overlay)
    (server,) = (
        one for one in made if one["kind"] in ("Deployment", "StatefulSet") and one["metadata"]["name"] == "carousel"
    )
    pod = server["spec"]["template"]["spec"]
    mount_of(pod)
    before = {volume["name"] for volume in objects.pod(overlay).get("volumes", ())}
    assert {volume["name"] for volume in pod["volumes"]} == before | {"api-keys"}
    mounts = {mount["name"] for mount in objects.container(overlay).get("volumeMounts", ())}
    assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == mounts | {"api-keys"}


def _mounted(folder: Path, version: str, key: str) -> None:
    """As the kubelet writes a Secret: its files in a folder of their own, and the links to it exchanged at once."""
    (folder / version).mkdir()
    (folder / version / "keys").write_text(f"team-a {key}", encoding="utf-8")
    (folder / "..data_tmp").symlink_to(version)
    (folder / "..data_tmp").rename(folder / "..data")
    if not (folder / "keys").is_symlink():
        (folder / "keys").symlink_to("..data/keys")


async def test_its_probes_are_answered_without_a_key_and_a_changed_secret_needs_no_restart(tmp_path: Path) -> None:
    container = objects.container("overlays/operated")
    _mounted(tmp_path, "..2026_01_01", KEY)
    async with (
        running(api_keys_file=str(tmp_path / mount_of(objects.pod("overlays/operated"))[0].name)) as server,
        httpx.AsyncClient(base_url=server.http, verify=False) as http,
        grpc.aio.insecure_channel(server.grpc) as channel,
    ):
        assert (await http.get(container["livenessProbe"]["httpGet"]["path"])).status_code == 200
        for probe in ("startupProbe", "readinessProbe"):
            asked = health_pb2.HealthCheckRequest(service=container[probe]["grpc"]["service"])
            health: Any = health_pb2_grpc.HealthStub(channel)
            assert (await health.Check(asked)).status == health_pb2.HealthCheckResponse.SERVING
        (kserve,) = objects.one("components/kserve", "ServingRuntime")["spec"]["containers"]
        for probe in ("readinessProbe", "livenessProbe"):
            assert (await http.get(kserve[probe]["httpGet"]["path"])).status_code == 200
        monitor = objects.one("overlays/operated", "PodMonitor")["spec"]["podMetricsEndpoints"][0]
        metrics = f"http://127.0.0.1:{server.addresses.metrics_port}{monitor['path']}"
        assert (await http.get(metrics)).status_code == 200

        assert (await http.get("/v1/models")).status_code == 401
        assert (await http.get("/v1/models", headers={"authorization": f"Bearer {KEY}"})).status_code == 200
        _mounted(tmp_path, "..2026_01_02", NEW)
        until_s = time.monotonic() + 10
        while (await http.get("/v1/models", headers={"authorization": f"Bearer {NEW}"})).status_code != 200:
            assert time.monotonic() < until_s, "the new key is not taken"
        assert (await http.get("/v1/models", headers={"authorization": f"Bearer {KEY}"})).status_code == 401
