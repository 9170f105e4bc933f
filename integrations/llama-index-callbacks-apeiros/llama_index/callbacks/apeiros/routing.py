"""What a wrapper says of the calls that it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apeiros_callbacks.errors import Refused
from apeiros_callbacks.routing import Rung

if TYPE_CHECKING:
    from llama_index.callbacks.apeiros.handler import ApeirosHandler
    from llama_index.callbacks.apeiros.live import Live

__all__ = ["Claim"]


class Claim:
    """Goes with each call of a wrapper: whose it is, and what is heard of it."""

    __slots__ = ("agent", "handler", "lives", "rung", "stop")

    def __init__(self, handler: ApeirosHandler, agent: str | None = None, rung: Rung | None = None) -> None:
        self.handler = handler
        self.agent = agent
        self.rung = rung
        self.lives: list[Live] = []
        """The calls that were opened."""
        self.stop: Refused | None = None
        """Why the stream is to be cut."""
