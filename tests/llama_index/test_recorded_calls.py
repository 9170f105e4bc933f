"""Calls that providers really answered, sent again by LlamaIndex's clients: is the ledger right?

    pytest tests/llama_index/test_recorded_calls.py -s     prints what the clients throw away

The recorded calls are no part of this repository; where they are not found, this is skipped.
"""

from __future__ import annotations

import contextlib
import logging
import statistics
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from llama_index.core.base.llms.types import LLMMetadata
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai import OpenAI, OpenAIResponses

from apeiros_callbacks.estimate import bound_input
from apeiros_callbacks.testing import Recorded, ScriptedServer
from llama_index.callbacks.apeiros import ApeirosHandler
from tests.langchain.recorded_truth import Truth, truth_of
from tests.llama_index.recorded_messages import conversation
from tests.llama_index.ways import messages
from tests.opened import Opened
from tests.recorded_calls import Record, no_call, recorded_calls, records

FOUND = recorded_calls()
pytestmark = pytest.mark.skipif(
    FOUND is None,
    reason="no recorded calls: neither in ../shared/data beside the checkout nor where APEIROS_SHARED says",
)

SHARES = {"anthropic": 0.97, "openai-chat": 0.97, "openai-responses": 0.97}
"""Of the calls of an API that reported usage, those whose entry has the same tokens."""

# What the clients drop, so that no callback can know it: LlamaIndex's own part of what is left out.
DROPPED = {
    "anthropic": {"cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "input_tokens"},
    "openai-chat": set(),
    "openai-responses": set(),
}
ANY = LLMMetadata(context_window=1_000_000, is_chat_model=True, is_function_calling_model=True)


class AnyChat(OpenAI):
    """LlamaIndex's client refuses names that are not OpenAI's; servers that speak its API have others."""

    @property
    def metadata(self) -> LLMMetadata:
        return ANY.model_copy(update={"model_name": self.model})


class AnyResponses(OpenAIResponses):
    @property
    def metadata(self) -> LLMMetadata:
        return ANY.model_copy(update={"model_name": self.model})


class AnyAnthropic(Anthropic):
    @property
    def metadata(self) -> LLMMetadata:
        return ANY.model_copy(update={"model_name": self.model})


class ToServer(httpx.HTTPTransport):
    """Sends to the server whatever address is asked for."""

    def __init__(self, server: ScriptedServer) -> None:
        super().__init__()
        self._url = httpx.URL(server.url)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host=self._url.host, port=self._url.port)
        return super().handle_request(request)


def api(record: Record) -> str:
    return str(record["kind"]).removesuffix("-stream")


def replayable() -> Iterator[Record]:
    assert FOUND is not None
    for record in records(FOUND):
        if no_call(record) is None and api(record) in SHARES:
            yield record


def model_for(record: Record, server: ScriptedServer, http: httpx.Client) -> Any:
    name = str((record.get("request") or {}).get("model") or "gpt-4o")
    if api(record) == "anthropic":
        return AnyAnthropic(model=name, base_url=server.anthropic_url, api_key="test", max_retries=0)
    made = AnyChat if api(record) == "openai-chat" else AnyResponses
    address = str(record["uri"]).removesuffix("/chat/completions").removesuffix("/responses")
    return made(model=name, api_base=address, api_key="test", max_retries=0, http_client=http)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Clients have much to say about what they do not know of."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def differences(tokens: dict[str, int], truth: Truth) -> set[str]:
    told = {name: count for name, count in tokens.items() if count}
    return {
        name for name in told.keys() | truth.tokens.keys() if told.get(name, 0) != truth.tokens.get(name, 0)
    }


def test_the_ledger_agrees_with_the_providers() -> None:
    current: list[Recorded] = []
    good: Counter[str] = Counter()
    cents: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    crashed: Counter[str] = Counter()
    dropped: Counter[tuple[str, str]] = Counter()
    amiss: list[str] = []
    with (
        quiet(),
        ScriptedServer(lambda _: current[0]) as server,
        httpx.Client(transport=ToServer(server)) as http,
    ):
        for record in replayable():
            current[:] = [Recorded.from_record(record)]
            streamed = record.get("response") is None and not record["raw"].lstrip().startswith("{")
            before = server.request_count
            with ApeirosHandler(ledger="memory:") as handler:
                model = model_for(record, server, http)
                try:
                    _ = list(model.stream_chat(messages())) if streamed else model.chat(messages())
                except Exception as error:  # noqa: BLE001 - clients fail over answers of others' servers
                    crashed[f"{api(record)}: {type(error).__name__}"] += 1
            entries = handler.session.entries()
            line = f"line {record['line']} {record['kind']}"
            if server.request_count == before:
                continue
            if len(entries) != 1 or handler.session.health.failures:
                amiss.append(f"{line}: {len(entries)} entries")
                continue
            truth = truth_of(record)
            if truth is None or not truth.tokens.get("input_tokens"):
                continue
            calls[api(record)] += 1
            entry = entries[0]
            wrong = differences(dict(entry.usage.as_dict()), truth)
            if entry.usage_certainty == "reported" and not wrong:
                good[api(record)] += 1
                cents[api(record)] += entry.amount == truth.amount(record["uri"], entry.started_at)
            elif entry.usage_certainty == "reported":
                for name in wrong:
                    dropped[api(record), name] += 1
                if not wrong <= DROPPED[api(record)]:
                    amiss.append(f"{line}: {sorted(wrong)} {entry.usage} {truth.tokens}")
    for name, count in calls.items():
        print(f"{name}: {good[name]} of {count} as the provider reported, {cents[name]} to the cent")
    for (name, bucket), count in dropped.items():
        print(f"{name}: {bucket} dropped in {count}")
    print("the client fails over:", dict(crashed))
    assert not amiss, "\n".join(amiss)
    assert {name: good[name] / count >= SHARES[name] for name, count in calls.items()} == dict.fromkeys(
        calls, True
    )


def test_inputs_are_estimated_well_before_they_are_sent() -> None:
    current: list[Recorded] = []
    ratios: dict[str, list[float]] = defaultdict(list)
    below: list[str] = []
    with (
        quiet(),
        ScriptedServer(lambda _: current[0]) as server,
        httpx.Client(transport=ToServer(server)) as http,
    ):
        for record in replayable():
            truth = truth_of(record)
            reported = truth.tokens.get("input_tokens") if truth else None
            if not reported or not record.get("request"):
                continue
            try:
                asked, options = conversation(api(record), record["request"])
            except ValueError:  # LlamaIndex has no words for it
                continue
            current[:] = [Recorded.from_record(record)]
            session = Opened(1_000_000, unknown_price="assume", ledger="memory:")
            before = server.request_count
            with ApeirosHandler(session=session), contextlib.suppress(Exception):
                model_for(record, server, http).chat(asked, **options)  # some fail over the answer
            if server.request_count == before:
                continue
            (opened,) = session.calls
            estimate, prompt = opened.estimate, opened.call.prompt
            assert estimate is not None
            ratios[f"{api(record)}{', tools' if prompt.has_tools else ''}"].append(
                estimate.input_tokens / reported
            )
            # What a strict budget lets go on.
            if not prompt.find_beyond() and bound_input(prompt) < reported:
                below.append(f"line {record['line']}: {bound_input(prompt)} for {reported}")
    print("estimated input to reported input: median, mean of what it is off")
    for name, seen in sorted(ratios.items()):
        off = statistics.mean(abs(ratio - 1) for ratio in seen)
        print(f"{statistics.median(seen):>7.2f} {off:>7.2f} of {len(seen):>3}  {name}")
    assert not below, "\n".join(["the bound is below what was reported:", *below])
    assert len(ratios) == 6
    assert {name: 0.8 <= statistics.median(seen) <= 1.25 for name, seen in ratios.items()} == dict.fromkeys(
        ratios, True
    )
