"""How long the commands that report take on a ledger of a million entries. Prints; asserts nothing.

    python -m tests.benchmarks.reports [--entries 1000000] [--keep ledger.db]

A command's time is that of its process, start included, as a person waits for it: the best of three.
"""

from __future__ import annotations

import argparse
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

from apeiros_callbacks.ledger import open_ledger
from tests.contract.servers import a_server

PER_SESSION, CUSTOMERS = 50, 1_000
COMMANDS = (
    ("help", ("--help",)),
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
INSERT INTO entry (
    id, attempt, kind, session_id, customer_id, agent, provider, model, requested_model, input_tokens,
    output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens,
    input_audio_tokens, output_audio_tokens, web_searches, file_searches, amount, amount_nano,
    usage_certainty, price_certainty, cached, unit_prices, price_source, started_at, ended_at
)
SELECT
    'run-' || n, 1, 'llm', CASE WHEN n % 10 = 0 THEN 'endless' ELSE 's' || (n / {per_session}) END,
    'c' || (n / {per_session} % {customers}), 'agent-' || (n % 3), 'openai',
    CASE n % 3 WHEN 0 THEN 'gpt-4o' WHEN 1 THEN 'gpt-4o-mini' ELSE 'claude-sonnet-4-5' END, 'gpt-4o',
    1200, 380, 0, 0, 0, 0, 0, 0, 0, 0, '0.0068', 6800000, 'reported', 'listed', false,
    '{prices}', 'genai-prices 0.2.3', {begin} + n * {step}, {begin} + n * {step} + 9000000
FROM {numbers}
"""
CHARGES = (
    "INSERT INTO charge SELECT 'session:' || session_id, seq FROM entry ORDER BY 1, 2",
    "INSERT INTO charge SELECT 'customer:' || customer_id, seq FROM entry ORDER BY 1, 2",
    "INSERT INTO charge SELECT 'customer:' || customer_id || '/' || {month}, seq FROM entry ORDER BY 1, 2",
)
TOTALS = """
INSERT INTO scope_total (scope, spent, calls, tokens, entries, first_at, last_at)
SELECT scope, sum(spent), sum(calls), sum(tokens), count(*), min(first_at), max(last_at)
FROM charge JOIN counted ON counted.seq = charge.entry GROUP BY scope
"""
FINDINGS = """
INSERT INTO finding
SELECT
    's' || n, 'retry_loop', 'agent-1', '', 'benchmark', 'notice', 'the same prompt runs 4 times in a row.',
    '{numbers_found}', '0.01', 4, 2, 4.0, {begin} + n * {step} * {per_session},
    {begin} + n * {step} * {per_session}
FROM {numbers} WHERE n <= {entries} / {per_session}
"""
FILL = (ENTRIES, *CHARGES, TOTALS, FINDINGS)

SQLITE = {
    "numbers": "(WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number"
    " WHERE n < {entries}) SELECT n FROM number)",
    "month": "strftime('%Y-%m', started_at / 1000000, 'unixepoch')",
}
POSTGRES = {
    "numbers": "generate_series(1, {entries}::bigint) AS number (n)",
    "month": "to_char(to_timestamp(started_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM')",
}


def statements(entries: int, dialect: dict[str, str]) -> list[str]:
    """What makes a ledger as this version writes it, without the way through sessions."""
    year = 365 * 86_400 * 1_000_000
    words = {
        "entries": entries,
        "per_session": PER_SESSION,
        "customers": CUSTOMERS,
        "step": year // entries,
        "begin": time.time_ns() // 1_000 - year,
        "prices": '{"input": "2.5", "output": "10"}',
        "numbers_found": '{"times": 4}',
        "month": dialect["month"],
        "numbers": dialect["numbers"].format(entries=entries),
    }
    return [statement.format_map(words) for statement in FILL]


def fill_file(file: Path, entries: int) -> None:
    open_ledger(f"sqlite:///{file}").close()
    with closing(sqlite3.connect(file)) as connection:
        # Adding up once at the end is faster than in a trigger for each charge.
        (trigger,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'charge_adds'").fetchone()
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("DROP TRIGGER charge_adds")
        for statement in statements(entries, SQLITE):
            connection.execute(statement)
        connection.execute(trigger)
        connection.commit()


def fill_server(url: str, entries: int) -> None:
    import psycopg

    open_ledger(url).close()
    with psycopg.connect(url) as connection:
        connection.execute("SET search_path TO apeiros")
        for statement in statements(entries, POSTGRES):
            connection.execute(statement.encode())
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE")


def seconds(url: str, words: tuple[str, ...]) -> tuple[float, float]:
    """How long a command takes from its start to its end, and how much of that it computes."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    environment = {**os.environ, "APEIROS_LEDGER": url}
    command = [sys.executable, "-m", "apeiros_callbacks", *words]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    return time.perf_counter() - began, after - before


def report(url: str) -> None:
    for name, words in COMMANDS:
        took, computed = min(seconds(url, words) for _ in range(3))
        print(f"{name:<18}{took:6.2f} s, {computed:.2f} s of them computing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="a file for the ledger, to be used again")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        file = (asked.keep or Path(folder) / "ledger.db").absolute()
        if not file.exists():
            began = time.perf_counter()
            fill_file(file, asked.entries)
            took, size = time.perf_counter() - began, file.stat().st_size / 1e6
            print(f"{asked.entries:,} entries in SQLite: {size:,.0f} MB, made in {took:.0f} s")
        report(f"sqlite:///{file}")
        url = opened.enter_context(a_server()).new_database()
        began = time.perf_counter()
        fill_server(url, asked.entries)
        print(f"{asked.entries:,} entries in PostgreSQL: made in {time.perf_counter() - began:.0f} s")
        report(url)


if __name__ == "__main__":
    main()
