"""Whose a call is: the handlers that it is recorded by, and that may refuse it.

A call belongs to the handlers whose `with` blocks it is made in, to those in the callback manager of its
model, to those in ``Settings.callback_manager``, and to that of the `BudgetedLLM` it is made through. What
belongs to none of them goes to whom the other calls of its run belong to, such as a tool's to the handler of
its agent's model; else, while ``instrument()`` is on, to the session that was started with
``apeiros_callbacks.start_session()``.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import llama_index.core
from llama_index.core import Settings

from apeiros_callbacks import Session
from apeiros_callbacks.current import current_sessions
from apeiros_callbacks.settings import Customer
from llama_index.callbacks.apeiros.fields import field
from llama_index.callbacks.apeiros.guard import Guard

if TYPE_CHECKING:
    from llama_index.callbacks.apeiros.handler import ApeirosHandler
    from llama_index.callbacks.apeiros.routing import Claim

__all__ = ["Owner", "claim_here", "entered", "is_watched", "left", "made", "owners", "switch"]


class Owner(NamedTuple):
    """A session that a call is recorded in."""

    session: Session
    customer: Customer = None


claim_here: ContextVar[Claim | None] = ContextVar("apeiros_llama_index_claim", default=None)
"""Of the wrapper that makes the call, where there is one."""

_made_here: ContextVar[weakref.ref[ApeirosHandler] | None] = ContextVar(
    "apeiros_llama_index_made", default=None
)
_all: weakref.WeakSet[ApeirosHandler] = weakref.WeakSet()
_entered: weakref.WeakKeyDictionary[Session, list[weakref.ref[ApeirosHandler]]] = weakref.WeakKeyDictionary()
"""Handlers in ``with`` blocks; one may be in several, and several may share a session."""
_newest: list[weakref.ref[ApeirosHandler]] = []


class _Switch:
    """Whether sessions that are started record what has no handler of its own."""

    is_on = False


switch = _Switch()


def is_watched() -> bool:
    """Whether there is anybody whose a call could be."""
    return bool(_all) or switch.is_on


def made(handler: ApeirosHandler) -> None:
    """Note a new handler."""
    _all.add(handler)
    reference = weakref.ref(handler)
    _made_here.set(reference)
    _newest[:] = [reference]


def entered(handler: ApeirosHandler) -> None:
    """Note that a handler's session is current because of it."""
    handler.is_placed = True
    _entered.setdefault(handler.session, []).append(weakref.ref(handler))


def left(handler: ApeirosHandler) -> None:
    """Note the end of that."""
    with suppress(ValueError):
        _entered.get(handler.session, []).remove(weakref.ref(handler))


def owners(instance: object, run: Sequence[Owner] = ()) -> Sequence[Owner]:
    """Whose a call of a model, an embedding or a tool is. Each session once.

    Args:
        instance: what makes the call.
        run: whose other calls of the same run are: what belongs to nobody else belongs to them.
    """
    claim = claim_here.get()
    around = current_sessions()
    found: list[ApeirosHandler] = [] if claim is None else [claim.handler]
    for session in around:
        handler = _handler_of(session)
        if handler is not None:
            found.append(handler)
        elif switch.is_on:
            break  # it was started within the blocks around it, and records what it is part of by itself
    found.extend(_attached(instance))
    if not found:
        if run:
            return run
        if around and switch.is_on:
            return (Owner(around[0]),)
        found.extend(_unplaced())
    return _distinct(found)


def _handler_of(session: Session) -> ApeirosHandler | None:
    """The handler whose ``with`` block made a session current; None where it was started."""
    entered = _entered.get(session)
    return entered[-1]() if entered else None


def _distinct(handlers: Sequence[ApeirosHandler]) -> list[Owner]:
    if len(handlers) == 1:
        return [Owner(handlers[0].session, handlers[0].customer)]
    found: dict[int, Owner] = {}
    for handler in handlers:
        found.setdefault(id(handler.session), Owner(handler.session, handler.customer))
    return list(found.values())


def _attached(instance: object) -> Iterator[ApeirosHandler]:
    """Handlers in the callback managers that a call reports to."""
    guard = field(instance, "rate_limiter")
    own = _among(field(instance, "callback_manager"))
    if isinstance(guard, Guard):
        for handler in own:
            guard.seen.add(handler)
        # A query engine puts another manager in the place of the model's own (core 0.14).
        own = own or list(guard.seen)
    for handler in (*own, *_among(_of_settings())):
        handler.is_placed = True
        yield handler
    everywhere: Any = llama_index.core.global_handler
    if getattr(everywhere, "is_apeiros", False):
        everywhere.is_placed = True
        yield everywhere


def _of_settings() -> Any:
    # Read as it is: the property makes a manager where there is none.
    return Settings._callback_manager  # pyright: ignore[reportPrivateUsage]


def _among(manager: Any) -> list[ApeirosHandler]:
    if manager is None:
        return []
    return [handler for handler in manager.handlers if getattr(handler, "is_apeiros", False)]


def _unplaced() -> Iterator[ApeirosHandler]:
    """The handler that was made last here, or else last anywhere, if it was never found in any place.

    It is in the manager of a model that a query engine has replaced before the model's first call: no trace
    of it is left, and a budget that silently does nothing is worse than one that takes too much.
    """
    for reference in (_made_here.get(), *_newest):
        handler = None if reference is None else reference()
        if handler is not None and not handler.is_placed:
            yield handler
            return
