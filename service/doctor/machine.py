"""The machine: versions, the CPU and those of its features that int8 products use."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

import service
from service.doctor.findings import Finding, Verdict

_CPU_INFO = Path("/proc/cpuinfo")
_SUMS_IN_INT32 = ("avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
_NAMED = ("fma", "avx2", "avx512f", *_SUMS_IN_INT32, "sve", "sve2")


def examine_machine(cpu_info: Path = _CPU_INFO) -> Iterator[Finding]:
    """Versions, CPU, features and cores."""
    versions = {
        "carousel": service.__version__,
        "onnxruntime": version("onnxruntime"),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    yield Finding("versions", "versions", versions, ", ".join(f"{name} {found}" for name, found in versions.items()))
    facts = _facts(cpu_info)
    name = facts.get("model name") or platform.processor() or "unknown"
    yield Finding("cpu", "CPU", name, f"{name}, {platform.machine()}")
    yield _features((facts.get("flags") or facts.get("Features") or "").split(), platform.machine())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("cores", "cores of this process", cores, str(cores))


def _features(flags: list[str], machine: str) -> Finding:
    found = [feature for feature in _NAMED if feature in flags]
    if not flags:
        return Finding("cpu_features", "CPU features", [], "unknown: /proc/cpuinfo does not tell", Verdict.NOTE)
    shown = " ".join(found) or "none of " + " ".join(_NAMED)
    if machine == "x86_64" and "fma" not in flags:
        note = f"{shown}; without fma, cells may differ in their last bit from those of other CPUs"
        return Finding("cpu_features", "CPU features", found, note, Verdict.NOTE)
    if set(found) & set(_SUMS_IN_INT32):
        return Finding("cpu_features", "CPU features", found, shown)
    note = f"{shown}; none adds int8 products in int32: int8 gives the same bits here, more slowly"
    return Finding("cpu_features", "CPU features", found, note, Verdict.NOTE)


def _facts(cpu_info: Path) -> dict[str, str]:
    """What /proc/cpuinfo says of the first CPU."""
    try:
        text = cpu_info.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}
