"""Calls that providers really answered. They are no part of this repository: tests may have to do without."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Record = dict[str, Any]

NO_CALLS = {
    "openai-embeddings": "an embedding: no chat client makes it",
    "/input_tokens": "counts tokens and generates nothing",
    "/compact": "compacts a conversation: no chat client does",
}


def recorded_calls() -> Path | None:
    """Where the recorded calls are: beside the checkout, or where ``APEIROS_SHARED`` says."""
    shared = os.environ.get("APEIROS_SHARED")
    beside = Path(__file__).resolve().parents[2] / "shared"
    path = (Path(shared) if shared else beside) / "data" / "recorded_calls.jsonl"
    return path if path.is_file() else None


def records(path: Path) -> Iterator[Record]:
    """The calls that were answered with a 2xx."""
    with path.open() as lines:
        for number, line in enumerate(lines, start=1):
            record: Record = json.loads(line)
            if 200 <= record["status"] < 300:
                yield record | {"line": number}


def no_call(record: Record) -> str | None:
    """Why a record is not a call that a chat client makes, if it is none."""
    path, response = urlsplit(record["uri"]).path, record.get("response")
    if record["kind"] == "openai-responses":
        if record.get("request") is None:
            return "fetches a stored answer: no chat client does"
        if isinstance(response, dict) and response.get("status") in {"queued", "in_progress"}:
            return "starts an answer in the background: its usage comes with a later request"
    return next((why for end, why in NO_CALLS.items() if record["kind"] == end or path.endswith(end)), None)
