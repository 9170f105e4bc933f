"""What reached the scripted server, and how far its answer got."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from apeiros_callbacks.testing.recorded import Recorded
from apeiros_callbacks.testing.reply import Reply

__all__ = ["Request"]


@dataclass(slots=True, kw_only=True)
class Request:
    """One request. The server updates it while it answers.

    What goes out is recorded before it goes, so a client that has a chunk, or the whole answer, finds it
    recorded here. That a client hung up is known a moment later: see `ScriptedServer.wait_until_idle`.
    """

    index: int
    """1 for the first request that reached the server."""
    api: str
    """``"openai-chat"``, ``"openai-responses"``, ``"openai-embeddings"``, ``"anthropic"``, ``"google"`` or
    ``"bedrock"``; ``"unknown"`` for a path that is of none of them."""
    method: str
    path: str
    """Without the query, which may hold a key."""
    headers: Mapping[str, str]
    """Names in lower case; keys, tokens and cookies replaced by ``"[redacted]"``."""
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The JSON body; empty when the request had none that can be read."""
    model: str = ""
    """The requested model."""
    stream: bool = False
    """Whether a streamed answer was asked for."""
    reply: Reply | Recorded | None = None
    """What it was answered with; the ``tokens`` of a `Reply` are what that costs."""
    chunks_sent: int = 0
    """Pieces of text or of a tool call's arguments that were handed to the network."""
    finished: bool = False
    """The answer, or the error, was sent to its end."""
    disconnected: bool = False
    """The client hung up before the end of the answer."""
