"""Calls that providers really answered, sent again by the real clients: is the ledger right?

The recorded calls are no part of this repository; where they are not found, this is skipped.
"""

from __future__ import annotations

import contextlib
import logging
import statistics
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx2
import pytest

pytest.importorskip("langchain_google_genai", reason="this environment has no client of Google's")
pytest.importorskip("langchain_aws", reason="this environment has no client of AWS's")

from apeiros_callbacks import Entry
from apeiros_callbacks.estimate import bound_input
from apeiros_callbacks.testing import Recorded, ScriptedServer
from tests.langchain.recorded_replay import (
    Record,
    Replay,
    Replayed,
    ToServer,
    serve_current,
)
from tests.langchain.recorded_truth import Truth, host, truth_of
from tests.recorded_calls import no_call, recorded_calls, records

FOUND = recorded_calls()
pytestmark = pytest.mark.skipif(
    FOUND is None,
    reason="no recorded calls: neither in ../shared/data beside the checkout nor where APEIROS_SHARED says",
)

SHARES = {"anthropic": 1.0, "bedrock": 1.0, "google": 0.96, "openai-chat": 0.97, "openai-responses": 0.98}
"""Of the calls of an API, those whose entry agrees with the provider in every token and cent."""


@pytest.fixture(scope="module")
def replayed() -> list[Replayed]:
    """Every recorded call that a chat client can make, sent again."""
    assert FOUND is not None
    current: list[Recorded] = []
    answers: list[Replayed] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(quiet())
        server = stack.enter_context(ScriptedServer(serve_current(current)))
        replay = Replay(server, stack.enter_context(httpx2.Client(transport=ToServer(server))))
        for record in records(FOUND):
            if no_call(record) is None:
                current[:] = [Recorded.from_record(record)]
                answers.append(replay(record))
    return answers


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Clients have much to say about what they do not know of."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def api(record: Record) -> str:
    return str(record["kind"]).removesuffix("-stream")


def where(record: Record) -> str:
    return f"{api(record)} at {host(record['uri'])}"


def differences(entry: Entry, truth: Truth) -> list[str]:
    """What an entry says otherwise than the provider."""
    told = {name: count for name, count in entry.usage.as_dict().items() if count}
    names = sorted(told.keys() | truth.tokens.keys())
    return [name for name in names if told.get(name, 0) != truth.tokens.get(name, 0)]


def explained(replay: Replayed, entry: Entry, truth: Truth | None, wrong: list[str], amount: Any) -> str:
    """Why an entry cannot agree; empty when there is no excuse."""
    if truth is None:
        return "the answer has no usage: estimated" if entry.usage_certainty == "estimated" else ""
    if not truth.tokens.get("input_tokens"):
        honest = entry.usage_certainty == "estimated" and entry.amount == amount
        return "the provider reports an input of 0: estimated" if honest else ""
    if entry.price_certainty != "partial":
        return ""
    if wrong == ["input_audio_tokens"] and entry.price_source.endswith("no input_audio"):
        return "langchain-google-genai drops which tokens are sound: partial"
    if not wrong and truth.cost is not None and entry.price_source.endswith("no reported_cost"):
        return "langchain-openai drops the cost that the provider reports: partial"
    return ""


def test_the_ledger_agrees_with_the_providers(replayed: list[Replayed]) -> None:
    agree: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    of_api: dict[str, list[bool]] = defaultdict(list)
    exceptions: list[str] = []
    unexplained: list[str] = []
    certainties: Counter[str] = Counter()
    for replay in replayed:
        record = replay.record
        line = f"line {record['line']:>3} {where(record)}"
        calls[where(record)] += 1
        if len(replay.entries) != 1 or replay.failures:
            unexplained.append(f"{line}: {len(replay.entries)} entries, {replay.error!r}")
            continue
        [entry] = replay.entries
        truth = truth_of(record)
        amount = None if truth is None else truth.amount(record["uri"], entry.started_at)
        wrong = [] if truth is None else differences(entry, truth)
        good = truth is not None and not wrong and entry.amount == amount
        good = good and entry.usage_certainty == "reported"
        of_api[api(record)].append(good)
        certainties[entry.price_certainty] += 1
        if good:
            agree[where(record)] += 1
            continue
        said = f"{line}: {', '.join(wrong) or 'amount'}; ${entry.amount} for ${amount}, {entry.price_source}"
        excuse = explained(replay, entry, truth, wrong, amount)
        exceptions.append(f"{line}: {excuse}") if excuse else unexplained.append(said)
    report(replayed, agree, calls, exceptions, certainties)
    assert not unexplained, "\n".join(unexplained)
    assert {name: sum(good) / len(good) >= SHARES[name] for name, good in of_api.items()} == dict.fromkeys(
        of_api, True
    )


def report(
    replayed: list[Replayed],
    agree: Counter[str],
    calls: Counter[str],
    exceptions: list[str],
    certainties: Counter[str],
) -> None:
    assert FOUND is not None
    print("\nentries that agree with the provider in every token and cent")
    for place in sorted(calls):
        print(f"{agree[place]:>4} of {calls[place]:>3}  {agree[place] / calls[place]:>6.1%}  {place}")
    total = sum(agree.values()), sum(calls.values())
    print(f"{total[0]:>4} of {total[1]:>3}  {total[0] / total[1]:>6.1%}  all; {dict(certainties)}")
    print("exceptions", *exceptions, sep="\n  ")
    left_out = [record for record in records(FOUND) if no_call(record)]
    print(f"not replayed: {len(left_out)}")
    for reason, count in Counter(f"{record['kind']}: {no_call(record)}" for record in left_out).items():
        print(f"  {count} × {reason}")
    plain = [replay for replay in replayed if not replay.as_recorded]
    print(f"answered to a plain prompt, because the recorded one cannot be sent: {len(plain)}")
    for place, count in sorted(Counter(where(replay.record) for replay in plain).items()):
        print(f"  {count} × {place}")


def text_only(request: Any) -> bool:
    """Whether a request is all text that was sent again, with the caller's own tools and no others."""
    if not isinstance(request, dict) or any(request.get(name) for name in NOT_IN_THE_MESSAGES):
        return False
    for tool in request.get("tools") or []:
        kind = tool.get("type")
        if kind not in {None, "function", "custom"} or tool.get("defer_loading"):
            return False
        if kind is None and not tool.keys() & {"function", "functionDeclarations", "input_schema"}:
            return False
    return not any(kind in MORE_THAN_TEXT for kind in kinds(request))


NOT_IN_THE_MESSAGES = (
    "previous_response_id", "conversation", "cachedContent", "container", "mcp_servers", "plugins",
    "web_search_options", "output_config", "response_format", "text",
)  # fmt: skip
"""What the provider keeps or adds, and schemas of the answer, which are not sent again here."""
MORE_THAN_TEXT = frozenset(
    {
        "image_url", "input_image", "input_file", "input_audio", "image", "document", "document_url", "file",
        "video_url", "container_upload", "inlineData", "inline_data", "fileData", "file_data",
        "responseSchema", "responseJsonSchema", "responseFormat", "thoughtSignature", "thought_signature",
    }
)  # fmt: skip


def kinds(value: Any) -> Iterator[str]:
    """The types and keys in a request."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield name
            if name == "type" and isinstance(part, str):
                yield part
            yield from kinds(part)
    elif isinstance(value, list):
        for part in value:
            yield from kinds(part)


def test_inputs_are_estimated_well_before_they_are_sent(replayed: list[Replayed]) -> None:
    every: dict[str, list[float]] = defaultdict(list)
    text: dict[str, list[float]] = defaultdict(list)
    bounds: dict[str, list[float]] = defaultdict(list)
    below: list[str] = []
    for replay in replayed:
        truth = truth_of(replay.record)
        reported = truth.tokens.get("input_tokens") if truth else None
        if not reported or not replay.as_recorded or not replay.opened:
            continue
        opened = replay.opened[-1]
        assert opened.estimate is not None
        place, ratio = where(replay.record), opened.estimate.input_tokens / reported
        every[place].append(ratio)
        if text_only(replay.record.get("request")):
            text[place].append(ratio)
            bound = bound_input(opened.call.prompt)
            bounds[place].append(bound / reported)
            if bound < reported:
                line = f"line {replay.record['line']} {place} {opened.call.model}"
                below.append(f"{line}: {bound} for {reported}")
    print("\nestimated input to reported input: 5th percentile, median, 95th percentile")
    for name, ratios in ("all calls", every), ("text, no tools of the provider", text):
        print(name, *(f"{spread(ratios[place])}  {place}" for place in sorted(ratios)), sep="\n")
    print(
        "the bound to reported input, of text",
        *(f"{spread(bounds[place])}  {place}" for place in sorted(bounds)),
        sep="\n",
    )
    assert not below, "\n".join(["the bound is below what was reported:", *below])
    wrong = {
        place: spread(seen)
        for ratios in (every, text)
        for place, seen in ratios.items()
        if len(seen) >= 5 and not 0.8 <= statistics.median(seen) <= 1.25
    }
    assert not wrong
    assert {place: spread(seen) for place, seen in text.items() if percentile(seen, 95) >= 2} == {}


def percentile(values: list[float], percent: int) -> float:
    """The smallest value that so many percent do not exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def spread(values: list[float]) -> str:
    low, middle, high = percentile(values, 5), statistics.median(values), percentile(values, 95)
    return f"{low:>7.2f} {middle:>7.2f} {high:>7.2f} of {len(values):>3}"


def test_what_is_spent_is_what_the_providers_bill(replayed: list[Replayed]) -> None:
    spent = true = Decimal(0)
    for replay in replayed:
        truth = truth_of(replay.record)
        if truth is not None:
            [entry] = replay.entries
            spent += entry.amount or 0
            true += truth.amount(replay.record["uri"], entry.started_at) or 0
    print(f"\nin all: ${spent} of the true ${true}")
    assert abs(spent - true) < true / 500
