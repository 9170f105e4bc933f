"""Turns at a file: SQLite lets who asks most often have it, and another process may wait for seconds.

A process that wants to write waits in the kernel's queue for a lock on the file's folder, which no process
can jump. The lock is advice among our processes: SQLite's own locks keep the file whole. It is on the
folder, because closing any other descriptor of the file drops the locks that SQLite has on it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["Turns"]

if sys.platform != "win32":
    import fcntl


class Turns:
    """The turns of one connection at the files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    @contextmanager
    def turn(self) -> Generator[None]:
        """Wait for a turn, and have it meanwhile. Where a folder cannot be locked there is no order."""
        locked = self._lock()
        try:
            yield
        finally:
            if locked:
                self._unlock()

    def close(self) -> None:
        """Let go of the folder; also in a forked child, where the turn stays the parent's."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)

    if sys.platform == "win32":

        def _lock(self) -> bool:
            return False

        def _unlock(self) -> None: ...

    else:

        def _lock(self) -> bool:
            try:
                if self._descriptor is None:
                    self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            except OSError:
                return False
            return True

        def _unlock(self) -> None:
            if self._descriptor is not None:
                with suppress(OSError):
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
