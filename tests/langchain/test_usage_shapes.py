"""Usage in every shape in which a provider, or a client of LangChain, reports it.

The bodies are written by hand from the providers' documented formats.
"""

from __future__ import annotations

import math
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, LLMResult

from apeiros_callbacks import Usage
from apeiros_callbacks.call import Call, Outcome, Piece, Prompt
from apeiros_callbacks.reported.bodies import read_body
from langchain_apeiros.usage import Sent, read_cut, read_decision, read_outcome
from langchain_apeiros.usage.metadata import read_metadata

# One body a provider: what it reports, and the buckets of it.
BODIES: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "openai chat": (
        {
            "prompt_tokens": 1200,
            "completion_tokens": 300,
            "total_tokens": 1500,
            "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 50, "cache_write_tokens": 100},
            "completion_tokens_details": {
                "reasoning_tokens": 192,
                "audio_tokens": 20,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        {
            "input_tokens": 1200,
            "output_tokens": 300,
            "cache_read_tokens": 1024,
            "cache_write_tokens": 100,
            "reasoning_tokens": 192,
            "input_audio_tokens": 50,
            "output_audio_tokens": 20,
        },
    ),
    "openai responses": (
        {
            "input_tokens": 1200,
            "input_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 64},
            "output_tokens": 300,
            "output_tokens_details": {"reasoning_tokens": 192},
            "total_tokens": 1500,
        },
        {
            "input_tokens": 1200,
            "output_tokens": 300,
            "cache_read_tokens": 1024,
            "cache_write_tokens": 64,
            "reasoning_tokens": 192,
        },
    ),
    "anthropic, its input beside the cache": (
        {
            "input_tokens": 10,
            "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 400,
            "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100},
            "output_tokens": 90,
            "output_tokens_details": {"thinking_tokens": 40},
            "service_tier": "standard",
        },
        {
            "input_tokens": 710,
            "output_tokens": 90,
            "cache_read_tokens": 400,
            "cache_write_tokens": 300,
            "cache_write_1h_tokens": 100,
            "reasoning_tokens": 40,
        },
    ),
    "anthropic, compacted on the way": (
        {
            "input_tokens": 20,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 30,
            "iterations": [
                {"type": "compaction", "input_tokens": 9000, "output_tokens": 700},
                {"type": "message", "input_tokens": 20, "output_tokens": 30},
            ],
        },
        {"input_tokens": 9020, "output_tokens": 730},
    ),
    "bedrock converse": (
        {
            "inputTokens": 10,
            "outputTokens": 90,
            "totalTokens": 800,
            "cacheReadInputTokens": 400,
            "cacheWriteInputTokens": 300,
            "cacheDetails": [{"ttl": "5m", "inputTokens": 200}, {"ttl": "1h", "inputTokens": 100}],
        },
        {
            "input_tokens": 710,
            "output_tokens": 90,
            "cache_read_tokens": 400,
            "cache_write_tokens": 300,
            "cache_write_1h_tokens": 100,
        },
    ),
    "google, its thoughts and tools beside the rest": (
        {
            "promptTokenCount": 1000,
            "candidatesTokenCount": 50,
            "thoughtsTokenCount": 200,
            "toolUsePromptTokenCount": 30,
            "cachedContentTokenCount": 600,
            "totalTokenCount": 1280,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 700},
                {"modality": "AUDIO", "tokenCount": 300},
            ],
        },
        {
            "input_tokens": 1030,
            "output_tokens": 250,
            "cache_read_tokens": 600,
            "reasoning_tokens": 200,
            "input_audio_tokens": 300,
        },
    ),
    "deepseek": (
        {
            "prompt_tokens": 1000,
            "completion_tokens": 40,
            "total_tokens": 1040,
            "prompt_cache_hit_tokens": 832,
            "prompt_cache_miss_tokens": 168,
            "completion_tokens_details": {"reasoning_tokens": 12},
        },
        {"input_tokens": 1000, "output_tokens": 40, "cache_read_tokens": 832, "reasoning_tokens": 12},
    ),
    "groq": (
        {
            "queue_time": 0.02,
            "prompt_tokens": 800,
            "prompt_time": 0.01,
            "completion_tokens": 60,
            "completion_time": 0.2,
            "total_tokens": 860,
            "total_time": 0.21,
            "prompt_tokens_details": {"cached_tokens": 512},
            "completion_tokens_details": {"reasoning_tokens": 33},
        },
        {"input_tokens": 800, "output_tokens": 60, "cache_read_tokens": 512, "reasoning_tokens": 33},
    ),
    "mistral": (
        {"prompt_tokens": 900, "completion_tokens": 30, "total_tokens": 930, "num_cached_tokens": 640},
        {"input_tokens": 900, "output_tokens": 30, "cache_read_tokens": 640},
    ),
    "xai, its reasoning beside the completion": (
        {
            "prompt_tokens": 500,
            "completion_tokens": 20,
            "total_tokens": 820,
            "prompt_tokens_details": {"cached_tokens": 128, "text_tokens": 500},
            "completion_tokens_details": {"reasoning_tokens": 300},
        },
        {"input_tokens": 500, "output_tokens": 320, "cache_read_tokens": 128, "reasoning_tokens": 300},
    ),
    "litellm": (
        {
            "prompt_tokens": 500,
            "completion_tokens": 20,
            "total_tokens": 520,
            "cache_read_input_tokens": 300,
            "cache_creation_input_tokens": 100,
        },
        {"input_tokens": 500, "output_tokens": 20, "cache_read_tokens": 300, "cache_write_tokens": 100},
    ),
    "openrouter, whole numbers as floats": (
        {
            "prompt_tokens": 500.0,
            "completion_tokens": 20.0,
            "total_tokens": 520.0,
            "cost": 0.0017,
            "prompt_tokens_details": {"cached_tokens": 100.0, "cache_write_tokens": 50.0},
        },
        {"input_tokens": 500, "output_tokens": 20, "cache_read_tokens": 100, "cache_write_tokens": 50},
    ),
    "ollama": (
        {"model": "llama3", "prompt_eval_count": 26, "eval_count": 298, "total_duration": 10706818083},
        {"input_tokens": 26, "output_tokens": 298},
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_provider_s_own_body_is_read_bucket_by_bucket(name: str) -> None:
    body, buckets = BODIES[name]
    read = read_body(body)
    assert read is not None
    assert read.usage == Usage(**buckets)


def test_gemini_s_thoughts_are_in_the_total_of_its_openai_api() -> None:
    body = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 500}
    read = read_body(body, model="gemini-2.5-flash")
    assert read is not None
    assert read.usage == Usage(input_tokens=100, output_tokens=400, reasoning_tokens=380)
    plain = read_body(body, model="gpt-4o")
    assert plain is not None
    assert plain.usage == Usage(input_tokens=100, output_tokens=20)


METADATA: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "plain": ({"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}, {}),
    "with details": (
        {
            "input_tokens": 1000,
            "output_tokens": 50,
            "total_tokens": 1050,
            "input_token_details": {"cache_read": 400, "cache_creation": 300, "audio": 7},
            "output_token_details": {"reasoning": 20, "audio": 8},
        },
        {
            "cache_read_tokens": 400,
            "cache_write_tokens": 300,
            "reasoning_tokens": 20,
            "input_audio_tokens": 7,
            "output_audio_tokens": 8,
        },
    ),
    "writes by time to live": (
        {
            "input_tokens": 1000,
            "output_tokens": 50,
            "total_tokens": 1050,
            "input_token_details": {
                "cache_read": 400,
                "cache_creation": 0,
                "ephemeral_5m_input_tokens": 200,
                "ephemeral_1h_input_tokens": 100,
            },
        },
        {"cache_read_tokens": 400, "cache_write_tokens": 300, "cache_write_1h_tokens": 100},
    ),
    "the priority tier": (
        {
            "input_tokens": 1000,
            "output_tokens": 50,
            "total_tokens": 1050,
            "input_token_details": {
                "priority_cache_read": 400,
                "priority_cache_creation": 100,
                "priority": 600,
            },
            "output_token_details": {"priority_reasoning": 20, "priority": 30},
        },
        {"cache_read_tokens": 400, "cache_write_tokens": 100, "reasoning_tokens": 20},
    ),
    "the flex tier": (
        {
            "input_tokens": 1000,
            "output_tokens": 50,
            "total_tokens": 1050,
            "input_token_details": {"flex_cache_read": 400, "flex": 600},
            "output_token_details": {"flex_reasoning": 20, "flex": 30},
        },
        {"cache_read_tokens": 400, "reasoning_tokens": 20},
    ),
    "xai's stream": (
        {
            "input_tokens": 500,
            "output_tokens": 20,
            "total_tokens": 820,
            "output_token_details": {"reasoning": 300},
        },
        {"output_tokens": 320, "reasoning_tokens": 300},
    ),
}


@pytest.mark.parametrize("name", METADATA)
def test_langchain_s_own_words_are_read_bucket_by_bucket(name: str) -> None:
    reported, details = METADATA[name]
    whole = {side: reported[side] for side in ("input_tokens", "output_tokens")}
    read = read_metadata(reported)
    assert read is not None
    assert read.usage == Usage(**(whole | details))


# Mis-shaped

SIDES = [
    ({"prompt_tokens": 100, "completion_tokens": 7}, (100, 7)),
    ({"prompt_tokens": 100}, (100, None)),
    ({"prompt_tokens": 100, "completion_tokens": None}, (100, None)),
    ({"prompt_tokens": 100, "completion_tokens": -7}, (100, None)),
    ({"prompt_tokens": 100, "completion_tokens": "7"}, (100, None)),
    ({"prompt_tokens": 100, "completion_tokens": math.nan}, (100, None)),
    ({"prompt_tokens": 100, "completion_tokens": math.inf}, (100, None)),
    ({"prompt_tokens": 100, "completion_tokens": 7.5}, (100, None)),
    ({"prompt_tokens": 100, "completion_tokens": True}, (100, None)),
    ({"prompt_tokens": 100, "completion_tokens": 10**15}, (100, None)),
    ({"prompt_tokens": 100, "completion_tokens": [7]}, (100, None)),
    ({"prompt_tokens": None, "completion_tokens": 7}, (None, 7)),
    ({"prompt_tokens": 0, "completion_tokens": 7}, (None, 7)),
    ({"prompt_tokens": {}, "completion_tokens": 7.0}, (None, 7)),
    ({"prompt_tokens": None, "completion_tokens": None}, (None, None)),
]


@pytest.mark.parametrize(("body", "sides"), SIDES, ids=str)
def test_what_cannot_be_is_left_out_and_what_is_certain_is_kept(
    body: dict[str, Any], sides: tuple[int | None, int | None]
) -> None:
    read = read_body(body)
    assert read is not None
    assert (read.input_tokens, read.output_tokens) == sides
    assert (read.usage is None) == (None in sides)


@pytest.mark.parametrize(
    "details",
    [
        {"prompt_tokens_details": {"cached_tokens": 101}},
        {"prompt_tokens_details": {"cached_tokens": -1, "cache_write_tokens": "9", "audio_tokens": math.nan}},
        {"prompt_tokens_details": {"cache_write_tokens": 101, "audio_tokens": 101}},
        {"prompt_tokens_details": "none", "completion_tokens_details": [1]},
        {"completion_tokens_details": {"reasoning_tokens": 8, "audio_tokens": 8}},
    ],
    ids=str,
)
def test_an_impossible_part_is_dropped_and_the_whole_is_kept(details: dict[str, Any]) -> None:
    read = read_body({"prompt_tokens": 100, "completion_tokens": 7, **details})
    assert read is not None
    assert read.usage == Usage(input_tokens=100, output_tokens=7)


def test_of_a_cache_that_is_read_and_written_beyond_the_input_the_dear_part_is_kept() -> None:
    body = {"prompt_tokens": 100, "completion_tokens": 7}
    read = read_body(body | {"prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 60}})
    assert read is not None
    assert read.usage == Usage(input_tokens=100, output_tokens=7, cache_write_tokens=60)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**13) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
KEYS = sorted(
    {key for body, _ in [*BODIES.values(), *METADATA.values()] for key in body}
    | {"input_token_details", "output_token_details", "cache_creation", "cacheDetails", "iterations"}
)
INNER = sorted(
    {
        key
        for body, _ in [*BODIES.values(), *METADATA.values()]
        for part in body.values()
        if isinstance(part, dict)
        for key in part
    }
)
bodies = st.dictionaries(
    st.sampled_from(KEYS),
    anything | st.dictionaries(st.sampled_from(INNER), anything, max_size=4),
    max_size=8,
)


@settings(max_examples=600, derandomize=True, deadline=None, database=None)
@given(bodies)
def test_no_body_breaks_the_reading_or_becomes_a_silent_zero(body: dict[str, Any]) -> None:
    for read in (read_body(body), read_body(body, model="gemini-2.5-pro"), read_metadata(body)):
        if read is not None and read.usage is not None:
            assert read.usage.input_tokens > 0  # Usage itself holds that parts fit their wholes
            assert read.usage.output_tokens >= 0
    message = AIMessage("hello", response_metadata={"token_usage": body, "cost": body})
    outcome = read_outcome(LLMResult(generations=[[ChatGeneration(message=message)]]), CALL)
    assert (outcome.usage is None) == (outcome.text is not None)


# From the end of a call to what the ledger takes

CALL = Call(id="1", provider="openai", model="gpt-4o", prompt=Prompt((), lambda _: Piece("")))
OPENROUTER = Call(id="1", provider="openrouter", model="openai/gpt-4o-mini", prompt=CALL.prompt)
ANTHROPIC = Call(id="1", provider="anthropic", model="claude-sonnet-4-6", prompt=CALL.prompt)
GOOGLE = Call(id="1", provider="google_genai", model="gemini-2.5-flash", prompt=CALL.prompt)


def answer(call: Call = CALL, sent: Sent | None = None, llm_output: Any = None, **message: Any) -> Outcome:
    made = AIMessage(**({"content": "an answer"} | message))
    response = LLMResult(generations=[[ChatGeneration(message=made)]], llm_output=llm_output)
    return read_outcome(response, call, sent or Sent())


def usage_metadata(read: int = 1000, written: int = 50, **details: Any) -> dict[str, Any]:
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written, **details}


def test_the_provider_s_body_wins_over_the_client_s_reading_of_it() -> None:
    body = BODIES["deepseek"][0]
    outcome = answer(usage_metadata=usage_metadata(1000, 40), response_metadata={"token_usage": body})
    assert outcome.usage == Usage(**BODIES["deepseek"][1])


def test_a_null_that_the_client_made_a_0_of_is_no_0() -> None:
    body = {"prompt_tokens": 1000, "completion_tokens": None}
    outcome = answer(usage_metadata=usage_metadata(1000, 0), response_metadata={"token_usage": body})
    assert (outcome.usage, outcome.input_tokens, outcome.output_tokens) == (None, 1000, None)
    assert outcome.text == "an answer"


def test_a_long_answer_of_0_tokens_is_a_report_that_lost_its_numbers() -> None:
    outcome = answer(content="word " * 100, usage_metadata=usage_metadata(1000, 0))
    assert (outcome.usage, outcome.input_tokens) == (None, 1000)
    assert answer(content="ok", usage_metadata=usage_metadata(1000, 0)).usage == Usage(input_tokens=1000)


def test_anthropic_s_0_and_0_is_no_report() -> None:
    outcome = answer(ANTHROPIC, usage_metadata=usage_metadata(0, 0))
    assert (outcome.usage, outcome.text) == (None, "an answer")


def test_a_completion_model_reports_in_llm_output() -> None:
    response = LLMResult(
        generations=[[Generation(text="hi")]],
        llm_output={
            "token_usage": {"prompt_tokens": 12, "completion_tokens": 3},
            "model_name": "davinci-002",
        },
    )
    outcome = read_outcome(response, CALL)
    assert (outcome.usage, outcome.model) == (Usage(input_tokens=12, output_tokens=3), "davinci-002")


def test_of_several_prompts_at_once_the_first_has_the_usage_of_all() -> None:
    rest = LLMResult(generations=[[Generation(text="hi")]], llm_output={"token_usage": {}})
    assert read_outcome(rest, CALL, Sent(shared=True)).usage == Usage()
    assert read_outcome(rest, CALL, Sent()).usage is None


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("openai/gpt-4o-miniopenai/gpt-4o-mini", "openai/gpt-4o-mini"),
        ("gpt-4ogpt-4ogpt-4o", "gpt-4o"),
        ("gpt-4o", "gpt-4o"),
        ("o1o1", "o1o1"),
        ("", None),
    ],
)
def test_a_name_that_a_stream_repeats_is_said_once(told: str, name: str | None) -> None:
    assert answer(response_metadata={"model_name": told}).model == name


def test_the_tier_is_read_wherever_it_is() -> None:
    assert answer(response_metadata={"service_tier": "flex"}).service_tier == "flex"
    assert answer(response_metadata={"usage": {"service_tier": "batch"}}).service_tier == "batch"
    assert answer(response_metadata={"serviceTier": {"type": "priority"}}).service_tier == "priority"
    details = {"output_token_details": {"priority": 50}}
    assert answer(usage_metadata=usage_metadata(**details)).service_tier == "priority"
    assert answer(response_metadata={"usage": {"speed": "fast"}}).speed == "fast"


# What the provider says it costs


@pytest.mark.parametrize(
    ("metadata", "cost"),
    [
        ({"cost": 0.00183}, Decimal("0.00183")),
        ({"cost": 0}, Decimal(0)),
        ({"token_usage": {"prompt_tokens": 9, "completion_tokens": 1, "cost": 0.5}}, Decimal("0.5")),
        ({"cost": 0.01, "cost_details": {"upstream_inference_cost": 0.2}}, Decimal("0.21")),
        ({"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0}}, Decimal("0.01")),
        ({"cost": 0.2, "cost_details": {"upstream_inference_cost": 0.2}}, Decimal("0.2")),
        ({"cost": 0.2, "cost_details": {"upstream_inference_cost": None}}, Decimal("0.2")),
        ({"cost": -1}, None),
        ({"cost": math.nan}, None),
        ({"cost": "0.5"}, None),
        ({"cost": True}, None),
        ({"cost": 10**9}, None),
        ({"cost": {"total_cost": 0.007, "request_cost": 0.005}}, Decimal("0.007")),
        ({}, None),
    ],
    ids=str,
)
def test_openrouter_s_own_cost_is_taken_as_it_is(metadata: dict[str, Any], cost: Decimal | None) -> None:
    outcome = answer(OPENROUTER, usage_metadata=usage_metadata(), response_metadata=metadata)
    assert outcome.cost == cost
    assert outcome.lost == (() if cost is not None else ("reported_cost",))


def test_what_others_call_a_cost_is_no_bill() -> None:
    assert answer(response_metadata={"cost": 0.5, "response_cost": 0.0}).cost is None


def test_a_cost_without_its_input_keeps_what_is_certain() -> None:
    body = {"prompt_tokens": 0, "completion_tokens": 180, "total_tokens": 180, "cost": 0.00045}
    outcome = answer(OPENROUTER, response_metadata={"token_usage": body})
    assert (outcome.usage, outcome.output_tokens, outcome.cost) == (None, 180, Decimal("0.00045"))


# Searches

FAILED = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
SEARCHES: list[tuple[dict[str, Any], tuple[int, int]]] = [
    ({"response_metadata": {"usage": {"input_tokens": 9, "output_tokens": 9, "cache_read_input_tokens": 0,
        "server_tool_use": {"web_search_requests": 3}}}}, (3, 0)),
    ({"content": [
        {"type": "server_tool_use", "id": "a", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "a", "content": [{"type": "web_search_result"}]},
        {"type": "server_tool_use", "id": "b", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "b", "content": FAILED},
        {"type": "server_tool_use", "id": "c", "name": "code_execution", "input": {}},
        {"type": "text", "text": "found"}]}, (1, 0)),
    ({"content": [
        {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "x"}},
        {"type": "web_search_call", "status": "completed", "action": {"type": "open_page", "url": "x"}},
        {"type": "web_search_call", "status": "completed"},
        {"type": "web_search_call", "status": "failed", "action": {"type": "search", "query": "x"}},
        {"type": "file_search_call", "status": "completed", "queries": ["x"]}]}, (2, 1)),
    ({"content": "old", "additional_kwargs": {"tool_outputs": [{"type": "web_search_call"}]}}, (1, 0)),
    ({"response_metadata": {"model_name": "gemini-2.5-pro",
        "grounding_metadata": {"web_search_queries": ["a", "b"]}}}, (1, 0)),
    ({"response_metadata": {"model_name": "gemini-3-pro-preview",
        "grounding_metadata": {"web_search_queries": ["a", "b", "", "a"]}}}, (2, 0)),
    ({"response_metadata": {"model_name": "gemini-3-pro-preview", "grounding_metadata": None}}, (0, 0)),
    ({"response_metadata": {"token_usage": {"prompt_tokens": 9, "completion_tokens": 9,
        "num_sources_used": 4}}}, (4, 0)),
    ({"response_metadata": {"token_usage": {"prompt_tokens": 9, "completion_tokens": 9,
        "num_search_queries": 4}, "model_name": "sonar"}}, (0, 0)),
    ({"response_metadata": {"token_usage": {"prompt_tokens": 9, "completion_tokens": 9,
        "num_search_queries": 4}, "model_name": "sonar-deep-research"}}, (4, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("message", "found"), SEARCHES)
def test_searches_that_are_billed_apart_are_counted(message: dict[str, Any], found: tuple[int, int]) -> None:
    outcome = answer(usage_metadata=usage_metadata(), **message)
    assert outcome.usage is not None
    assert (outcome.usage.web_searches, outcome.usage.file_searches) == found


# What the client dropped and the request still tells

WRITTEN = usage_metadata(input_token_details={"cache_read": 0, "cache_creation": 300})


def marked(*ttls: str | None) -> Sent:
    control = [{"type": "ephemeral", **({"ttl": ttl} if ttl else {})} for ttl in ttls]
    blocks = [{"type": "text", "text": "x", "cache_control": mark} for mark in control]
    return Sent([SystemMessage("be brief"), HumanMessage(blocks)])


@pytest.mark.parametrize(
    ("sent", "hour", "lost"),
    [
        (marked("1h"), 300, ()),
        (marked("1h", "1h"), 300, ()),
        (marked("5m"), 0, ()),
        (marked(None), 0, ()),
        (marked("5m", "1h"), 0, ("cache_write_1h",)),
        (Sent([], {"tools": [{"name": "t", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}), 300, ()),
        (Sent([], {"cache_control": {"type": "ephemeral", "ttl": "1h"}}), 300, ()),
        (Sent(), 0, ()),
    ],
)
def test_how_long_a_streamed_write_is_kept_is_told_by_the_request(
    sent: Sent, hour: int, lost: tuple[str, ...]
) -> None:
    outcome = answer(ANTHROPIC, sent, usage_metadata=WRITTEN)
    assert outcome.usage is not None
    assert (outcome.usage.cache_write_tokens, outcome.usage.cache_write_1h_tokens) == (300, hour)
    assert outcome.lost == lost


def test_google_s_client_drops_which_tokens_are_sound() -> None:
    heard = Sent([HumanMessage([{"type": "media", "mime_type": "audio/wav", "data": "AAAA"}])])
    assert answer(GOOGLE, heard, usage_metadata=usage_metadata()).lost == ("input_audio",)
    assert answer(GOOGLE, Sent([HumanMessage("hi")]), usage_metadata=usage_metadata()).lost == ()
    assert answer(CALL, heard, usage_metadata=usage_metadata()).lost == ()


def test_a_turn_of_another_model_is_named_as_not_priced() -> None:
    turns = [
        {"type": "advisor_message", "input_tokens": 70, "output_tokens": 7},
        {"type": "message", "input_tokens": 9, "output_tokens": 9},
    ]
    body = {"input_tokens": 9, "output_tokens": 9, "cache_read_input_tokens": 0, "iterations": turns}
    outcome = answer(ANTHROPIC, response_metadata={"usage": body})
    assert outcome.usage == Usage(input_tokens=9, output_tokens=9)
    assert outcome.lost == ("iterations:advisor_message",)


# Streams


def chunk(read: int, written: int) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk("x", usage_metadata=usage_metadata(read, written)))  # type: ignore[arg-type]


def streamed(*reports: tuple[int, int]) -> Usage | None:
    sent = Sent()
    chunks = [chunk(*report) for report in reports]
    for piece in chunks:
        sent.streamed.saw(piece)
        sent.streamed.saw(piece)  # as a handler does that is attached twice
        sent.streamed.saw(ChatGenerationChunk(message=AIMessageChunk("y")))
    whole = sum(chunks[1:], start=chunks[0])
    message = whole.message
    return read_outcome(LLMResult(generations=[[ChatGeneration(message=message)]]), CALL, sent).usage


def test_counts_that_go_on_are_not_added_up() -> None:
    assert streamed(*((100, i) for i in range(1, 11))) == Usage(input_tokens=100, output_tokens=10)
    assert streamed((100, 0), (100, 0), (100, 7)) == Usage(input_tokens=100, output_tokens=7)


def test_parts_of_a_sum_are_added_up() -> None:
    assert streamed((100, 1), (0, 4), (0, 5)) == Usage(input_tokens=100, output_tokens=10)
    assert streamed((100, 5)) == Usage(input_tokens=100, output_tokens=5)
    assert streamed((100, 5), (100, 3)) == Usage(input_tokens=200, output_tokens=8)
    assert streamed((100, 5), (90, 6)) == Usage(input_tokens=190, output_tokens=11)


def test_a_stream_that_was_cut_keeps_what_it_reported() -> None:
    partial = LLMResult(generations=[[chunk(100, 7)]])
    outcome = read_cut("cut", "GeneratorExit", partial, CALL)
    assert (outcome.ending, outcome.error) == ("cut", "GeneratorExit")
    assert outcome.usage == Usage(input_tokens=100, output_tokens=7)
    empty = LLMResult(generations=[[ChatGenerationChunk(message=AIMessageChunk("x"))]])
    assert read_cut("cut", "GeneratorExit", empty, CALL) == Outcome(ending="cut", error="GeneratorExit")
    assert read_cut("failed", "E 500", partial, CALL) == Outcome(ending="failed", error="E 500")


def test_an_answer_from_a_cache_has_no_usage_and_no_cost() -> None:
    outcome = answer(OPENROUTER, usage_metadata=usage_metadata(total_cost=0), response_metadata={"cost": 1})
    assert outcome.cached
    assert (outcome.usage, outcome.cost, outcome.text) == (None, None, None)


def test_a_decision_model_s_answer_is_read() -> None:
    response = SimpleNamespace(
        model="decider-1",
        answers={"q": "yes"},
        usage={"input_tokens": 40, "output_tokens": 2, "total_tokens": 42},
    )
    assert read_decision(response) == Outcome(
        ending="answered",
        usage=Usage(input_tokens=40, output_tokens=2),
        input_tokens=40,
        output_tokens=2,
        model="decider-1",
    )
    assert read_decision(SimpleNamespace(model="decider-1", answers={}, usage=None)).usage is None
