"""A connection to a PostgreSQL server that does not wait for ever.

The options of the driver end a connection whose other side is gone. A server that is frozen, or that waits
for a lock, is there: its system goes on to confirm what arrives. So each answer has a time of its own here.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from selectors import DefaultSelector
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
                return _finished(gen, self.pgconn.socket, self.patience)
            except _Silence:
                # Where it only waits for a lock, it need not wait any longer. libpq before 17 can say so only
                # with a call that may itself take for ever.
                if psycopg.capabilities.has_cancel_safe():
                    with suppress(Exception):
                        self.cancel_safe(timeout=_CANCEL)
                self.pgconn.finish()
                raise LedgerUnavailable(f"it did not answer within {self.patience:g} s.") from None

    return PatientConnection


class _Silence(Exception):
    """There was no answer in time."""


def _finished(gen: Generator[Any, Any, _T], socket: int, seconds: float) -> _T:
    """What steps of the driver come to, each taken when the socket is ready for it.

    The driver's own loop has a limit of time only since psycopg 3.3.
    """
    deadline = monotonic() + seconds
    try:
        waits_for = next(gen)
        with DefaultSelector() as selector:
            key = selector.register(socket, waits_for)
            while True:
                ready = selector.select(max(0.0, deadline - monotonic()))
                if not ready:
                    raise _Silence
                waits_for = gen.send(ready[0][1])
                if waits_for != key.events:
                    key = selector.modify(socket, waits_for)
    except StopIteration as end:
        value: _T = end.value
        return value
