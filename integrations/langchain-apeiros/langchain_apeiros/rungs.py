"""How a model says where on a ladder it is: in its metadata, which LangChain hands to handlers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apeiros_callbacks.reported.plain import items
from apeiros_callbacks.routing import Rung

__all__ = ["rung_metadata", "rung_of"]

_KEY = "apeiros_rung"


def rung_metadata(rung: Rung) -> dict[str, object]:
    """What a model on that rung carries."""
    return {_KEY: [list(rung.at), rung.place, rung.preferred]}


def rung_of(metadata: Mapping[str, Any]) -> Rung | None:
    """Where on a ladder a call is; None when no router can send it elsewhere."""
    found = items(metadata.get(_KEY))
    return Rung(tuple(items(found[0])), int(found[1]), str(found[2])) if len(found) == 3 else None
