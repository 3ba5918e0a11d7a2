"""The server that is measured: one that runs already, or one of our own in a process of its own.

Never in the benchmark's process: the load generator and the server would take turns at one interpreter lock, and the
latency of each would be the other's.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.report import BenchmarkError

_START_S = 120.0
_STOP_S = 30.0
_SCRAPE_S = 10.0
_DEFAULT_METRICS_PORT = 9464


@dataclass(frozen=True, slots=True)
class Measured:
    """Where the measured server answers."""

    target: str  # gRPC, HOST:PORT
    metrics_url: str
    own_pid: int | None = None
    http: str | None = None  # HOST:PORT, if it is one of ours

    @property
    def pid(self) -> int:
        """Its process. Raises BenchmarkError if it is not one of ours."""
        if self.own_pid is None:
            raise BenchmarkError(f"the server at {self.target} is not ours: its process cannot be looked into")
        return self.own_pid

    def counter(self, name: str, **labels: str) -> float:
        """The sum of a metric over the samples with these labels, now. Raises BenchmarkError if there is none."""
        try:
            with urllib.request.urlopen(self.metrics_url, timeout=_SCRAPE_S) as answer:
                text = answer.read().decode()
        except OSError as error:
            raise BenchmarkError(f"no metrics at {self.metrics_url}: {error}; name them with --metrics URL") from error
        samples = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        if not samples:
            raise BenchmarkError(f"{self.metrics_url} has no {name}: is it a Carousel server's?")
        return sum(samples)


def running_server(target: str, metrics_url: str | None) -> Measured:
    """A server that somebody else started."""
    host = target.rpartition(":")[0]
    return Measured(target, metrics_url or f"http://{host}:{_DEFAULT_METRICS_PORT}/metrics")


@contextmanager
def own_server(model: Path | None, flags: tuple[str, ...] = ()) -> Iterator[Measured]:
    """`carousel serve` on free ports, ended when it is left. Raises BenchmarkError if it does not start.

    Keeps sessions in memory unless the flags name a store: what is measured leaves nothing behind.
    """
    command = ["-m", "service.cli", "serve", "--log-format", "json", "--host", "127.0.0.1"]
    command += ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0", "--store", "memory:", *flags]
    if model is not None:
        command += ["--model", str(model)]
    with own_process(*command) as entry:
        yield measured_of(entry)


@contextmanager
def own_process(*arguments: str) -> Iterator[dict[str, Any]]:
    """A Python process that logs JSON lines to its standard error, ended when it is left.

    Yields its log line whose event is `serving`, and its `pid`. Raises BenchmarkError if there is none.
    """
    with subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield {**_serving(process), "pid": process.pid}
        finally:
            process.terminate()
            try:
                process.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def measured_of(entry: dict[str, Any]) -> Measured:
    """Where a Carousel server is, from its log line that says so."""
    host = entry["host"]
    metrics_url = f"http://{host}:{entry['metrics_port']}/metrics"
    return Measured(f"{host}:{entry['grpc_port']}", metrics_url, entry["pid"], f"{host}:{entry['http_port']}")


def _serving(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the log line that says where it serves, and go on reading, so that the server never waits for us."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_pass_on, args=(process, lines), daemon=True).start()
    deadline_s = time.monotonic() + _START_S
    said: list[str] = []
    while True:
        try:
            line = lines.get(timeout=max(deadline_s - time.monotonic(), 0.0))
        except queue.Empty:
            raise BenchmarkError(f"the server did not start within {_START_S:.0f} s") from None
        if line is None:
            raise BenchmarkError("the server did not start: " + " ".join(said[-3:]))
        said.append(line.strip())
        entry = _entry(line)
        if entry.get("event") == "serving":
            return entry


def _pass_on(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    """Lines up to the one that says where it serves go to whoever waits for it; later ones to our standard error."""
    assert process.stderr is not None  # it was opened as a pipe
    serving = False
    for line in process.stderr:
        if serving:
            if _entry(line).get("level") in ("warning", "error", "critical"):
                sys.stderr.write(line)
        else:
            lines.put(line)
            serving = _entry(line).get("event") == "serving"
    lines.put(None)


def _entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}  # not a log line: a traceback, or a warning of a library
    return entry if isinstance(entry, dict) else {}
