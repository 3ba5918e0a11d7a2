"""How long the threads of a process had a core, and how long they waited for one, as Linux counts it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_NS = 1e-9


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Seconds of all living threads together (Documentation/scheduler/sched-stats.rst: schedstat of a task)."""

    ran_s: float
    waited_s: float

    def __sub__(self, earlier: Scheduled) -> Scheduled:
        return Scheduled(self.ran_s - earlier.ran_s, self.waited_s - earlier.waited_s)

    @property
    def share(self) -> float:
        """Of the time in which it could have run, how much it did: 1 on a machine that nobody else wants."""
        return self.ran_s / (self.ran_s + self.waited_s) if self.ran_s else 1.0


def scheduled(pid: int) -> Scheduled:
    """Of a process without its children, by now. Threads that have ended are not counted: servers keep theirs."""
    ran = waited = 0
    for task in Path(f"/proc/{pid}/task").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            for_, behind, _ = (task / "schedstat").read_text(encoding="ascii").split()
            ran, waited = ran + int(for_), waited + int(behind)
    return Scheduled(ran * _NS, waited * _NS)
