"""Triton itself, in a process of its own: the server of the wheel `nvidia-pytriton`, without pytriton around it.

`make triton-env` makes the environment. The wheel holds the server's program, its Python backend and a stub for each
Python; put side by side in a folder, they run without a container.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.report import BenchmarkError
from service.model.manifest import Precision
from service.transport.listening import open_socket

ENVIRONMENT = Path(__file__).resolve().parent.parent.parent / ".venv-triton"
MODEL = "typing"
_HOST = "127.0.0.1"
_START_S = 60.0
_STOP_S = 15.0
_POOLED = (
    1024  # requests kept for reuse; with the default of 8, Triton 2.51 frees those of streams too early and crashes
)
_CONFIGURATION = """
name: "{name}"
backend: "python"
max_batch_size: {sequences}
input [ {{ name: "BYTE" data_type: TYPE_UINT8 dims: [ 1 ] }} ]
output [ {{ name: "SUGGESTION" data_type: TYPE_UINT8 dims: [ {max_bytes} ] }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
sequence_batching {{
  max_sequence_idle_microseconds: 3600000000
  oldest {{
    max_candidate_sequences: {sequences}
    preferred_batch_size: [ {sequences} ]
    max_queue_delay_microseconds: {delay_us}
  }}
}}
parameters [
  {{ key: "folder" value: {{ string_value: "{folder}" }} }},
  {{ key: "precision" value: {{ string_value: "{precision}" }} }},
  {{ key: "max_bytes" value: {{ string_value: "{max_bytes}" }} }}
]
"""


@dataclass(frozen=True, slots=True)
class TritonModel:
    """What Triton is to serve, and how long its batcher waits for a full batch."""

    folder: Path
    precision: Precision
    sequences: int
    max_bytes: int
    delay_us: int


@dataclass(frozen=True, slots=True)
class RunningTriton:
    """Where Triton answers, and its process; the backend is a child of it."""

    target: str  # gRPC, HOST:PORT
    pid: int
    http: str  # HOST:PORT


def interpreter(environment: Path = ENVIRONMENT) -> Path | None:
    """The environment's Python; None if it was not made."""
    python = environment / "bin" / "python"
    return python if python.exists() and _site(environment) is not None else None


@contextmanager
def own_triton(model: TritonModel, environment: Path = ENVIRONMENT) -> Iterator[RunningTriton]:
    """Triton with this model, ended when it is left. Raises BenchmarkError if it does not start."""
    with triton_with(partial(_write_model, model), environment) as running:
        yield running


@contextmanager
def triton_with(write_models: Callable[[Path], None], environment: Path = ENVIRONMENT) -> Iterator[RunningTriton]:
    """Triton on free ports of this machine with the repository that `write_models` writes into a folder.

    Ended when it is left. Raises BenchmarkError if it does not start.
    """
    site = _site(environment)
    if site is None:
        raise BenchmarkError(f"there is no Triton in {environment}; make it with: make triton-env")
    with tempfile.TemporaryDirectory(prefix="carousel-triton-") as temporary:
        folder = Path(temporary)
        _lay_out(folder, site / "pytriton" / "tritonserver")
        (folder / "models").mkdir()
        write_models(folder / "models")
        grpc_port, http_port = _free_port(), _free_port()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                _command(folder, grpc_port, http_port),
                env=_variables(environment, site),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait_until_ready(process, http_port, folder / "log")
            yield RunningTriton(f"{_HOST}:{grpc_port}", process.pid, f"{_HOST}:{http_port}")
        finally:
            process.terminate()
            try:
                process.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _site(environment: Path) -> Path | None:
    found = sorted(environment.glob("lib/python3.*/site-packages/pytriton/tritonserver"))
    return found[0].parent.parent if found else None


def _lay_out(folder: Path, wheel: Path) -> None:
    """The backend with the stub for this Python beside it."""
    backend = folder / "backends" / "python"
    shutil.copytree(wheel / "backends" / "python", backend)
    stubs = wheel / "python_backend_stubs" / wheel.parents[2].name.removeprefix("python")
    shutil.copy(stubs / "triton_python_backend_stub", backend)
    (folder / "bin").mkdir()
    (folder / "bin" / "tritonserver").symlink_to(wheel / "bin" / "tritonserver")


def _write_model(model: TritonModel, models: Path) -> None:
    """A repository with one model."""
    version_folder = models / MODEL / "1"
    version_folder.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "backend.py", version_folder / "model.py")
    configuration = _CONFIGURATION.format(
        name=MODEL,
        folder=model.folder.resolve(),
        precision=model.precision,
        sequences=model.sequences,
        max_bytes=model.max_bytes,
        delay_us=model.delay_us,
    )
    (version_folder.parent / "config.pbtxt").write_text(configuration, encoding="utf-8")


def _command(folder: Path, grpc_port: int, http_port: int) -> list[str]:
    return [
        str(folder / "bin" / "tritonserver"),
        f"--model-repository={folder / 'models'}",
        f"--backend-directory={folder / 'backends'}",
        "--disable-auto-complete-config",
        f"--grpc-address={_HOST}",
        f"--grpc-port={grpc_port}",
        f"--http-address={_HOST}",
        f"--http-port={http_port}",
        f"--grpc-infer-allocation-pool-size={_POOLED}",
        "--allow-metrics=false",
    ]


def _variables(environment: Path, site: Path) -> dict[str, str]:
    """Triton's libraries lie in the wheel; its stub links the interpreter's own library and imports its packages."""
    ask = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"
    python = environment / "bin" / "python"
    library = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    variables = dict(os.environ)  # noqa: TID251 -- handed on to another program, not read
    variables["LD_LIBRARY_PATH"] = f"{site / 'nvidia_pytriton.libs'}:{library}"
    variables["PYTHONPATH"] = str(site)
    variables["PATH"] = f"{environment / 'bin'}:{variables.get('PATH', '')}"
    return variables


def _free_port() -> int:
    with open_socket(_HOST, 0) as opened:
        return int(opened.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], http_port: int, log: Path) -> None:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{_HOST}:{http_port}/v2/health/ready", timeout=1.0):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise BenchmarkError("Triton did not start: " + " ".join(said[-5:]))
