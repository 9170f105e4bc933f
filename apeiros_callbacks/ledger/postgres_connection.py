"""A connection to a PostgreSQL server that does not wait for ever.

The options of the driver end a connection whose other side is gone. A server that is frozen, or that waits
for a lock, is there: its system goes on to confirm what arrives. So each answer has a time of its own here.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from apeiros_callbacks.errors import LedgerUnavailable
from apeiros_callbacks.ledger.url import PostgresUrl

if TYPE_CHECKING:
    import psycopg

__all__ = ["connect", "unhurried"]

_T = TypeVar("_T")
_CANCEL = 1.0
"""Seconds to wait for a server to hear that a statement is not waited for any more."""


def connect(options: PostgresUrl, patience: float | None = None) -> psycopg.Connection[Any]:
    """Connect, in autocommit mode.

    Args:
        options: to which server.
        patience: the most to wait for each answer, in seconds; None for as long as it takes.

    Raises:
        ImportError: there is no driver.
        psycopg.Error: it cannot be connected to.
    """
    defaults: dict[str, Any] = dict(options.defaults)
    # A pooler between here and the server may give each transaction another connection.
    made: Any = _class().connect(options.conninfo, autocommit=True, prepare_threshold=None, **defaults)
    made.patience = patience
    connection: psycopg.Connection[Any] = made
    return connection


@contextmanager
def unhurried(connection: Any) -> Generator[None]:
    """Wait as long as it takes meanwhile."""
    patience, connection.patience = getattr(connection, "patience", None), None
    try:
        yield
    finally:
        connection.patience = patience


@cache
def _class() -> Any:
    import psycopg  # on first need: it is an extra

    class PatientConnection(psycopg.Connection[Any]):
        patience: float | None = None

        def wait(self, gen: Generator[Any, Any, _T], *args: Any, **kwargs: Any) -> _T:
            if self.patience is None:
                return super().wait(gen, *args, **kwargs)
            try:
                return super().wait(_limited(gen, self.patience), *args, **kwargs)
            except _Silence:
                # Where it only waits for a lock, it need not wait any longer.
                with suppress(Exception):
                    self.cancel_safe(timeout=_CANCEL)
                self.pgconn.finish()
                raise LedgerUnavailable(f"it did not answer within {self.patience:g} s.") from None

    return PatientConnection


class _Silence(Exception):
    """There was no answer in time."""


def _limited(gen: Generator[Any, Any, _T], seconds: float) -> Generator[Any, Any, _T]:
    """The same steps of the driver, until the time is up and nothing is there to read."""
    deadline = monotonic() + seconds
    try:
        waits_for = next(gen)
        while True:
            ready = yield waits_for
            if not ready and monotonic() >= deadline:
                raise _Silence
            waits_for = gen.send(ready)
    except StopIteration as end:
        value: _T = end.value
        return value
