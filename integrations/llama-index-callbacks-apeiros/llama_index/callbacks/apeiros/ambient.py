"""``instrument()``: the calls of every run go into the session that is current, without a handler."""

from __future__ import annotations

from llama_index.callbacks.apeiros.dispatch import listen
from llama_index.callbacks.apeiros.placing import switch

__all__ = ["instrument", "uninstrument"]


def instrument() -> None:
    """Record the calls of every run into the session that is current. Twice is once.

    It holds for the whole process, bare threads included. ``APEIROS_INSTRUMENT=1`` in the environment does
    the same when this package is imported.
    """
    listen()
    switch.is_on = True


def uninstrument() -> None:
    """End that. Calls that are under way are recorded to their end."""
    switch.is_on = False
