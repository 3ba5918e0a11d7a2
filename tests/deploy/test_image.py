"""The image, built from the Dockerfile and run for real: read-only, as a number, without torch.

Wants root, buildah and mmdebstrap; `make test-all` installs the latter two. No container engine and no registry is
needed: the base comes from Debian's packages.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.transport.grpc.calls import SERVICE
from tests.contract.valkey_server import ValkeyServer
from tests.deploy import objects
from tests.deploy.container import BUILDAH_ENVIRONMENT, Container, container_of

ROOT = Path(__file__).resolve().parents[2]
BASE = "localhost/python:3.11"
IMAGE = "localhost/carousel:under-test"
SERVING = health_pb2.HealthCheckResponse.SERVING

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    missing = [name for name in ("buildah", "mmdebstrap") if shutil.which(name) is None]
    if missing:
        pytest.fail(f"please install {' and '.join(missing)}: apt-get install buildah mmdebstrap")
    if os.geteuid() != 0:
        pytest.fail(
            "the image is built and mounted by root here; run `make test-all` as root, or in a container as root"
        )
    scripts = ROOT / "deploy" / "image"
    subprocess.run([scripts / "base_from_debian.sh", BASE], check=True, env=BUILDAH_ENVIRONMENT)
    environment = {**BUILDAH_ENVIRONMENT, "ENGINE": "buildah", "BASE_IMAGE": BASE}
    subprocess.run([scripts / "build.sh", IMAGE], check=True, env=environment)
    with container_of(IMAGE) as made:
        yield made


def test_it_holds_no_torch_no_compiler_no_cache_and_no_secret(container: Container) -> None:
    packages = container.root / "opt/carousel/lib/python3.11/site-packages"
    held = {path.name.lower() for path in packages.iterdir()}
    assert {"service", "onnxruntime", "carousel_client"} <= held
    assert not {"torch", "onnx", "matplotlib", "pip", "setuptools", "hatchling"} & held
    for command in ("gcc", "cc", "g++", "make"):
        assert not list(container.root.glob(f"usr/*bin/{command}"))
    for folder in ("root/.cache", "src", "opt/build", "run/secrets", "tests"):
        assert not (container.root / folder).exists()


def test_its_labels_name_the_version_and_the_licence(container: Container) -> None:
    labels = container.config["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.version"]
    assert labels["org.opencontainers.image.revision"]


def test_its_command_line_works_for_a_user_without_a_name_or_a_home(container: Container) -> None:
    result = container.run("carousel", "--help")
    assert result.returncode == 0, result.stderr
    assert "serve" in result.stdout
    who = container.run("sh", "-c", "id -u; touch /somewhere /opt/carousel/somewhere 2>/dev/null || echo read-only")
    assert who.stdout.split() == [container.config["User"].partition(":")[0], "read-only"]


def test_a_training_command_says_what_it_lacks(container: Container) -> None:
    result = container.run("carousel", "train")
    assert result.returncode != 0
    assert "not installed" in result.stderr


def test_it_serves_on_every_address_is_healthy_and_ends_in_order(container: Container) -> None:
    grpc_port, http_port, metrics_port = free_ports(3)
    server = container.start(
        CAROUSEL_GRPC_PORT=str(grpc_port), CAROUSEL_HTTP_PORT=str(http_port), CAROUSEL_METRICS_PORT=str(metrics_port)
    )
    try:
        # Another address of this machine than 127.0.0.1, to see that it listens on all.
        with grpc.insecure_channel(f"127.0.0.2:{grpc_port}") as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(service=SERVICE.full_name), timeout=60, wait_for_ready=True
            )
            assert any(answer.status == SERVING for answer in watch)
        made = call(
            f"http://127.0.0.2:{http_port}/v1/sessions",
            {"text": "import os\nfor root, dirs, files in os.", "suggest": {"count": 3}},
        )
        assert made["suggestions"]
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10) as answer:
            assert b"carousel_model_steps_total" in answer.read()
        health = container.config["Healthcheck"]["Test"]
        assert health[0] == "CMD"
        checked = container.run(*health[1:], CAROUSEL_HTTP_PORT=str(http_port))
        assert checked.returncode == 0, checked.stderr
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0
    finally:
        server.kill()
        output, errors = server.communicate()
        print(output, errors)
    assert "Traceback" not in output + errors


def call(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST some JSON and read some."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        read: dict[str, Any] = json.load(answer)
    return read


@pytest.mark.parametrize("name", ["overlays/single", "overlays/scaled"])
def test_it_serves_as_the_overlays_start_it_and_a_second_one_has_the_sessions_of_the_first(
    container: Container, name: str, tmp_path: Path
) -> None:
    """The variables, the user and the folders of the pod; its volume and its store are this machine's."""
    security = objects.pod(name)["securityContext"]
    assert container.config["User"] == f"{security['runAsUser']}:{security['runAsGroup']}"
    (mount,) = objects.container(name)["volumeMounts"]
    tmp_path.chmod(0o755)
    volume = tmp_path / "volume"
    volume.mkdir()
    variables = objects.environment(objects.container(name))
    with ExitStack() as stack:
        if name == "overlays/scaled":
            (volume / "password").write_text("secret", encoding="utf-8")
            valkey = ValkeyServer(tmp_path, "--requirepass", "secret", "--appendonly", "yes").start()
            stack.callback(valkey.kill)
            variables["CAROUSEL_STORE"] = valkey.url()
        os.chown(volume, security["runAsUser"], security["fsGroup"])
        stack.callback(container.volumes.clear)
        container.volumes[mount["mountPath"]] = volume
        with served(container, variables) as address:
            made = call(f"http://{address}/v1/sessions", {"id": "kept", "text": "import os\n"})
            assert made["stored"] is True
        with served(container, variables) as address:
            edit = {"revision": 1, "edits": [{"insert": "os."}], "suggest": {"count": 1}}
            assert call(f"http://{address}/v1/sessions/kept/edits", edit)["revision"] == 2


@contextmanager
def served(container: Container, variables: dict[str, str]) -> Iterator[str]:
    """The image's own command, with these variables, from readiness to an orderly end; where REST is."""
    grpc_port, http_port, metrics_port = free_ports(3)
    ports = {"GRPC": grpc_port, "HTTP": http_port, "METRICS": metrics_port}
    server = container.start(**variables, **{f"CAROUSEL_{name}_PORT": str(port) for name, port in ports.items()})
    try:
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(service=SERVICE.full_name), timeout=60, wait_for_ready=True
            )
            assert any(answer.status == SERVING for answer in watch)
        yield f"127.0.0.1:{http_port}"
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0
    finally:
        server.kill()
        output, errors = server.communicate()
        print(output, errors)
