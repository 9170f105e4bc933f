"""``instrument()``: the calls of every run go into the session that is current, without ``callbacks=``."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import Any

from apeiros_callbacks import Session
from apeiros_callbacks.current import current_session
from langchain_apeiros.handler import ApeirosHandler
from langchain_apeiros.live import Origin

__all__ = ["instrument", "uninstrument"]


class _Ambient(ApeirosHandler):
    """Belongs to no session of its own. A run that has a handler of its own is left to that."""

    is_on = False

    def __init__(self) -> None:
        super().__init__(session=Session(ledger="memory:"))

    @property
    def ignore_llm(self) -> bool:
        """Whether LangChain should leave it out, as all of these say: there is nothing to begin or to end."""
        return not self.is_on and not self._tracker.lives

    @property
    def ignore_chat_model(self) -> bool:
        """See `ignore_llm`."""
        return self.ignore_llm

    @property
    def ignore_chain(self) -> bool:
        """See `ignore_llm`."""
        return self.ignore_llm

    @property
    def ignore_agent(self) -> bool:
        """See `ignore_llm`."""
        return self.ignore_llm

    def _session_of(self, origin: Origin) -> Session | None:
        if not self.is_on:
            return None
        for handler in origin.handlers:
            if isinstance(handler, ApeirosHandler) and handler is not self:
                return None
        return current_session()


class _Hook:
    """The one hook that LangChain is given, which it keeps for ever."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handler: _Ambient | None = None

    def turn_on(self) -> None:
        with self._lock:
            if self._handler is None:
                # Only where it is asked for: it brings LangSmith's tracer.
                from langchain_core.tracers.context import register_configure_hook

                self._handler = _Ambient()
                everywhere: ContextVar[Any] = ContextVar("apeiros_langchain", default=self._handler)
                register_configure_hook(everywhere, inheritable=True)
            self._handler.is_on = True

    def turn_off(self) -> None:
        with self._lock:
            if self._handler is not None:
                self._handler.is_on = False


_hook = _Hook()


def instrument() -> None:
    """Record the calls of every run into the session that is current. Twice is once.

    It holds for the whole process, bare threads included. ``APEIROS_INSTRUMENT=1`` in the environment does
    the same when this package is imported.
    """
    _hook.turn_on()


def uninstrument() -> None:
    """End that. Calls that are under way are recorded to their end."""
    _hook.turn_off()
