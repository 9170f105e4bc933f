"""Opening a file: whose it is, whether it can be used, and what to do when it cannot.

A file that is not ours, is damaged or is newer than this package is left as it was found, byte for
byte: it is opened for reading first. It is never opened other than by SQLite, because closing any other
descriptor of a file drops the locks that SQLite has on it in this process.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
import time
from contextlib import closing
from pathlib import Path

from apeiros_callbacks.environment import data_folder
from apeiros_callbacks.errors import LedgerCorrupt, LedgerError, LedgerUnavailable
from apeiros_callbacks.ledger import mounts
from apeiros_callbacks.ledger.migrate import migrate, version_of
from apeiros_callbacks.ledger.url import Synchronous

__all__ = [
    "APPLICATION_ID", "explain", "identity", "open_for_changing", "open_for_reading",
    "open_for_writing",
]  # fmt: skip

APPLICATION_ID = 0x41706569
"""SQLite's mark of whose file it is: "Apei"."""

_OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
_TABLES = frozenset({"entry", "charge"})

_creating = threading.Lock()


def open_for_writing(path: Path, synchronous: Synchronous, timeout: float) -> sqlite3.Connection:
    """Open a ledger's file, or create it with mode 0600, and bring it to the newest schema.

    Args:
        path: an absolute path.
        synchronous: see `SqliteUrl`.
        timeout: how long to wait for another program that has locked the file, in seconds.

    Returns:
        A connection in autocommit mode, to be used and closed by the calling thread.

    Raises:
        LedgerError: it cannot be used; says why and what to do.
        OSError, sqlite3.Error: the same, for `explain` to put in words.
    """
    _check_sqlite()
    _check_place(path)
    if not _create(path) and path.stat().st_size:
        _check_ours(path, timeout)
    connection = _connect(path, "mode=rw", timeout)
    try:
        migrate(connection)
        _use_write_ahead_log(connection, timeout)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        # SQLite opens a file that it may not write without a word, and even begins a transaction in it.
        connection.execute("DELETE FROM charge WHERE false")
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path, timeout: float) -> closing[sqlite3.Connection]:
    """A connection that cannot write, for a ``with``.

    Raises:
        OSError, sqlite3.Error: it cannot be opened, for `explain` to put in words.
    """
    return closing(_connect(path, "mode=ro", timeout))


def open_for_changing(path: Path, timeout: float) -> closing[sqlite3.Connection]:
    """A connection for one change to a file that `open_for_writing` has brought up to date, for a ``with``.

    Raises:
        OSError, sqlite3.Error: it cannot be opened, for `explain` to put in words.
    """
    return closing(_connect(path, "mode=rw", timeout))


def identity(path: Path) -> tuple[int, int]:
    """What tells a file from another one of the same name.

    Raises:
        OSError: it is not there.
    """
    found = path.stat()
    return found.st_dev, found.st_ino


def explain(error: Exception, path: Path, timeout: float) -> LedgerError:
    """What happened to a file and what to do, as one of our errors; a new one without a traceback.

    Args:
        error: what `open_for_writing`, or a statement, raised.
        path: the file.
        timeout: how long a locked file was waited for, in seconds.
    """
    if isinstance(error, LedgerError):
        return type(error)(f"the ledger {path} cannot be used: {error}")
    if isinstance(error, OSError):
        todo = (
            f". Use another path, or let this user create files in {path.parent}" if _of_path(error) else ""
        )
        return LedgerUnavailable(f"the ledger {path} cannot be used: {error.strerror or error}{todo}.")
    code = getattr(error, "sqlite_errorname", "") or ""
    if code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return LedgerCorrupt(
            f"the ledger {path} cannot be used: {error}. "
            "Put back a copy of it, or move it away to begin a new one."
        )
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        held = f"another program has locked it for more than {timeout:g} s"
        todo = f"{held}. Close that program, or wait longer with ?timeout=30"
    elif code.startswith("SQLITE_FULL"):
        todo = "the disk is full. Free some space"
    elif code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        todo = f"{error}. Give this user the right to write the file and its folder"
    else:
        todo = f"{error or type(error).__name__} ({code or type(error).__name__})"
    return LedgerUnavailable(f"the ledger {path} cannot be used: {todo}.")


def _of_path(error: OSError) -> bool:
    """Whether another path, or other rights on it, would help."""
    return error.errno in {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EINVAL}


def _connect(path: Path, how: str, timeout: float) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?{how}", uri=True, timeout=timeout, isolation_level=None)


def _check_sqlite() -> None:
    found = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise LedgerUnavailable(f"it needs SQLite 3.37, and this Python has {found}. Use a newer Python.")


def _check_place(path: Path) -> None:
    folder = path.parent
    if folder == data_folder():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not folder.is_dir():
        raise LedgerUnavailable(f"the folder {folder} does not exist. Create it, or use another path.")
    if mounts.MOUNTS.exists():
        kind = mounts.network_file_system(path.resolve(), mounts.MOUNTS.read_text("utf-8", "surrogateescape"))
        if kind is not None:
            raise LedgerUnavailable(
                f"it is on a network file system ({kind}), where SQLite's write-ahead log can lose entries. "
                "Use a path on a local disk."
            )


def _create(path: Path) -> bool:
    """Create the file if there is none."""
    # Under a lock, so that no other thread has it open when this descriptor is closed: see above.
    with _creating:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            mode = path.stat().st_mode
            if stat.S_ISREG(mode):
                return False
            what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise LedgerUnavailable(f"it is {what}. Use another path.") from None
        return True


def _check_ours(path: Path, timeout: float) -> None:
    # `immutable` leaves no -wal and -shm files beside another program's database. It sees the file
    # as of its last checkpoint: right for whose it is, not for the rest.
    try:
        with closing(_connect(path, "mode=ro&immutable=1", timeout)) as connection:
            _check_owner(connection)
    except sqlite3.DatabaseError as error:
        # It may only look damaged while another process writes a checkpoint.
        if error.sqlite_errorname != "SQLITE_CORRUPT":
            raise
    try:
        with open_for_reading(path, timeout) as connection:
            _check_owner(connection)
            if version_of(connection):
                names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
                missing = _TABLES - {name for (name,) in names}
                if missing:
                    raise LedgerCorrupt(f"its table {min(missing)!r} is missing. Put back a copy of it.")
    except sqlite3.OperationalError as error:
        # A process died while it wrote the file: opening it for writing makes it whole.
        if not error.sqlite_errorname.startswith("SQLITE_READONLY"):
            raise


def _check_owner(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise LedgerCorrupt("it is a database of another program. Use another file.")


def _use_write_ahead_log(connection: sqlite3.Connection, timeout: float) -> None:
    # Switching a new file over fails at once, whatever the timeout, when another process writes it.
    deadline = time.monotonic() + timeout
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            break
    if mode != "wal":
        raise LedgerUnavailable("its file system has no write-ahead log. Use a path on a local disk.")
