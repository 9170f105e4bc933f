"""What a provider's client gives for a call: an object of its SDK, or the same as plain data.

Nothing of the SDKs is imported: their objects have ``model_dump`` or ``to_dict``, or are what they look like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from apeiros_callbacks.reported.bodies import read_body
from apeiros_callbacks.reported.plain import items, mapping, text
from apeiros_callbacks.reported.reading import Reading, tokens

__all__ = ["Response", "read_response", "read_usage", "searches", "split_total"]

_NO_READING = Reading()
_OF_OPENAI = re.compile(r"(gpt-|chatgpt-|o\d|ft:)")
_GEMINI = re.compile(r"gemini-(\d+)")
_TEXTS = frozenset({"text", "content", "parts", "message", "arguments", "reasoning_content", "thinking"})
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Response:
    """What a response says of its call."""

    reading: Reading = _NO_READING
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The provider's own report of usage."""
    whole: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """All of it, as plain data."""
    provider: str = ""
    """Whose shape it has, where only one provider's models answer in it."""
    model: str = ""
    """The model that answered."""
    service_tier: str | None = None
    speed: str | None = None
    text: str = ""
    """The answer, to be counted when its tokens were not reported."""


def read_response(response: object, *, model: str = "") -> Response:
    """Read a response of OpenAI (chat completions, responses), Anthropic, Google, Bedrock or Ollama.

    Args:
        response: an object of the provider's SDK, or plain data of the same shape.
        model: the model that was asked for; the response's own name for it is better known.

    Example:
        >>> body = {"model": "gpt-4o", "usage": {"prompt_tokens": 1200, "completion_tokens": 380}}
        >>> read_response(body).reading.usage.total_tokens
        1580
    """
    whole = _plain(response)
    body = _body(whole)
    answered = text(whole.get("model")) or text(whole.get("modelVersion")) or text(whole.get("model_version"))
    model = answered or model
    reading = read_body(body, model=model) or _NO_READING
    if reading.usage is None:
        reading = _from_total(reading, body)
    else:
        web, files = searches(whole, body, model)
        if web or files:
            usage = replace(reading.usage, web_searches=web, file_searches=files)
            reading = replace(reading, usage=usage)
    tier = text(whole.get("service_tier")) or text(body.get("service_tier"))
    return Response(
        reading=reading,
        body=body,
        whole=whole,
        provider=_provider(whole, body, answered or ""),
        model=answered or "",
        service_tier=tier or text(mapping(whole.get("serviceTier")).get("type")),
        speed=text(body.get("speed")),
        text="\n".join(_texts(_answers(whole))) if reading.usage is None else "",
    )


def read_usage(report: object, *, model: str = "") -> tuple[Mapping[str, Any], Reading]:
    """Read a report of usage alone: an object of a provider's SDK, or the same as plain data.

    Args:
        report: the report.
        model: the model that answered.

    Returns:
        The report as plain data, and what it says; both are empty when it is of no shape known here.

    Example:
        >>> body, read = read_usage({"prompt_token_count": 7, "candidates_token_count": 2})
        >>> read.usage.total_tokens
        9
    """
    body = _in_rest_words(_plain(report))
    return body, read_body(body, model=model) or _NO_READING


def split_total(total: int) -> tuple[int, int]:
    """Input and output of a bare total, which does not tell: 7 to 5 is assumed.

    At $3 and $15 per million tokens that is $8 per million: (7 × 3 + 5 × 15) / 12.

    Example:
        >>> split_total(1200)
        (700, 500)
    """
    read = round(total * 7 / 12)
    return read, total - read


def _plain(response: object) -> Mapping[str, Any]:
    if found := mapping(response):
        return found
    dump = getattr(response, "model_dump", None)
    if callable(dump):
        # Compatible servers answer with what the SDK's models do not expect; pydantic warns of each.
        return mapping(dump(by_alias=True, warnings=False))
    to_dict = getattr(response, "to_dict", None)
    if callable(to_dict):
        return mapping(to_dict())
    return mapping(getattr(response, "__dict__", None))


def _body(whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """The report of usage in a response."""
    for place in ("usage", "usageMetadata", "usage_metadata"):
        if body := _plain(whole.get(place)):
            return _in_rest_words(body)
    return whole if "prompt_eval_count" in whole else {}  # Ollama


def _in_rest_words(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Google's SDK and its REST API name the same counts in two ways."""
    return mapping(_camel(body)) if "prompt_token_count" in body else body


def _camel(value: object) -> object:
    if named := mapping(value):
        return {_camel_name(str(name)): _camel(part) for name, part in named.items()}
    return [_camel(part) for part in items(value)] or value


def _camel_name(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _provider(whole: Mapping[str, Any], body: Mapping[str, Any], model: str) -> str:
    if body is whole and body:
        return "ollama"
    if "promptTokenCount" in body or "totalTokenCount" in body:
        return "google"
    if whole.get("type") == "message" and "input_tokens" in body:
        return "anthropic"
    if whole.get("object") in {"chat.completion", "response"} and _OF_OPENAI.match(model):
        return "openai"
    return ""


def _from_total(reading: Reading, body: Mapping[str, Any]) -> Reading:
    """Fill in what a total tells of the sides that were not reported."""
    total = tokens(body.get("total_tokens")) or tokens(body.get("totalTokenCount"))
    read, written = reading.input_tokens, reading.output_tokens
    if not total or total < (read or 0) + (written or 0):
        return reading
    if read is None and not written:
        read, written = split_total(total)
    elif read is None:
        read = total - (written or 0)
    elif written is None:
        written = total - read
    return Reading(None, read, written)


def searches(whole: Mapping[str, Any], body: Mapping[str, Any], model: str) -> tuple[int, int]:
    """Web and file searches that the provider ran for the call and bills apart from its tokens."""
    calls = [mapping(item) for item in items(whole.get("output"))]  # OpenAI's responses
    calls = [call for call in calls if call.get("status") != "failed"]
    files = sum(call.get("type") == "file_search_call" for call in calls)
    for place in ("server_tool_use", "server_tool_use_details"):  # Anthropic, OpenRouter
        told = tokens(mapping(body.get(place)).get("web_search_requests"))
        if told is not None:
            return told, files
    if "deep-research" in model:  # of Perplexity's, the others are paid by the request
        return tokens(body.get("num_search_queries")) or 0, files
    if told := tokens(body.get("num_sources_used")):  # xAI
        return told, files
    web = sum(
        call.get("type") == "web_search_call"
        and mapping(call.get("action")).get("type", "search") == "search"
        for call in calls
    )
    return web + _grounded(whole, model), files


def _grounded(whole: Mapping[str, Any], model: str) -> int:
    """Up to Gemini 2.5 a grounded answer is billed, whatever it took; from Gemini 3 on each query."""
    asked: set[str] = set()
    for candidate in map(mapping, items(whole.get("candidates"))):
        ground = mapping(candidate.get("groundingMetadata") or candidate.get("grounding_metadata"))
        queries = items(ground.get("webSearchQueries") or ground.get("web_search_queries"))
        asked.update(query for query in queries if text(query))
    version = _GEMINI.search(model)
    return len(asked) if version and int(version[1]) >= 3 else min(1, len(asked))


def _answers(whole: Mapping[str, Any]) -> Sequence[object]:
    return [whole.get(place) for place in ("choices", "content", "output", "candidates", "message")]


def _texts(value: object, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth < _DEEPEST:
        parts = mapping(value)
        for name, part in parts.items():
            if name in _TEXTS:
                yield from _texts(part, depth + 1)
        for part in items(value):
            # Plain data, or SDK objects within plain data.
            yield from _texts(part, depth + 1)
