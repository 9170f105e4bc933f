"""The one thread that writes a ledger, and asks it for allowances.

Callers put entries into an inbox and go on. The thread takes all that waits, writes it in one
transaction, and only then takes it out of the inbox: whatever happens before that, it is tried again. In
the same transaction it renews what this process has set aside of shared caps, asks for more and gives back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from apeiros_callbacks.caps import is_period_scope
from apeiros_callbacks.ending import start_thread
from apeiros_callbacks.errors import LedgerError, LedgerUnavailable
from apeiros_callbacks.ledger.allowances import Allowances
from apeiros_callbacks.ledger.inbox import Flush, Inbox
from apeiros_callbacks.ledger.leases import Leases
from apeiros_callbacks.ledger.noted import Noted, row_of_noted
from apeiros_callbacks.ledger.rows import Item
from apeiros_callbacks.ledger.store import Batch, Store, Written
from apeiros_callbacks.ledger.watchers import Watchers

__all__ = ["Writer", "entries", "logger"]

logger = logging.getLogger("apeiros_callbacks.ledger")

_BATCH = 512
# After a batch, in seconds: entries gather, and callers neither wake this thread nor share the GIL with
# it. As long as the batch took, within these: writing takes long when callers want the GIL for themselves.
_SHORTEST_PAUSE = 0.002
_LONGEST_PAUSE = 0.1
_FIRST_RETRY = 0.05
_LONGEST_RETRY = 5.0


class Writer:
    """Writes entries to one store, in order, from a thread of its own."""

    def __init__(
        self, store: Store, *, before_start: Callable[[], None], may_end: Callable[[Writer], bool]
    ) -> None:
        self.store = store
        self.users: dict[object, None] = {}
        """Who has the ledger open. The thread ends some time after the last one left."""
        self.stopping = False
        """The process is ending."""
        self._before_start = before_start
        self._may_end = may_end
        self.watchers = Watchers()
        self.allowances = Allowances(self._ring, nudge=lambda: self.inbox.nudge())
        self.leases = Leases(self.allowances, store.lease)
        self._begin()

    def start_afresh(self) -> None:
        """Begin with nothing to write and no thread: in a forked child, where the parent's are not."""
        self.store.forget()
        self.leases.start_afresh()
        self._begin()

    def _begin(self) -> None:
        self.inbox = Inbox(before_ring=self._start)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._failure: LedgerError | None = None
        self.failing_since: float | None = None
        """By the monotonic clock."""
        self._log_from = 1
        self._aside: dict[int, Item] = {}
        self._why_aside = ""

    def _ring(self) -> None:
        self.inbox.ring()

    @property
    def failure(self) -> LedgerError | None:
        """See `Ledger.failure`."""
        if self._failure is None and self._aside:
            return LedgerUnavailable(
                f"the ledger {self.store.place} cannot hold an entry: {self._why_aside}."
            )
        return self._failure

    def waiting(self) -> list[Item]:
        """Entries that are not written."""
        return [*self._aside.values(), *self.inbox.items()]

    def wake(self) -> None:
        """Have the thread look again, if there is one, at who still needs it."""
        if self._thread is not None:
            self.inbox.ring()

    def claim(self, name: str) -> bool:
        """See `Ledger.claim`."""
        if not self.store.has_opened:
            self.flush(self.store.timeout)
        claim = "INSERT INTO claim (name, claimed_at) VALUES (?, ?) ON CONFLICT DO NOTHING"
        return self.store.change([(claim, (self.store.legible(name), time.time_ns() // 1_000))]) == [1]

    def flush(self, timeout: float) -> None:
        """Return when everything that was appended before is written, and the file could be opened.

        Raises:
            LedgerError: not in `timeout` seconds, or it never will be.
        """
        if self._thread is None and self.store.has_opened and not self.waiting():
            return
        flush = self.inbox.append_flush()
        if flush.over.wait(timeout):
            failure = flush.failure or self.failure
            if failure is None:
                return
        else:
            self.inbox.end(flush)
            failure = self._failure or LedgerUnavailable(
                f"the ledger {self.store.place} was not written within {timeout:g} s."
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
                start_thread(self._thread)
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
                with self.store.gate:
                    self.store.open()
                    written = self._write_first()
            except Exception as error:  # noqa: BLE001 - whatever it is, no entry may be lost to it
                self.store.close()
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
            due = self.leases.due_in(leaving=self._is_left, rests=True)
            if written:
                pause = min(max(_SHORTEST_PAUSE, time.monotonic() - began), _LONGEST_PAUSE)
                inbox.rest(pause if due is None else min(pause, due))
            if inbox.lie_down():
                if self._ends():
                    return
                inbox.sleep(self.leases.due_in(leaving=self._is_left))
            inbox.get_up()

    @property
    def _is_left(self) -> bool:
        return self.stopping or not self.users

    def _write_first(self) -> int:
        batch = self.inbox.first(_BATCH)
        items = [queued for queued in batch if isinstance(queued, tuple)]
        # Of a finding that was seen again and again, what came last says it all.
        notes = {(*one.line, one.source): row_of_noted(one) for one in batch if isinstance(one, Noted)}
        try:
            self._write(items, list(notes.values()))
        except self.store.unstorable:
            if not items:
                raise
            for item in items:
                self._write_alone(item)
            for note in notes.values():
                self._write_note_alone(note)
        self.inbox.remove_first(len(batch))
        return len(batch)

    def _write(self, items: Sequence[Item], notes: Sequence[tuple[Any, ...]]) -> None:
        if self.leases.polls():
            self.leases.recall(self.store.recalled(self.leases.owner))
        asks = self.leases.asks(items, leaving=self._is_left)
        sweep = self.leases.sweeps(asks)
        if not (items or notes or asks or self.leases.looks()):
            return
        known = self.allowances.version
        written = self.store.write(
            Batch(items, asks, known, self._watched(items), sweep=sweep, notes=notes), self.leases.owner
        )
        self.leases.answered(written, known)
        if written.caps_version < known:
            logger.warning(
                "the ledger %s is another than before, or an older one: its caps are of version %d after %d. "
                "Set those that are missing again.",
                self.store.place,
                written.caps_version,
                known,
            )
        self._tell(written)

    def _write_alone(self, item: Item) -> None:
        try:
            alone = Batch([item], (), self.allowances.version, self._watched([item]), clean=True)
            written = self.store.write(alone, self.leases.owner)
        except self.store.unstorable as error:
            self._why_aside = f"{type(error).__name__}: {error}"
            if id(item) not in self._aside:
                self._aside[id(item)] = item
                entry, scopes = item
                logger.exception(
                    "an entry of %s USD for %s cannot be stored, and is kept in memory only",
                    entry.amount,
                    scopes,
                )
        else:
            self.leases.written_alone(item)
            self._tell(written)

    def _write_note_alone(self, note: tuple[Any, ...]) -> None:
        try:
            self.store.write(Batch(notes=[note], caps_version=self.allowances.version), self.leases.owner)
        except self.store.unstorable:
            logger.exception("a finding cannot be stored")

    def _watched(self, items: Sequence[Item]) -> Sequence[str]:
        if not self.watchers:
            return ()
        return sorted({scope for _, scopes in items for scope in scopes if is_period_scope(scope)})

    def _tell(self, written: Written) -> None:
        self.watchers.tell(written.spent)
        if written.expired:
            logger.warning(
                "%d allowances in %s were taken back from processes that ended without a word. "
                "What they spent of it is not known here.",
                written.expired,
                self.store.place,
            )

    def _fails(self, error: Exception, waited_for: list[Flush]) -> None:
        failure = self._failure = self.store.explain(error)
        if self.failing_since is None:
            self.failing_since = time.monotonic()
        count = len(self.waiting())
        # Once, and again at each tenfold: all of it is kept, so somebody should look.
        if count >= self._log_from:
            logger.error("%s Kept in memory and tried again: %s.", failure, entries(count))
            self._log_from = max(1_000, 10 * count)
        if not self.store.has_opened or not isinstance(failure, LedgerUnavailable):
            # Who began to wait during the attempt may have put things right: that takes another one.
            for flush in waited_for:
                self.inbox.end(flush, failure)

    def _works(self) -> None:
        if self._failure is not None:
            self._failure = self.failing_since = None
            if self._log_from > 1:
                logger.warning("the ledger %s can be written again.", self.store.place)
            self._log_from = 1

    def _ends(self) -> bool:
        if not self._may_end(self):
            return False
        self.store.close()
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
