"""Which run started which, as far as calls need to know: the root of each, and the agent that made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from langchain_core.runnables.config import var_child_runnable_config

from apeiros_callbacks.recent import Recent

__all__ = ["Runs", "agent_of"]

_MOST = 20_000
# Nodes that LangGraph's prebuilt agents name themselves: they say nothing about who is at work.
_PREBUILT_NODES = frozenset({"model", "agent", "tools", "call_model"})


class Runs:
    """The root run of each open run. Bounded: an abandoned run sends no end."""

    def __init__(self) -> None:
        self._roots: Recent[int, str] = Recent(_MOST)

    def started(self, run_id: UUID, parent: UUID | None) -> str:
        """Note a run, and give the id of its root."""
        root = self.root(run_id, parent)
        self._roots.set(run_id.int, root)
        return root

    def root(self, run_id: UUID, parent: UUID | None) -> str:
        """The root of a run that is not noted itself.

        A run without a parent may be inside another all the same: ``with_fallbacks`` calls its candidates
        with the caller's own config, and so may anybody's function. LangChain keeps the config of what is
        running around it in a context variable (langchain-core 1.4 to 1.8).
        """
        if parent is None:
            parent = _around()
        if parent is None:
            return str(run_id)
        return self._roots.get(parent.int) or str(parent)

    def ended(self, run_id: UUID) -> None:
        """Forget a run."""
        self._roots.pop(run_id.int)


def _around() -> UUID | None:
    config = var_child_runnable_config.get()
    around = None if config is None else getattr(config.get("callbacks"), "parent_run_id", None)
    return around if isinstance(around, UUID) else None


def agent_of(metadata: Mapping[str, Any]) -> str | None:
    """Who makes a call: the caller's own ``agent`` metadata, ``create_agent(name=)``, or the graph's node."""
    for key in ("agent", "lc_agent_name"):
        name = metadata.get(key)
        if isinstance(name, str) and name:
            return name
    node = metadata.get("langgraph_node")
    return node if isinstance(node, str) and node not in _PREBUILT_NODES else None
