"""The one thread that writes a file.

Callers put entries into an inbox and go on. The thread takes all that waits, writes it in one
transaction, and only then takes it out of the inbox: whatever happens before that, it is tried again.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from apeiros_callbacks.errors import LedgerError, LedgerUnavailable
from apeiros_callbacks.ledger.fork_gate import inside_sqlite
from apeiros_callbacks.ledger.inbox import Flush, Inbox
from apeiros_callbacks.ledger.rows import Item, write
from apeiros_callbacks.ledger.sqlite_file import explain, identity, open_for_writing
from apeiros_callbacks.ledger.url import Synchronous
from apeiros_callbacks.ledger.watchers import Watchers, is_period_scope

__all__ = ["Writer", "entries", "logger"]

logger = logging.getLogger("apeiros_callbacks.ledger")

_BATCH = 512
# After a batch, in seconds: entries gather, and callers neither wake this thread nor share the GIL with
# it. As long as the batch took, within these: writing takes long when callers want the GIL for themselves.
_SHORTEST_PAUSE = 0.002
_LONGEST_PAUSE = 0.1
_FIRST_RETRY = 0.05
_LONGEST_RETRY = 5.0

# What an entry raises that no file could ever take. It must not keep the others waiting.
_UNSTORABLE = (
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)

# SQLite forbids a forked child to use, or even to close, what its parent had open.
_parents_connections: list[sqlite3.Connection] = []


class Writer:
    """Writes entries to one file, in order, from a thread of its own."""

    def __init__(
        self,
        path: Path,
        synchronous: Synchronous,
        timeout: float,
        *,
        before_start: Callable[[], None],
        may_end: Callable[[Writer], bool],
    ) -> None:
        self.path = path
        """Absolute once the file was opened."""
        self.timeout = timeout
        self.users: dict[object, None] = {}
        """Who has the file open. The thread ends some time after the last one left."""
        self.stopping = False
        """The process is ending."""
        self.has_opened = False
        """The file could be opened at least once."""
        self._synchronous: Synchronous = synchronous
        self._before_start = before_start
        self._may_end = may_end
        self._connection: sqlite3.Connection | None = None
        self.watchers = Watchers()
        self.start_afresh()

    def start_afresh(self) -> None:
        """Begin with nothing to write and no thread. Also in a forked child, where the parent's are not."""
        if self._connection is not None:
            _parents_connections.append(self._connection)
        self._connection = None
        self._opened_as: tuple[int, int] | None = None
        self.inbox = Inbox(before_ring=self._start)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._failure: LedgerError | None = None
        self._log_from = 1
        self._aside: dict[int, Item] = {}
        self._why_aside = ""

    @property
    def failure(self) -> LedgerError | None:
        """See `Ledger.failure`."""
        if self._failure is None and self._aside:
            return LedgerUnavailable(f"the ledger {self.path} cannot hold an entry: {self._why_aside}.")
        return self._failure

    def waiting(self) -> list[Item]:
        """Entries that are not written."""
        return [*self._aside.values(), *self.inbox.items()]

    def wake(self) -> None:
        """Have the thread look again, if there is one, at who still needs it."""
        if self._thread is not None:
            self.inbox.ring()

    def flush(self, timeout: float) -> None:
        """Return when everything that was appended before is written, and the file could be opened.

        Raises:
            LedgerError: not in `timeout` seconds, or it never will be.
        """
        if self._thread is None and self.has_opened and not self.waiting():
            return
        flush = self.inbox.append_flush()
        if flush.over.wait(timeout):
            failure = flush.failure or self.failure
            if failure is None:
                return
        else:
            self.inbox.end(flush)
            failure = self._failure or LedgerUnavailable(
                f"the ledger {self.path} was not written within {timeout:g} s."
            )
        count = len(self.waiting())
        raise type(failure)(f"{failure} Not written: {entries(count)}." if count else str(failure))

    def join(self, timeout: float) -> None:
        """Wait for the end of the thread, unless somebody opens the file again."""
        deadline = time.monotonic() + timeout
        while (thread := self._thread) is not None and time.monotonic() < deadline:
            if self.users and not self.stopping:
                return
            with suppress(RuntimeError):  # another one that is just being started
                thread.join(0.05)

    def _start(self) -> bool:
        if self._thread is not None:
            return True
        if not self._starting.acquire(blocking=False):
            return False  # another caller is at it: should that fail, the next entry rings again
        try:
            if self._thread is None:
                self._before_start()
                self._thread = threading.Thread(target=self._run, name="apeiros-ledger", daemon=True)
                self._thread.start()
        except RuntimeError as error:  # no more threads, for instance at the interpreter's end
            self._thread = None
            self._fails(error, self.inbox.flushes())
            return False
        finally:
            self._starting.release()
        return True

    def _run(self) -> None:
        inbox = self.inbox
        retry = _FIRST_RETRY
        while True:
            began, waited_for = time.monotonic(), inbox.flushes()
            try:
                with inside_sqlite:
                    written = self._write_first(self._open())
            except Exception as error:  # noqa: BLE001 - whatever it is, no entry may be lost to it
                self._close()
                self._fails(error, waited_for)
                if self._ends():
                    return
                inbox.rest(retry)
                retry = min(2 * retry, _LONGEST_RETRY)
                continue
            self._works()
            retry = _FIRST_RETRY
            if written == _BATCH:
                continue
            if written:
                inbox.rest(min(max(_SHORTEST_PAUSE, time.monotonic() - began), _LONGEST_PAUSE))
            if inbox.lie_down():
                if self._ends():
                    return
                inbox.sleep()
            inbox.get_up()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path = self.path.absolute()
            self._connection = open_for_writing(self.path, self._synchronous, self.timeout)
            self._opened_as = identity(self.path)
            self.has_opened = True
        return self._connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with inside_sqlite, suppress(sqlite3.Error):
                connection.close()

    def _write_first(self, connection: sqlite3.Connection) -> int:
        batch = self.inbox.first(_BATCH)
        items = [queued for queued in batch if isinstance(queued, tuple)]
        if items:
            watched: set[str] = set()
            if self.watchers:
                watched = {scope for _, scopes in items for scope in scopes if is_period_scope(scope)}
            try:
                self.watchers.tell(write(connection, items, watched=sorted(watched)))
            except _UNSTORABLE:
                for item in items:
                    self._write_alone(connection, item)
            # SQLite goes on writing to a file that was deleted, and says nothing.
            if identity(self.path) != self._opened_as:
                raise LedgerUnavailable("another file is in its place now.")
        self.inbox.remove_first(len(batch))
        return len(batch)

    def _write_alone(self, connection: sqlite3.Connection, item: Item) -> None:
        try:
            write(connection, [item], clean=True)
        except _UNSTORABLE as error:
            self._why_aside = f"{type(error).__name__}: {error}"
            if id(item) not in self._aside:
                self._aside[id(item)] = item
                entry, scopes = item
                logger.exception(
                    "an entry of %s USD for %s cannot be stored, and is kept in memory only",
                    entry.amount,
                    scopes,
                )

    def _fails(self, error: Exception, waited_for: list[Flush]) -> None:
        failure = self._failure = explain(error, self.path, self.timeout)
        count = len(self.waiting())
        # Once, and again at each tenfold: all of it is kept, so somebody should look.
        if count >= self._log_from:
            logger.error("%s Kept in memory and tried again: %s.", failure, entries(count))
            self._log_from = max(1_000, 10 * count)
        if not self.has_opened or not isinstance(failure, LedgerUnavailable):
            # Who began to wait during the attempt may have put things right: that takes another one.
            for flush in waited_for:
                self.inbox.end(flush, failure)

    def _works(self) -> None:
        if self._failure is not None:
            self._failure = None
            if self._log_from > 1:
                logger.warning("the ledger %s can be written again.", self.path)
            self._log_from = 1

    def _ends(self) -> bool:
        if not self._may_end(self):
            return False
        self._close()
        self._thread = None
        self.inbox.lie_down()
        if not self._may_end(self):
            self.inbox.ring()  # something came in this moment: another thread takes it
        return True


def entries(count: int) -> str:
    """So many entries, for a person.

    Example:
        >>> entries(1), entries(2_000)
        ('1 entry', '2,000 entries')
    """
    return "1 entry" if count == 1 else f"{count:,} entries"
