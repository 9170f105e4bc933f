"""Where entries are kept.

protocol.py         `Ledger`: what every ledger does
opening.py          `open_ledger(url)`, and the ledger of people who name none
url.py              what a ledger's URL may say
memory.py           entries of this process only
stored.py           a ledger in a file or on a server: what callers see of it
writer.py           the one thread that writes, and asks for allowances
inbox.py            what waits to be written
lifecycle.py        which writers live: shared by what they write to, fresh after a fork, emptied at exit
store.py            `Store`: what a writer writes to, and what it says and hears in one transaction
sqlite.py           a ledger in one SQLite file
sqlite_store.py     a file as a store; turns.py lets processes have it in their order
sqlite_file.py      opening a file: whose it is, whether it can be used
mounts.py           network file systems, where SQLite's write-ahead log is not safe
fork_gate.py        keeps this process out of SQLite while it forks
postgres_store.py   a PostgreSQL server as a store; postgres_schema.py makes its tables,
                    postgres_connection.py waits for it, but not for ever
migrate.py          the numbered scripts of ``migrations/``
rows.py             an `Entry` as a row, and back; cap_rows.py the same for a `Cap`
allowance.py        what this process may spend of one period of a cap; allowances.py finds it
leases.py           what to ask the ledger to set aside, when, and what an answer means; comfort.py how much
totals.py           what a scope has in all
watchers.py         who is told when a period has spent more
audit.py            whether counters are what the entries say, and making them so
pruning.py          removing old entries, while what they add up to stays
corrections.py      putting a line right by a new one
noted.py            a finding as a row, and back
pages.py            reading in pieces, and sums over a time
instants.py         moments as whole microseconds
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
