"""Hooks that let an event loop run while they wait for money of a cap that processes share.

The handler is one sync handler for both of LangChain's worlds (see `ApeirosHandler.run_inline`), so its
hooks would block an event loop while they wait for a ledger. LangChain (core 1.4 to 1.8) looks a hook up on
the handler for each event, awaits it when it is a coroutine function, and calls it plainly otherwise. So a
hook is an `async` one for ``_ahandle_event_for_handler`` alone, and only where something may be waited for.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, cast, overload

from apeiros_callbacks.ledger.allowances import may_wait
from apeiros_callbacks.waiting import awaited

__all__ = ["waiting"]

P = ParamSpec("P")

_LOOKS_UP = "_ahandle_event_for_handler"


def waiting(hook: Callable[P, None], again: Callable[..., None] | None = None) -> Callable[P, None]:
    """A hook that may have to wait, as a decorator. See `_Waiting`."""
    return cast("Callable[P, None]", _Waiting(hook, again))


class _Waiting(Generic[P]):
    """A hook that may have to wait.

    Args:
        hook: the hook, a method of the handler.
        again: what to run after a wait with the same arguments, where the hook must not be run twice.
    """

    def __init__(self, hook: Callable[P, None], again: Callable[..., None] | None = None) -> None:
        self._hook = hook
        self._again = again
        functools.update_wrapper(self, hook)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run the hook in this thread."""
        self._hook(*args, **kwargs)

    @overload
    def __get__(self, handler: None, owner: type) -> _Waiting[P]: ...
    @overload
    def __get__(self, handler: object, owner: type) -> Callable[..., Any]: ...
    def __get__(self, handler: object | None, owner: type) -> _Waiting[P] | Callable[..., Any]:
        """The hook of a handler, as whoever looks it up can call it."""
        if handler is None:
            return self
        hook: Any = self._hook
        if not may_wait() or _looks_up() != _LOOKS_UP:
            return hook.__get__(handler, owner)  # type: ignore[no-any-return]
        bound: Callable[..., None] = hook.__get__(handler, owner)
        again = None if self._again is None else functools.partial(self._again, handler)

        @functools.wraps(hook)
        async def waits(*args: Any, **kwargs: Any) -> None:
            await awaited(
                functools.partial(bound, *args, **kwargs),
                None if again is None else functools.partial(again, *args, **kwargs),
            )

        return waits


def _looks_up() -> str:
    """The function that looks a hook up."""
    return sys._getframe(2).f_code.co_name  # pyright: ignore[reportPrivateUsage]
