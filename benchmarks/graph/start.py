"""How long a server takes from its command to the first answered keystroke, beside onnxruntime by itself.

Both are processes of their own, begun in turns, and both are timed from before the process exists. The bytecode of the
server is compiled first, as it is in the image and after any first start: whether this machine keeps it is not asked.
"""

from __future__ import annotations

import compileall
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

import service
from benchmarks.report import BenchmarkError
from carousel_client import Client, Insert, SuggestOptions
from service.model.manifest import Graph

_TIMEOUT_S = 60.0
_HOST = "127.0.0.1"
_KNOCK_S = 0.001
# The least that any server of this graph has to do before it can answer.
_SESSION_ALONE = """
import sys, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
print("loaded", flush=True)
"""


@dataclass(frozen=True, slots=True)
class Starts:
    """Seconds, one value for every turn."""

    first_keystroke_s: list[float]
    session_alone_s: list[float]

    @property
    def ratio(self) -> float:
        """How many times as long the server takes: the median over the turns."""
        return median(a / b for a, b in zip(self.first_keystroke_s, self.session_alone_s, strict=True))


def measure_starts(folder: Path, graph: Graph, *, turns: int, advance: Callable[[], None]) -> Starts:
    """Start both in turns. The first start of each fills the caches and is not counted. Raises BenchmarkError."""
    compileall.compile_dir(Path(service.__file__).parent, quiet=2)
    starts = Starts([], [])
    for turn in range(turns + 1):
        alone_s, server_s = _session_alone_s(folder / graph.file), _first_keystroke_s(folder)
        if turn:
            starts.session_alone_s.append(alone_s)
            starts.first_keystroke_s.append(server_s)
        advance()
    return starts


def _session_alone_s(graph: Path) -> float:
    began_s = time.perf_counter()
    command = [sys.executable, "-c", _SESSION_ALONE, str(graph)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None  # they were opened as pipes
        loaded = process.stdout.readline()
        taken_s = time.perf_counter() - began_s
        if not loaded:
            raise BenchmarkError(f"onnxruntime does not load {graph}: {process.stderr.read().strip()}")
    return taken_s


def _first_keystroke_s(folder: Path) -> float:
    port = _free_port()
    command = [sys.executable, "-m", "service.cli", "serve", "--model", str(folder), "--grpc-port", str(port)]
    command += ["--http-port", "0", "--metrics-port", "0", "--log-format", "json"]
    with TemporaryDirectory() as kept, TemporaryFile("w+") as said:
        command += ["--store", f"sqlite:{kept}/sessions.sqlite"]  # as by default, but nobody's own file
        began_s = time.perf_counter()
        with subprocess.Popen(command, stderr=said) as process:
            try:
                _await_port(port, process, said)
                with Client(f"127.0.0.1:{port}", timeout_s=_TIMEOUT_S) as client:
                    session = client.session("import o")
                    session.edit([Insert("s")], suggest=SuggestOptions())
                    return time.perf_counter() - began_s
            finally:
                process.terminate()


def _free_port() -> int:
    with socket.create_server((_HOST, 0)) as opened:
        port: int = opened.getsockname()[1]
    return port


def _await_port(port: int, process: subprocess.Popen[bytes], said: IO[str]) -> None:
    """Knock until somebody opens, as a client does that was started beside the server. Raises BenchmarkError."""
    deadline_s = time.monotonic() + _TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        try:
            socket.create_connection((_HOST, port)).close()
        except ConnectionRefusedError:
            time.sleep(_KNOCK_S)
        else:
            return
    said.seek(0)
    raise BenchmarkError(f"the server did not start: {said.read().strip()[-500:]}")
