"""Ledger files: to make, to look into, and to check."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

from apeiros_callbacks.ledger import open_ledger
from tests.contract.entries import entry


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def make_ledger(path: Path, count: int = 3) -> None:
    with closing(open_ledger(url_of(path))) as ledger:
        for number in range(count):
            ledger.append(entry(f"r{number}"), ("session:3f2a",))


def found(path: Path) -> list[str]:
    """The ids of the entries, in their order."""
    with closing(open_ledger(url_of(path))) as ledger:
        return [one.id for one in ledger.entries()]


def statement(path: Path, *statements: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [row for one in statements for row in connection.execute(one).fetchall()]


def check(path: Path) -> None:
    assert statement(path, "PRAGMA integrity_check", "PRAGMA foreign_key_check") == [("ok",)]


def contents(folder: Path) -> dict[str, str]:
    """A hash of every file."""
    return {
        one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in folder.iterdir() if one.is_file()
    }
