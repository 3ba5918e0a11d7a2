"""On which machine, with which versions and by which command something was measured."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("grpcio", "numpy", "onnxruntime", "protobuf")
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a figure depends on beside what is measured."""

    command: str
    at: str  # UTC, ISO 8601
    cpu: str
    cores: int  # that this process may use
    load_at_start: float  # runnable threads over the last minute, of everybody on the machine
    system: str
    versions: dict[str, str]


def circumstances(arguments: Sequence[str]) -> Circumstances:
    """Those of this process, begun as `carousel ARGUMENTS`."""
    return Circumstances(
        command=" ".join(("carousel", *arguments)),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        load_at_start=round(os.getloadavg()[0], 2),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        versions={"python": platform.python_version(), **_versions()},
    )


def arguments_of_this_process() -> list[str]:
    """The command line as it was given, without the program's path."""
    return sys.argv[1:]


def _cpu() -> str:
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # not installed here: nothing that was measured used it
    return found
