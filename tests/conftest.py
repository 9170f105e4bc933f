"""What all tests share: none of them sees a developer's own settings or data."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest

from tests.contract.servers import Server, a_server  # imports nothing of the package

# Before anything is imported: the price data are loaded once for the process.
os.environ["APEIROS_HOME"] = tempfile.mkdtemp(prefix="apeiros-tests-")
for name in ("APEIROS_LEDGER", "APEIROS_ENFORCE", "APEIROS_PRICES"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server, or the test is skipped where there is none."""
    with a_server() as started:
        yield started


@pytest.fixture
def database(server: Server) -> str:
    """The URL of a database of the test's own."""
    return server.new_database()
