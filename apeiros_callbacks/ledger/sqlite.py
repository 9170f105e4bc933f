"""Entries in one SQLite file."""

from __future__ import annotations

from pathlib import Path

from apeiros_callbacks.ledger.sqlite_store import SqliteStore
from apeiros_callbacks.ledger.stored import StoredLedger, on_event_loop
from apeiros_callbacks.ledger.url import SqliteUrl

__all__ = ["SqliteLedger"]


class SqliteLedger(StoredLedger):
    """A ledger in a file. See `StoredLedger`."""

    def __init__(self, url: str, options: SqliteUrl) -> None:
        """Open the file, or create it.

        Args:
            url: what the user wrote, to show.
            options: the same, as `parse_url` read it.
        """
        path = Path(options.path)
        if not on_event_loop():
            path = path.absolute()
        # What a relative path is relative to is asked on the writer's thread, as the question may block.
        key = (path, options.synchronous, options.timeout, options.lease) if path.is_absolute() else None
        super().__init__(url, key, lambda: SqliteStore(path, options))
