"""Opening a ledger by its URL."""

from __future__ import annotations

import os

from apeiros_callbacks.environment import data_folder, ledger_url
from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.ledger.memory import MemoryLedger
from apeiros_callbacks.ledger.protocol import Ledger
from apeiros_callbacks.ledger.url import MEMORY, PostgresUrl, parse_url, sqlite_url

__all__ = ["customers_ledger", "customers_ledger_url", "default_ledger_url", "open_for", "open_ledger"]

_in_memory: list[MemoryLedger] = []


def open_ledger(url: str) -> Ledger:
    """Open the ledger at a URL.

    - ``memory:`` keeps entries while the process lives.
    - ``sqlite:///ledger.db`` and ``sqlite:////srv/ledger.db`` keep them in a file, relative to the
      working directory or absolute; ``sqlite:///C:/ledger.db`` on Windows. The file is created with mode
      0600 when it is missing. Options: ``?synchronous=FULL`` keeps flushed entries also when the power
      fails (the default ``NORMAL``: when the process dies), ``?timeout=5`` is how long to wait for a file
      that another program has locked, in seconds. In a path, write ``%3F`` for a ``?`` and ``%25`` for
      a ``%``.
    - ``postgresql://user@host/database`` keeps them on a server, in the schema ``apeiros``; needs the extra
      ``postgres``. Options of the driver may follow, such as ``?sslmode=require``, and ``?timeout=5``, how
      long to wait for the server, in seconds.

    With both, ``?lease=60`` is for how many seconds a process is lent a part of a shared cap before it must
    renew that, which it does by itself while it lives.

    Opening a file on an event loop does not wait for it: see `Ledger.failure` for how it went.

    Args:
        url: where the entries are kept.

    Raises:
        ConfigError: there is no such ledger; says what to write.
        LedgerUnavailable: the file cannot be opened or written, or is on a network file system.
        LedgerCorrupt: the file is not a ledger, or is damaged. It is left as it was.
        LedgerTooNew: a newer version of this package wrote the file. It is left as it was.

    Example:
        >>> ledger = open_ledger("memory:")
        >>> ledger.url, ledger.pending, ledger.failure
        ('memory:', 0, None)
    """
    options = parse_url(url)
    if options == MEMORY:
        return MemoryLedger()
    # Imported on first need: most handlers keep their entries in memory.
    if isinstance(options, PostgresUrl):
        from apeiros_callbacks.ledger.postgres_store import PostgresStore
        from apeiros_callbacks.ledger.stored import StoredLedger

        return StoredLedger(options.shown, options, lambda: PostgresStore(options))
    from apeiros_callbacks.ledger.sqlite import SqliteLedger

    return SqliteLedger(url, options)


def open_for(customer: str | None, ledger: Ledger | str | None) -> Ledger:
    """The ledger of a session: the one given, or the usual one.

    Args:
        customer: whom its calls are for; a customer's cap is shared, and so is its ledger.
        ledger: an open one or its URL, where one is given.

    Raises:
        ConfigError: it is no ledger.
        LedgerError: it cannot be opened.
    """
    if isinstance(ledger, str):
        return open_ledger(ledger)
    if ledger is not None:
        if not isinstance(ledger, Ledger):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(
                f'ledger must be a URL such as "sqlite:///ledger.db", or from open_ledger, got {ledger!r}'
            )
        return ledger
    return open_ledger(ledger_url(None)) if customer is None else customers_ledger()


def customers_ledger() -> Ledger:
    """The ledger of customers where none is named.

    ``APEIROS_LEDGER=memory:`` is one ledger for all customers of this process.

    Raises:
        LedgerError: it cannot be opened.
    """
    url = customers_ledger_url()
    if url != MEMORY:
        return open_ledger(url)
    if not _in_memory or _in_memory[-1].is_closed:
        _in_memory[:] = [MemoryLedger()]
    return _in_memory[-1]


def customers_ledger_url() -> str:
    """The URL of the ledger of customers where none is named: ``APEIROS_LEDGER``, or `default_ledger_url`."""
    return os.environ.get("APEIROS_LEDGER") or default_ledger_url()


def default_ledger_url() -> str:
    """The ledger of people who name none: a file in this user's data folder.

    Example:
        >>> default_ledger_url().endswith("/ledger.db")
        True
    """
    return sqlite_url((data_folder() / "ledger.db").as_posix())
