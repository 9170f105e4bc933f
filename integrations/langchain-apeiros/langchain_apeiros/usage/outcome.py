"""From LangChain's end of a call to the core's `Outcome`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from langchain_core.outputs import LLMResult

from apeiros_callbacks.call import Call, Ending, Outcome
from apeiros_callbacks.prices.names import canonical_provider
from apeiros_callbacks.reported.bodies import read_body
from apeiros_callbacks.reported.cost import reported_cost
from apeiros_callbacks.reported.plain import items, mapping, text
from apeiros_callbacks.reported.reading import Reading
from apeiros_callbacks.usage import Usage
from langchain_apeiros.prompts import answer_text
from langchain_apeiros.usage.metadata import read_metadata, tier_of
from langchain_apeiros.usage.searches import searches
from langchain_apeiros.usage.sent import Sent

__all__ = ["read_cut", "read_decision", "read_outcome", "with_report_of"]

_NOTHING_SENT = Sent()
_NO_READING = Reading()
_NO_LONG_ANSWER = 100
"""Characters, about 25 tokens: what an answer of 0 tokens cannot have."""
_KNOWN_TURNS = frozenset({"message", "compaction"})


class _Answer(NamedTuple):
    """Where the parts of an answer are."""

    message: object
    metadata: Mapping[str, Any]
    reported: Mapping[str, Any]
    llm_output: Mapping[str, Any]
    body: Mapping[str, Any]

    @classmethod
    def of(cls, response: LLMResult, sent: Sent) -> _Answer:
        choices = response.generations[0] if response.generations else []
        # With n=2 both generations carry the usage of the whole call: it is read once, from the first.
        message = getattr(choices[0], "message", None) if choices else None
        metadata = mapping(getattr(message, "response_metadata", None))
        llm_output = mapping(response.llm_output)
        reported = sent.streamed.whole(mapping(getattr(message, "usage_metadata", None)))
        return cls(message, metadata, reported, llm_output, _body(metadata, llm_output))

    @property
    def model(self) -> str | None:
        """The model that answered."""
        name = text(self.metadata.get("model_name")) or text(self.llm_output.get("model_name"))
        name = name or text(self.metadata.get("model"))
        return _once(name) if name else None

    @property
    def tier(self) -> str | None:
        tier = text(self.metadata.get("service_tier")) or text(self.body.get("service_tier"))
        tier = tier or text(mapping(self.metadata.get("serviceTier")).get("type"))  # Bedrock
        return _once(tier) if tier else tier_of(self.reported)


def read_outcome(response: LLMResult, call: Call | None = None, sent: Sent = _NOTHING_SENT) -> Outcome:
    """Read an answer. Usage that is missing or cannot be is left out, never read as 0.

    Args:
        response: what LangChain gives at the end of the call.
        call: the call that it answers.
        sent: the request.
    """
    answer = _Answer.of(response, sent)
    # LangChain zeroes this key on an answer from its cache (langchain-core 0.3.86 to 1.8).
    cached = answer.reported.get("total_cost") == 0
    answered_by = answer.model
    if cached:
        return Outcome(ending="answered", model=answered_by, cached=True)
    if sent.shared and not answer.reported and answer.llm_output.get("token_usage") == {}:
        # Of several prompts at once LangChain gives the usage of all with the first, and this with the rest.
        return Outcome(ending="answered", usage=Usage(), model=answered_by)
    provider = "" if call is None else canonical_provider(call.provider)
    model = answered_by or ("" if call is None else call.model)
    read = _reading(answer, model, response)
    usage = read.usage
    if usage is not None:
        web, files = searches(answer.message, answer.metadata, answer.body, model=model)
        if web or files:
            usage = replace(usage, web_searches=web, file_searches=files)
    cost = reported_cost(provider, answer.metadata, answer.body)
    usage, lost = _with_what_was_lost(usage, answer, sent, provider)
    if cost is None and provider == "openrouter":
        lost = (*lost, "reported_cost")  # its list has one price; what it routes to may have another
    return Outcome(
        ending="answered",
        usage=usage,
        input_tokens=read.input_tokens,
        output_tokens=read.output_tokens,
        cost=cost,
        lost=lost,
        model=answered_by,
        service_tier=answer.tier,
        speed=text(answer.body.get("speed")),
        text=_all_text(response) if usage is None else None,
    )


def read_cut(
    ending: Ending,
    error: str,
    response: LLMResult | None = None,
    call: Call | None = None,
    sent: Sent = _NOTHING_SENT,
) -> Outcome:
    """Read what came before a call ended without an answer.

    Args:
        ending: how it ended.
        error: what ended it.
        response: the partial answer that LangChain gives with an error.
        call: the call.
        sent: the request.
    """
    if ending != "cut" or response is None:
        return Outcome(ending=ending, error=error)
    partial = read_outcome(response, call, sent)
    if partial.cost is None and partial.usage is None:
        return Outcome(ending=ending, error=error)
    return replace(partial, ending=ending, error=error, text=None)


def with_report_of(error: BaseException, outcome: Outcome) -> Outcome:
    """The outcome with the usage that an error itself carries.

    The OpenAI client raises over a structured answer that was cut short, with the answer in ``completion``.
    """
    completion: Any = getattr(error, "completion", None)
    dump = getattr(getattr(completion, "usage", None), "model_dump", None)
    if outcome.usage is not None or dump is None:
        return outcome
    model = text(getattr(completion, "model", None))
    read = read_body(mapping(dump()), model=model or "") or _NO_READING
    if read.usage is None:
        return outcome
    return replace(outcome, ending="answered", usage=read.usage, model=model)


def read_decision(response: object) -> Outcome:
    """Read the answer of a decision model (``ClassifierResponse`` of langchain-core 1.8)."""
    read = read_metadata(mapping(getattr(response, "usage", None))) or _NO_READING
    answers = str(getattr(response, "answers", ""))
    return Outcome(
        ending="answered",
        usage=read.usage,
        input_tokens=read.input_tokens,
        output_tokens=read.output_tokens,
        model=text(getattr(response, "model", None)),
        text=None if read.usage else answers,
    )


def _body(metadata: Mapping[str, Any], llm_output: Mapping[str, Any]) -> Mapping[str, Any]:
    """The provider's own report of usage, where the client hands it on."""
    for where in (metadata, llm_output):
        for place in ("token_usage", "usage"):
            if found := mapping(where.get(place)):
                return found
    return metadata if "prompt_eval_count" in metadata else {}  # Ollama


def _reading(answer: _Answer, model: str, response: LLMResult) -> Reading:
    read = read_body(answer.body, model=model) or read_metadata(answer.reported) or _NO_READING
    if read.output_tokens == 0 and (read.input_tokens is None or len(_all_text(response)) > _NO_LONG_ANSWER):
        # Clients write 0 for what is missing, and some servers report nothing but zeros.
        return Reading(None, read.input_tokens, None)
    return read


def _with_what_was_lost(
    usage: Usage | None, answer: _Answer, sent: Sent, provider: str
) -> tuple[Usage | None, tuple[str, ...]]:
    """Fill in what the client dropped and the request tells; name what changes the price and is gone."""
    if usage is None:
        return None, ()
    lost: list[str] = []
    written = usage.cache_write_tokens
    details = mapping(answer.reported.get("input_token_details"))
    if written and provider == "anthropic" and not _is_split(answer.body, details):
        # langchain-anthropic drops from streams how long a write is kept; the request says it.
        times = sent.cache_times()
        if times == {"1h"}:
            usage = replace(usage, cache_write_1h_tokens=written)
        elif "1h" in times:
            lost.append("cache_write_1h")
    if provider == "google" and not usage.input_audio_tokens and sent.has_sound():
        lost.append("input_audio")  # langchain-google-genai drops which tokens are sound
    if "iterations" in answer.body:
        kinds = {str(mapping(turn).get("type")) for turn in items(answer.body["iterations"])}
        lost.extend(f"iterations:{kind}" for kind in sorted(kinds - _KNOWN_TURNS))
    return usage, tuple(lost)


def _is_split(body: Mapping[str, Any], details: Mapping[str, Any]) -> bool:
    """Whether the report says how long what was written into the cache is kept."""
    return "cache_creation" in body or any(key.startswith("ephemeral_") for key in details)


@lru_cache(maxsize=1024)
def _once(name: str) -> str:
    """The name, where a stream said it over and over: LangChain joins what its chunks say.

    OpenRouter's and others' streams name their model as ``openai/gpt-4o-miniopenai/gpt-4o-mini``.
    """
    period = (name + name).find(name, 1)
    return name[:period] if period >= 4 else name


def _all_text(response: LLMResult) -> str:
    return "\n".join(
        answer_text(getattr(choice, "message", None), choice.text)
        for choices in response.generations
        for choice in choices
    )
