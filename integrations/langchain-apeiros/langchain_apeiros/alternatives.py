"""Warns of a choice of model that is lost: what is bound to alternatives is bound to the first of them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from langchain_core.runnables.base import RunnableSerializable

__all__ = ["LostChoiceWarning", "watch"]

_MAKERS = ("configurable_fields", "configurable_alternatives")
_LOSING = frozenset({"bind_tools", "with_structured_output"})
_WATCHED = "apeiros_watches_it"


class LostChoiceWarning(UserWarning):
    """The run's config cannot choose the model any more: a dear one is called where a cheap one is meant."""


def watch() -> None:
    """Warn from now on, in this process, where ``configurable_alternatives(...).bind_tools(...)`` is called.

    LangChain (core 1.4 to 1.8) gives the attributes of the default model, without a word, for whatever
    ``configurable_alternatives`` and ``configurable_fields`` do not define themselves. Twice is once.
    """
    for maker in _MAKERS:
        make = getattr(RunnableSerializable, maker)
        if not hasattr(make, _WATCHED):
            setattr(RunnableSerializable, maker, _watching(make))


def _watching(make: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(make)
    def made(*args: Any, **kwargs: Any) -> Any:
        # Only now is the class there: its module takes half a second to import when nothing else has.
        from langchain_core.runnables.configurable import DynamicRunnable

        attribute: Any = DynamicRunnable.__getattr__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if not hasattr(attribute, _WATCHED):
            DynamicRunnable.__getattr__ = _warns_in(attribute)  # type: ignore[method-assign]
        return make(*args, **kwargs)

    setattr(made, _WATCHED, True)
    return made


def _warns_in(inner: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    @functools.wraps(inner)
    def attribute(runnable: Any, name: str) -> Any:
        found = inner(runnable, name)
        return _warns(found, name) if name in _LOSING and not runnable.config else found

    setattr(attribute, _WATCHED, True)
    return attribute


def _warns(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def bound(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(
            f"{name}() of a model with configurable alternatives or fields is that of its default model: "
            "what the run's config chooses is ignored, and the default is called and paid for. To go on with "
            f"a cheaper model use with_downgrade(model, [cheaper], handler).{name}(…), or {name} on each "
            "alternative.",
            LostChoiceWarning,
            stacklevel=2,
        )
        return method(*args, **kwargs)

    return bound
