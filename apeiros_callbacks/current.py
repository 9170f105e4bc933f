"""Which session is being recorded here and now, for what is not told by its arguments.

A session that is entered is the current one of this thread or task, and of what they start. Threads that
Python starts without a context of their own see the session that was entered last anywhere; a thread or
task that had one of its own and left it sees none.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apeiros_callbacks.session import Session

__all__ = [
    "current_session",
    "current_sessions",
    "enter",
    "leave",
    "put_around",
    "session_around",
    "session_here",
]

_here: ContextVar[tuple[Session, ...] | None] = ContextVar("apeiros_sessions", default=None)
_anywhere: list[Session] = []
_around: list[Session] = []


def current_session() -> Session | None:
    """The session that calls made here belong to; None when none is entered."""
    return next(iter(current_sessions()), None)


def current_sessions() -> Sequence[Session]:
    """The current session, and those that were entered around it, the innermost first."""
    here = _here.get()
    if here is None:
        return _anywhere[-1:]
    return [session for session in reversed(here) if session in _anywhere]


def session_here() -> Session | None:
    """The session that was entered in this thread or task, or in the one that started it; None otherwise."""
    return next((session for session in reversed(_here.get() or ()) if session in _anywhere), None)


def enter(session: Session) -> None:
    """Make a session the current one."""
    _anywhere.append(session)
    _here.set((*(_here.get() or ()), session))


def leave(session: Session) -> bool:
    """End that; the session around it is the current one again. False when it was not entered."""
    here = list(_here.get() or ())
    if session in here:  # once: what was entered twice is left twice
        del here[len(here) - 1 - here[::-1].index(session)]
        _here.set(tuple(here))
    try:
        _anywhere.remove(session)
    except ValueError:
        return False
    return True


def put_around(session: Session | None) -> None:
    """Make every session that is begun from now on, and has no other parent, a part of this one."""
    _around[:] = [] if session is None else [session]


def session_around() -> Session | None:
    """The session that new ones are a part of; None where each is on its own."""
    return next(iter(_around), None)
