"""Which run started which, as far as calls need to know: the root of each, and the agent that made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from apeiros_callbacks.recent import Recent

__all__ = ["Runs", "agent_of"]

_MOST = 20_000
# Nodes that LangGraph's prebuilt agents name themselves: they say nothing about who is at work.
_PREBUILT_NODES = frozenset({"model", "agent", "tools", "call_model"})


class Runs:
    """The root run of each open run. Bounded: an abandoned run sends no end."""

    def __init__(self) -> None:
        self._roots: Recent[UUID, str] = Recent(_MOST)

    def started(self, run_id: UUID, parent: UUID | None) -> str:
        """Note a run, and give the id of its root."""
        root = self.root(run_id, parent)
        self._roots.set(run_id, root)
        return root

    def root(self, run_id: UUID, parent: UUID | None) -> str:
        """The root of a run that is not noted itself."""
        if parent is None:
            return str(run_id)
        return self._roots.get(parent) or str(parent)

    def ended(self, run_id: UUID) -> None:
        """Forget a run."""
        self._roots.pop(run_id)


def agent_of(metadata: Mapping[str, Any]) -> str | None:
    """Who makes a call: the caller's own ``agent`` metadata, ``create_agent(name=)``, or the graph's node."""
    for key in ("agent", "lc_agent_name"):
        name = metadata.get(key)
        if isinstance(name, str) and name:
            return name
    node = metadata.get("langgraph_node")
    return node if isinstance(node, str) and node not in _PREBUILT_NODES else None
