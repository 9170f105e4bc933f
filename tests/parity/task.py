"""One task of one agent, whatever framework runs it, and the entries that it must come to.

``expected_entries.json`` was written by hand; the tests of both frameworks compare with it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from apeiros_callbacks import Session
from apeiros_callbacks.testing import Reply, Request, ToolCall

AGENT = "analyst"
TASK = "Look up the sky and the sea, then answer."
BUDGET = 0.50
EXPECTED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "expected_entries.json").read_text())


def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} is blue"


def script(request: Request) -> Reply:
    """A model that looks two words up, one after the other, and then answers."""
    said = str(request.body["messages"])
    if "sea is blue" in said:
        return Reply("Both are blue.", input_tokens=1_400, cache_read_tokens=1_152, output_tokens=12)
    if "sky is blue" in said:
        call = ToolCall("look_up", {"word": "sea"})
        return Reply("", [call], input_tokens=1_200, cache_read_tokens=1_024, output_tokens=18)
    return Reply("", [ToolCall("look_up", {"word": "sky"})], input_tokens=1_100, output_tokens=20)


def entries_of(session: Session) -> list[dict[str, Any]]:
    """What must be the same in every framework: ids, times and the way there are its own."""
    return [
        {
            "kind": entry.kind,
            "agent": entry.agent,
            "provider": entry.provider,
            "model": entry.model,
            "input_tokens": entry.usage.input_tokens,
            "cache_read_tokens": entry.usage.cache_read_tokens,
            "output_tokens": entry.usage.output_tokens,
            "amount": None if entry.amount is None else str(entry.amount.normalize()),
            "usage": entry.usage_certainty,
            "price": entry.price_certainty,
        }
        for entry in session.entries()
    ]
