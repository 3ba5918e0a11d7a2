"""How much CPU processes have taken, as Linux counts it: by hundredths of a second, with the processes they started."""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.report import BenchmarkError

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PARENT, _USER, _SYSTEM = 1, 11, 12  # fields of /proc/PID/stat after the name, proc(5)


class ProcessorTime:
    """The share of a core that a process and its descendants take, from now on."""

    def __init__(self, pid: int) -> None:
        """Begin to count. Raises BenchmarkError where /proc is not Linux's."""
        self._pid = pid
        self._cpu_began_s, self._began_s = cpu_seconds(pid), time.perf_counter()

    @property
    def share(self) -> float:
        """CPU over time: 1.0 is one core."""
        return (cpu_seconds(self._pid) - self._cpu_began_s) / (time.perf_counter() - self._began_s)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of its living descendants. Raises BenchmarkError if there is no process."""
    known = {}
    for folder in _PROC.glob("[0-9]*"):
        try:
            known[int(folder.name)] = _stat(folder)
        except (OSError, IndexError):
            continue  # it has just ended
    if pid not in known:
        raise BenchmarkError(f"there is no process {pid} in /proc, so its CPU time cannot be read")
    counted = {pid}
    for one in sorted(known):  # children have higher numbers than their parents, but for a wrap-around
        if int(known[one][_PARENT]) in counted:
            counted.add(one)
    return sum(int(known[one][_USER]) + int(known[one][_SYSTEM]) for one in counted) / _TICKS_PER_S


def _stat(folder: Path) -> list[str]:
    return (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
