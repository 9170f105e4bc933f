"""How long the commands that report take on a ledger of a million entries. Prints; asserts nothing.

    python tests/benchmarks/reports.py [--entries 1000000] [--keep ledger.db]

A command's time is that of its process, start included, as a person waits for it: the best of three.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from apeiros_callbacks.ledger import open_ledger

PER_SESSION, CUSTOMERS = 50, 1_000
COMMANDS = (
    ("today", ()),
    ("sessions", ("sessions",)),
    ("customers", ("customers",)),
    ("show", ("show", "s17")),
    ("show the longest", ("show", "endless")),
    ("findings", ("findings",)),
    ("budget list", ("budget", "list")),
    ("tail", ("tail", "--no-follow")),
)

# Entries of the last twelve months, one every half minute or so; every tenth is of one endless session.
ENTRIES = """
INSERT INTO entry
SELECT n, 'run-' || n, 1, 'llm', NULL,
    CASE WHEN n % 10 = 0 THEN 'endless' ELSE 's' || (n / :per_session) END,
    'c' || (n / :per_session % :customers), 'agent-' || (n % 3), NULL, 'openai',
    CASE n % 3 WHEN 0 THEN 'gpt-4o' WHEN 1 THEN 'gpt-4o-mini' ELSE 'claude-sonnet-4-5' END, 'gpt-4o',
    1200, 380, 0, 0, 0, 0, 0, 0, 0, 0, '0.0068', 6800000, 'reported', 'listed', 0,
    '{"input": "2.5", "output": "10"}', 'genai-prices 0.2.3',
    :begin + n * :step, :begin + n * :step + 9000000, NULL, NULL, NULL, NULL
FROM (WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :entries)
      SELECT n FROM number)
"""
CHARGES = (
    "INSERT INTO charge SELECT 'session:' || session_id, seq FROM entry ORDER BY 1, 2",
    "INSERT INTO charge SELECT 'customer:' || customer_id, seq FROM entry ORDER BY 1, 2",
    """INSERT INTO charge SELECT 'customer:' || customer_id || '/'
        || strftime('%Y-%m', started_at / 1000000, 'unixepoch'), seq FROM entry ORDER BY 1, 2""",
)
TOTALS = """
INSERT INTO scope_total (scope, spent, calls, tokens, entries, first_at, last_at)
SELECT scope, sum(spent), sum(calls), sum(tokens), count(*), min(first_at), max(last_at)
FROM charge JOIN counted ON counted.seq = charge.entry GROUP BY scope
"""
FINDINGS = """
INSERT INTO finding
SELECT 's' || n, 'retry_loop', 'agent-1', '', 'benchmark', 'notice', 'the same prompt runs 4 times in a row.',
    '{"times": 4}', '0.01', 4, 2, 4.0, :begin + n * :step * :per_session, :begin + n * :step * :per_session
FROM (WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :entries / :per_session)
      SELECT n FROM number)
"""


def fill(file: Path, entries: int) -> None:
    """A ledger as this version writes it, without the way through sessions."""
    open_ledger(f"sqlite:///{file}").close()
    year = 365 * 86_400 * 1_000_000
    values = {
        "entries": entries,
        "per_session": PER_SESSION,
        "customers": CUSTOMERS,
        "step": year // entries,
        "begin": time.time_ns() // 1_000 - year,
    }
    with closing(sqlite3.connect(file)) as connection:
        # Adding up once at the end is faster than in a trigger for each charge.
        (trigger,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'charge_adds'").fetchone()
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("DROP TRIGGER charge_adds")
        connection.execute(ENTRIES, values)
        for statement in (*CHARGES, TOTALS):
            connection.execute(statement)
        connection.execute(FINDINGS, values)
        connection.execute(trigger)
        connection.commit()


def seconds(url: str, words: tuple[str, ...]) -> float:
    """How long a command takes, and its exit code is right."""
    began = time.perf_counter()
    environment = {**os.environ, "APEIROS_LEDGER": url}
    command = [sys.executable, "-m", "apeiros_callbacks", *words]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="a file for the ledger, to be used again")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = (asked.keep or Path(folder) / "ledger.db").absolute()
        if not file.exists():
            began = time.perf_counter()
            fill(file, asked.entries)
            size = file.stat().st_size / 1e6
            print(f"{asked.entries:,} entries, {size:,.0f} MB, made in {time.perf_counter() - began:.0f} s")
        url = f"sqlite:///{file}"
        print(f"{'--help':<18}{min(seconds(url, ('--help',)) for _ in range(3)):6.2f} s")
        for name, words in COMMANDS:
            print(f"{name:<18}{min(seconds(url, words) for _ in range(3)):6.2f} s")


if __name__ == "__main__":
    main()
