"""How a model says where on a ladder it is: in its metadata, which LangChain hands to handlers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apeiros_callbacks.reported.plain import items
from apeiros_callbacks.routing import Rung, RungModel

__all__ = ["rung_metadata", "rung_of"]

_KEY = "apeiros_rung"


def rung_metadata(rung: Rung) -> dict[str, object]:
    """What a model on that rung carries."""
    below = [list(model) for model in rung.below]
    return {_KEY: [list(rung.at), rung.place, rung.preferred, below, rung.takes_tools]}


def rung_of(metadata: Mapping[str, Any]) -> Rung | None:
    """Where on a ladder a call is; None when no router can send it elsewhere."""
    found = items(metadata.get(_KEY))
    if len(found) != 5:
        return None
    at, place, preferred, below, takes_tools = found
    models = tuple([RungModel(*items(model)) for model in items(below)])
    return Rung(tuple(items(at)), int(place), str(preferred), models, bool(takes_tools))
