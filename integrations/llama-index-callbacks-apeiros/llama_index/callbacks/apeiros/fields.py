"""Reading what an object of another library's may have."""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

__all__ = ["field"]


def field(instance: object, name: str) -> object:
    """An attribute, or None.

    Pydantic takes its time over one that a model does not have, so that it is looked up as far as possible
    without it.
    """
    own = getattr(instance, "__dict__", None)
    if own is not None and name in own:
        return own[name]
    kind: Any = instance.__class__
    if _may_have(kind, name):
        return getattr(instance, name, None)
    extra = getattr(instance, "__pydantic_extra__", None)
    return extra.get(name) if extra else None


@lru_cache(maxsize=4096)
def _may_have(made: type, name: str) -> bool:
    private = getattr(made, "__private_attributes__", None) or {}
    if name in private or inspect.getattr_static(made, name, None) is not None:
        return True
    if issubclass(made, BaseModel):
        return False
    return hasattr(made, "__getattr__")  # which may make it up
