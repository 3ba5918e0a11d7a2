"""py-spy beside a benchmark: on which lines the threads of the measured server are, when they are not idle.

It looks without stopping the process, which costs some unreadable stacks and no time. Stacks of native code would need
it stopped: measured so, the server did half of its work, and waiting threads counted as busy.

py-spy is not among the dependencies (`pip install py-spy`), and has to be root to look into another process.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import BenchmarkError

_RATE_HZ = 200
_LATEST_S = 60.0


@contextmanager
def profiled(pid: int, to: Path, seconds: float) -> Iterator[None]:
    """Record `seconds` of a process from now on: folded stacks if `to` ends in .txt, else a flame graph in SVG.

    Raises BenchmarkError if there is no py-spy, or it failed.
    """
    program = shutil.which("py-spy")
    if program is None:
        raise BenchmarkError("there is no py-spy to profile with; install it with: pip install py-spy")
    shape = "raw" if to.suffix == ".txt" else "flamegraph"
    command = [program, "record", "--nonblocking", "--threads", "--rate", str(_RATE_HZ)]
    command += ["--duration", str(max(round(seconds), 1)), "--format", shape, "--output", str(to), "--pid", str(pid)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield
            _, said = process.communicate(timeout=_LATEST_S)
        finally:
            process.kill()
    if process.returncode != 0:
        raise BenchmarkError("py-spy: " + said.strip().replace("\n", " "))
