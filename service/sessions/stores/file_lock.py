"""One process per file: a lock that the system gives back whatever becomes of the process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FileInUse(Exception):
    """Another process holds the lock; `holder` is what it wrote there, its process id."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


class FileLock:
    """Held from its making to `release`, or to the end of the process however that comes. Any thread.

    The lock lies on a file of its own, which stays: one that was removed while another process waits would let two in.
    """

    def __init__(self, path: Path) -> None:
        """Raises FileInUse, or OSError if the file cannot be made."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise FileInUse(holder) from error
        except OSError:
            os.close(self._descriptor)
            raise
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let others in."""
        os.close(self._descriptor)
