"""Which run started which, as far as calls need to know: the root of each, and the agent that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.runnables.config import var_child_runnable_config

from apeiros_callbacks.recent import Recent
from apeiros_callbacks.reported.plain import mapping

__all__ = ["Runs", "agent_of", "metadata_around"]

_MOST = 20_000
# Nodes that LangGraph's prebuilt agents name themselves: they say nothing about who is at work.
_NO_NAMES = frozenset({"", "LangGraph"})
_PREBUILT_NODES = frozenset({"model", "agent", "tools", "call_model"})


class _Run(NamedTuple):
    root: str
    name: str
    graph: str | None
    """The nearest graph around it that has a name of its own."""


class Runs:
    """The open runs, as far as calls need to know of them. Bounded: an abandoned run sends no end."""

    def __init__(self) -> None:
        self._runs: Recent[int, _Run] = Recent(_MOST)

    def started(
        self, run_id: UUID, parent: UUID | None, name: object = None, tags: Sequence[str] | None = None
    ) -> str:
        """Note a run, and give the id of its root."""
        root, graph = self.root(parent) or str(run_id), self.graph(parent)
        around = None if parent is None else self._runs.get(parent.int)
        # LangGraph tags the runs of its nodes; what started them is the graph.
        is_node = tags is not None and any(tag.startswith("graph:step:") for tag in tags)
        if is_node and around is not None and around.name not in _NO_NAMES:
            graph = around.name
        self._runs.set(run_id.int, _Run(root, str(name or ""), graph))
        return root

    def root(self, parent: UUID | None) -> str | None:
        """The root of what a run starts; None when that is a root itself.

        A run without a parent may be inside another all the same: ``with_fallbacks`` calls its candidates
        with the caller's own config, and so may anybody's function. LangChain keeps the config of what is
        running around it in a context variable (langchain-core 1.4 to 1.8).
        """
        if parent is None:
            parent = _around()
        if parent is None:
            return None
        around = self._runs.get(parent.int)
        return str(parent) if around is None else around.root

    def graph(self, parent: UUID | None) -> str | None:
        """The name of the nearest graph around what a run starts."""
        around = None if parent is None else self._runs.get(parent.int)
        return None if around is None else around.graph

    def ended(self, run_id: UUID) -> None:
        """Forget a run."""
        self._runs.pop(run_id.int)


def _around() -> UUID | None:
    config = var_child_runnable_config.get()
    around = None if config is None else getattr(config.get("callbacks"), "parent_run_id", None)
    return around if isinstance(around, UUID) else None


def metadata_around() -> Mapping[str, Any]:
    """The metadata of the run that this is part of."""
    config = var_child_runnable_config.get()
    return {} if config is None else mapping(config.get("metadata"))


def agent_of(metadata: Mapping[str, Any], graph: str | None = None) -> str | None:
    """Who makes a call.

    The caller's own ``agent`` metadata, ``create_agent(name=)``, the nearest graph that has a name, or the
    graph's node.
    """
    for key in ("agent", "lc_agent_name"):
        name = metadata.get(key)
        if isinstance(name, str) and name:
            return name
    if graph is not None:
        return graph
    node = metadata.get("langgraph_node")
    return node if isinstance(node, str) and node not in _PREBUILT_NODES else None
