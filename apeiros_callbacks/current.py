"""Which session is being recorded here and now, for what is not told by its arguments.

A session that is entered is the current one of this thread or task, and of what they start. Threads that
Python starts without a context of their own see the session that was entered last anywhere.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apeiros_callbacks.session import Session

__all__ = ["current_session", "enter", "leave"]

_here: ContextVar[tuple[Session, ...]] = ContextVar("apeiros_sessions", default=())
_anywhere: list[Session] = []


def current_session() -> Session | None:
    """The session that calls made here belong to; None when none is entered."""
    open_here = [session for session in _here.get() if session in _anywhere]
    if open_here:
        return open_here[-1]
    return _anywhere[-1] if _anywhere else None


def enter(session: Session) -> None:
    """Make a session the current one."""
    _anywhere.append(session)
    _here.set((*_here.get(), session))


def leave(session: Session) -> None:
    """End that; the session around it is the current one again."""
    if session in _anywhere:
        _anywhere.remove(session)
    _here.set(tuple(one for one in _here.get() if one is not session))
