"""Where entries are kept.

protocol.py     `Ledger`: what every ledger does
opening.py      `open_ledger(url)`, and the ledger of people who name none
url.py          what a ledger's URL may say
memory.py       entries of this process only
sqlite.py       entries in one SQLite file
writer.py       the one thread that writes a file
lifecycle.py    which writers live: shared by path, fresh after a fork, emptied at exit
fork_gate.py    keeps this process out of SQLite while it forks
sqlite_file.py  opening a file: whose it is, whether it can be used
mounts.py       network file systems, where SQLite's write-ahead log is not safe
migrate.py      the numbered scripts of ``migrations/``
noted.py        a finding as a row, and back
pages.py        reading in pieces, and sums over a time
instants.py     moments as whole microseconds
rows.py         an `Entry` as a row, and back
cap_rows.py     a `Cap` as a row, and back
totals.py       what a scope has in all
watchers.py     who is told when a period has spent more
"""

from __future__ import annotations

from apeiros_callbacks.ledger.opening import (
    customers_ledger,
    customers_ledger_url,
    default_ledger_url,
    open_for,
    open_ledger,
)
from apeiros_callbacks.ledger.protocol import Ledger, Watcher
from apeiros_callbacks.ledger.totals import ScopeTotals

__all__ = [
    "Ledger", "ScopeTotals", "Watcher", "customers_ledger", "customers_ledger_url", "default_ledger_url",
    "open_for", "open_ledger",
]  # fmt: skip
