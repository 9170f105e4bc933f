"""What a recorded answer itself says of its usage and its price.

Read straight from the JSON, and priced by genai-prices: nothing here is shared with the code under test.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import unquote, urlsplit

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price
from genai_prices.data import providers

Record = dict[str, Any]
Body = dict[str, Any]


@dataclass(frozen=True)
class Truth:
    tokens: dict[str, int]
    """By the names of the ledger's buckets, those that are not 0."""
    model: str | None
    requested: str
    cost: Decimal | None = None
    """What the provider itself says it costs."""
    tier: str | None = None

    def amount(self, uri: str, at: datetime) -> Decimal | None:
        """The price of this usage at the provider of the address, else by the model's name alone."""
        if self.cost is not None:
            return self.cost
        usage = PricedUsage(**{PRICED.get(name, name): count for name, count in self.tokens.items()})
        context = {"service_tier": self.tier} if self.tier in {"flex", "priority"} else None
        for model in filter(None, (self.model, self.requested)):
            with contextlib.suppress(LookupError):
                priced = calc_price(
                    usage, model, genai_request_timestamp=at, price_context=context, **seller(uri, model)
                )
                return priced.total_price if any_rate(priced.model_price) else None
        return None


PRICED = {
    "reasoning_tokens": "output_reasoning_tokens",
    "file_searches": "storage_searches",
}


def seller(uri: str, model: str) -> dict[str, Any]:
    """Who is to be asked for the price: whoever has the address, else the maker that the name says."""
    if any(re.match(provider.api_pattern, uri) for provider in providers):
        return {"provider_api_url": uri}
    if host(uri).endswith(".api.aws"):
        return {"provider_id": "aws"}
    return {"provider_id": "google"} if model.startswith("gemini") else {}


def any_rate(price: Any) -> bool:
    return any(rate for name, rate in vars(price).items() if name.endswith("_mtok"))


def host(uri: str) -> str:
    return urlsplit(uri).hostname or ""


def truth_of(record: Record) -> Truth | None:
    """None when the provider reported no usage."""
    read = {
        "openai-chat": openai_chat,
        "openai-responses": openai_responses,
        "anthropic": anthropic,
        "google": google,
        "google-stream": google,
        "bedrock": bedrock,
    }[record["kind"]]
    found = read(record)
    if found is None:
        return None
    tokens = {name: count for name, count in found.tokens.items() if count}
    return Truth(tokens, found.model, found.requested, found.cost, found.tier)


def events(record: Record) -> list[Body]:
    """The JSON events of a stream; the one body of an answer that was not streamed."""
    if record.get("response") is not None:
        return [record["response"]]
    raw = record["raw"]
    if raw.lstrip().startswith("{"):
        return [json.loads(raw)]
    lines = (line[5:].strip() for line in raw.splitlines() if line.startswith("data:"))
    return [json.loads(line) for line in lines if line.startswith("{")]


def requested(record: Record) -> str:
    if (record.get("request") or {}).get("model"):
        return record["request"]["model"]
    named = re.search(r"/models?/([^/:?]+(?:%3A\d+)?)", record["uri"])
    return unquote(named[1]) if named else ""


def openai_chat(record: Record) -> Truth | None:
    bodies = events(record)
    usage = next((body["usage"] for body in reversed(bodies) if body.get("usage")), None)
    if usage is None:
        return None
    inputs = usage.get("prompt_tokens_details") or {}
    outputs = usage.get("completion_tokens_details") or {}
    cost = usage.get("cost") if host(record["uri"]) == "openrouter.ai" else None
    searches = (usage.get("server_tool_use_details") or {}).get("web_search_requests") or 0
    return Truth(
        {
            "input_tokens": usage["prompt_tokens"],
            "output_tokens": usage["completion_tokens"],
            "cache_read_tokens": inputs.get("cached_tokens") or usage.get("num_cached_tokens") or 0,
            "cache_write_tokens": inputs.get("cache_write_tokens") or 0,
            "reasoning_tokens": outputs.get("reasoning_tokens") or 0,
            "input_audio_tokens": inputs.get("audio_tokens") or 0,
            "output_audio_tokens": outputs.get("audio_tokens") or 0,
            "web_searches": searches,
        },
        next((body["model"] for body in bodies if body.get("model")), None),
        requested(record),
        cost=None if cost is None else Decimal(str(cost)),
        tier=next((body["service_tier"] for body in bodies if body.get("service_tier")), None),
    )


def openai_responses(record: Record) -> Truth | None:
    bodies = [body.get("response") or body for body in events(record)]
    body = bodies[-1]
    usage = body.get("usage")
    if not usage or "input_tokens" not in usage:
        return None
    calls = [item for item in body.get("output") or [] if item.get("status") != "failed"]
    searched = [item for item in calls if item.get("type") == "web_search_call"]
    cost = usage.get("cost") if host(record["uri"]) == "openrouter.ai" else None
    return Truth(
        {
            "input_tokens": usage["input_tokens"],
            "output_tokens": usage["output_tokens"],
            "cache_read_tokens": (usage.get("input_tokens_details") or {}).get("cached_tokens") or 0,
            "cache_write_tokens": (usage.get("input_tokens_details") or {}).get("cache_write_tokens") or 0,
            "reasoning_tokens": (usage.get("output_tokens_details") or {}).get("reasoning_tokens") or 0,
            "web_searches": sum((item.get("action") or {}).get("type") == "search" for item in searched),
            "file_searches": sum(item.get("type") == "file_search_call" for item in calls),
        },
        body.get("model"),
        requested(record),
        cost=None if cost is None else Decimal(str(cost)),
        tier=body.get("service_tier"),
    )


def anthropic(record: Record) -> Truth | None:
    usage: Body = {}
    model = None
    for event in events(record):
        message = event.get("message") or event
        model = model or message.get("model")
        if message.get("usage"):
            usage |= {name: value for name, value in message["usage"].items() if value is not None}
    turns = usage.get("iterations") or [usage]

    def added(name: str) -> int:
        return sum(turn.get(name) or 0 for turn in turns)

    read, written = added("cache_read_input_tokens"), added("cache_creation_input_tokens")
    return Truth(
        {
            "input_tokens": added("input_tokens") + read + written,
            "output_tokens": added("output_tokens"),
            "cache_read_tokens": read,
            "cache_write_tokens": written,
            "cache_write_1h_tokens": sum(
                (turn.get("cache_creation") or {}).get("ephemeral_1h_input_tokens") or 0 for turn in turns
            ),
            "reasoning_tokens": (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
            "web_searches": (usage.get("server_tool_use") or {}).get("web_search_requests") or 0,
        },
        model,
        requested(record),
    )


def google(record: Record) -> Truth | None:
    bodies = events(record)
    usage = next((body["usageMetadata"] for body in reversed(bodies) if body.get("usageMetadata")), None)
    if usage is None:
        return None
    model = next((body["modelVersion"] for body in bodies if body.get("modelVersion")), None)
    grounded = {
        query
        for body in bodies
        for candidate in body.get("candidates") or []
        for query in (candidate.get("groundingMetadata") or {}).get("webSearchQueries") or []
        if query
    }
    by_query = re.search(r"gemini-[3-9]", model or requested(record))
    heard = [part for part in usage.get("promptTokensDetails") or [] if part["modality"] == "AUDIO"]
    return Truth(
        {
            "input_tokens": usage["promptTokenCount"] + (usage.get("toolUsePromptTokenCount") or 0),
            "output_tokens": (usage.get("candidatesTokenCount") or 0)
            + (usage.get("thoughtsTokenCount") or 0),
            "cache_read_tokens": usage.get("cachedContentTokenCount") or 0,
            "reasoning_tokens": usage.get("thoughtsTokenCount") or 0,
            "input_audio_tokens": sum(part["tokenCount"] for part in heard),
            "web_searches": len(grounded) if by_query else min(1, len(grounded)),
        },
        model,
        requested(record),
        tier=(usage.get("serviceTier") or "").lower() or None,
    )


def bedrock(record: Record) -> Truth | None:
    if record.get("response") is None and not record["raw"].lstrip().startswith("{"):
        # Between the bytes of the frames: the event that ends the stream has the usage.
        found = re.findall(r'"usage":(\{(?:[^{}]|\{[^{}]*\})*\})', record["raw"])
        usage = json.loads(found[-1]) if found else None
    else:
        usage = events(record)[0].get("usage")
    if usage is None:
        return None
    read, written = usage.get("cacheReadInputTokens") or 0, usage.get("cacheWriteInputTokens") or 0
    hours = [part["inputTokens"] for part in usage.get("cacheDetails") or [] if part.get("ttl") == "1h"]
    return Truth(
        {
            "input_tokens": usage["inputTokens"] + read + written,
            "output_tokens": usage["outputTokens"],
            "cache_read_tokens": read,
            "cache_write_tokens": written,
            "cache_write_1h_tokens": sum(hours),
        },
        None,
        requested(record),
    )
