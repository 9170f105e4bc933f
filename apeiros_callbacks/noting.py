"""What a ledger is told of the findings of a session."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime

from apeiros_callbacks.finding import Finding
from apeiros_callbacks.forked import in_forked_child
from apeiros_callbacks.ledger import Ledger
from apeiros_callbacks.ledger.noted import Noted

__all__ = ["Notes"]


class Notes:
    """Counts each line anew where a count begins anew: in each process, and after a reset.

    So what two processes note of one session adds up, and noting one line twice is the same as once.

    Example:
        >>> from datetime import UTC
        >>> from apeiros_callbacks.ledger import open_ledger
        >>> notes = Notes("3f2a", open_ledger("memory:"), lambda: datetime(2026, 11, 25, tzinfo=UTC))
        >>> found = Finding(type="retry_loop", severity="notice", message="3 times")
        >>> [notes.add(found).finding.count for _ in range(2)]
        [1, 2]
        >>> notes.start_afresh()
        >>> notes.add(found).finding.count
        1
    """

    def __init__(self, session_id: str, ledger: Ledger, clock: Callable[[], datetime]) -> None:
        self._session_id = session_id
        self._ledger = ledger
        self._clock = clock
        self.start_afresh()
        in_forked_child(self)

    def start_afresh(self) -> None:
        """Have noted nothing; what the ledger has stays."""
        self._source = uuid.uuid4().hex[:12]
        self._lines: dict[object, Noted] = {}

    def add(self, finding: Finding) -> Noted:
        """What the ledger should hold now that this was found, for `keep`. One thread at a time."""
        at = self._clock()
        before = self._lines.get(finding.line)
        noted = self._lines[finding.line] = Noted(
            session_id=self._session_id,
            source=self._source,
            finding=finding if before is None else before.finding.again(finding),
            first_at=at if before is None else before.first_at,
            last_at=at,
        )
        return noted

    def keep(self, noted: Noted) -> None:
        """Hand it to the ledger, which returns at once.

        Raises:
            LedgerUnavailable: the ledger is closed.
        """
        self._ledger.note(noted)
