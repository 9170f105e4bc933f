"""Many calls at once against one budget: how many are admitted, and by how much it is passed.

``pytest tests/race -s`` prints the figures; ``APEIROS_LONG=1`` makes 50 runs of each race instead of 5.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from itertools import chain
from statistics import median
from threading import Barrier
from typing import Any, NamedTuple

import pytest

pytest.importorskip("langchain_core", reason="this environment has no LangChain")
pytest.importorskip("langchain_openai", reason="this environment has no langchain-openai")

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_openai import ChatOpenAI

from apeiros_callbacks import BudgetExceeded, Price, Session
from apeiros_callbacks.call import OpenCall
from apeiros_callbacks.errors import Unbounded
from apeiros_callbacks.money import from_nano
from apeiros_callbacks.testing import Reply, Request, ScriptedServer
from langchain_apeiros import ApeirosHandler

RUNS = 50 if os.environ.get("APEIROS_LONG") else 5
CAP = Decimal("0.50")
THREADS, TASKS = 20, 200
LISTED = Price(input=Decimal("2.5"), output=10)  # gpt-4o in November 2026


class Shape(NamedTuple):
    """A kind of call. The provider reports more tokens for its prompt than can be counted here."""

    name: str
    prompt: str
    input_tokens: int
    output_tokens: int
    max_tokens: int
    own_price: Price
    """At which a call costs ten cents."""

    def reply(self, request: Request) -> Reply:
        # Some answers come at once, some while others are still held.
        tokens = {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}
        return Reply("ok", **tokens, delay=request.index % 3 / 200)

    def cost(self, prices: str) -> Decimal:
        price = self.own_price if prices == "own" else LISTED
        assert price.input is not None
        assert price.output is not None
        return (self.input_tokens * price.input + self.output_tokens * price.output) / 1_000_000


INPUT_HEAVY = Shape("input", "a " * 15_000, 20_000, 50, 100, Price(input=Decimal("4.9"), output=40))
OUTPUT_HEAVY = Shape("output", "a " * 150, 200, 4_000, 4_000, Price(input=5, output=Decimal("24.75")))

Seen = list[Any]
"""One item a caller: the answer, or the exception it got."""


def one_by_one(model: ChatOpenAI, handler: ApeirosHandler, prompt: str, _: asyncio.Runner) -> Seen:
    return [attempt(lambda: model.invoke(prompt, config_of(handler))) for _ in range(THREADS)]


def threads(model: ChatOpenAI, handler: ApeirosHandler, prompt: str, _: asyncio.Runner) -> Seen:
    return at_once(lambda _: model.invoke(prompt, config_of(handler)))


def threads_in_a_row(model: ChatOpenAI, handler: ApeirosHandler, prompt: str, _: asyncio.Runner) -> Seen:
    """Calls that start while others end."""

    def three(_: int) -> Seen:
        return [attempt(lambda: model.invoke(prompt, config_of(handler))) for _ in range(3)]

    return list(chain.from_iterable(at_once(three)))


def tasks(model: ChatOpenAI, handler: ApeirosHandler, prompt: str, runner: asyncio.Runner) -> Seen:
    async def all_of_them() -> Seen:
        calls = [model.ainvoke(prompt, config_of(handler)) for _ in range(TASKS)]
        return await asyncio.gather(*calls, return_exceptions=True)

    return runner.run(all_of_them())


AT_ONCE = {threads: "20 threads", threads_in_a_row: "20 threads, 3 each", tasks: "200 tasks"}

How = Callable[[ChatOpenAI, ApeirosHandler, str, asyncio.Runner], Seen]

at_the_same_time = pytest.mark.parametrize("how", [threads, tasks], ids=["threads", "tasks"])
of_each_shape = pytest.mark.parametrize("shape", [INPUT_HEAVY, OUTPUT_HEAVY], ids=["input", "output"])
at_each_price = pytest.mark.parametrize("prices", ["own", "listed"])


@pytest.mark.parametrize(
    "how", [threads, threads_in_a_row, tasks], ids=["threads", "threads_in_a_row", "tasks"]
)
@of_each_shape
@at_each_price
@pytest.mark.parametrize(
    ("strict", "declared"),
    [(False, False), (False, True), (True, True)],
    ids=["default", "default-max_tokens", "strict-max_tokens"],
)
def test_a_race_stays_within_the_bound_of_its_mode(
    serve: Any,
    runner: asyncio.Runner,
    opened: dict[str, OpenCall],
    figures: list[tuple[Any, ...]],
    how: How,
    shape: Shape,
    prices: str,
    strict: bool,
    declared: bool,
) -> None:
    server = serve(shape.reply)
    model = model_of(server, shape, declared)
    admitted, settled, overshoots = [], [], []
    for _ in range(RUNS):
        before = server.request_count
        handler = handler_of(shape, prices, strict)
        seen = how(model, handler, shape.prompt, runner)
        session = handler.session
        check_books(session, seen, server.request_count - before)
        bound = Decimal(0) if strict else guessed_too_low(session, opened)
        assert session.spent <= CAP + bound
        # Nobody was refused who had room: one more of the dearest would not fit.
        dearest = max(shape.cost(prices), *(held(opened[entry.id]) for entry in session.entries()))
        assert len(session.entries()) >= min(len(seen), CAP // dearest)
        admitted.append(len(session.entries()))
        settled.append(session.spent)
        overshoots.append((max(session.spent - CAP, Decimal(0)), bound))
    figures.append(
        (
            "strict" if strict else "default",
            AT_ONCE[how],
            shape.name,
            prices,
            "yes" if declared else "no",
            RUNS,
            f"{min(admitted)}/{median(admitted):g}/{max(admitted)}",
            f"{min(settled):.4f}-{max(settled):.4f}",
            *(f"{dollars:.4f}" for dollars in max(overshoots)),
        )
    )


@at_the_same_time
@of_each_shape
def test_a_strict_race_without_max_tokens_sends_nothing(
    serve: Any, runner: asyncio.Runner, how: How, shape: Shape
) -> None:
    server = serve(shape.reply)
    handler = handler_of(shape, "own", strict=True)
    seen = how(model_of(server, shape, declared=False), handler, shape.prompt, runner)
    assert all(isinstance(answer, Unbounded) for answer in seen)
    session = handler.session
    assert (server.request_count, session.entries(), session.spent, session.open_holds) == (0, [], 0, 0)


@pytest.mark.parametrize("how", [one_by_one, threads, tasks], ids=["one_by_one", "threads", "tasks"])
@of_each_shape
@at_each_price
@pytest.mark.parametrize("declared", [False, True], ids=["", "max_tokens"])
def test_after_one_observed_call_what_fits_is_admitted(
    serve: Any, runner: asyncio.Runner, how: How, shape: Shape, prices: str, declared: bool
) -> None:
    server = serve(shape.reply)
    model = model_of(server, shape, declared)
    handler = handler_of(shape, prices)
    session, cost = handler.session, shape.cost(prices)
    first = model.invoke(shape.prompt, config_of(handler))
    fit = (CAP - cost) // cost
    seen = how(model, handler, shape.prompt, runner)
    assert server.request_count - 1 in {fit, fit - 1}
    check_books(session, [first, *seen], server.request_count)
    assert session.spent <= CAP
    session.raise_budget(to=session.spent + cost)  # nothing is held any more: it fits exactly
    model.invoke(shape.prompt, config_of(handler))
    assert session.remaining == 0


@of_each_shape
@at_each_price
def test_strict_calls_one_by_one_are_admitted_while_their_most_fits(
    serve: Any, runner: asyncio.Runner, opened: dict[str, OpenCall], shape: Shape, prices: str
) -> None:
    server = serve(shape.reply)
    handler = handler_of(shape, prices, strict=True)
    seen = one_by_one(model_of(server, shape, declared=True), handler, shape.prompt, runner)
    check_books(handler.session, seen, server.request_count)
    [most] = {held(call) for call in opened.values()}
    assert len(opened) == (CAP - most) // shape.cost(prices) + 1


PIECE = "word " * 100
PIECES = 60
PIECE_COST = Decimal("0.002475")


@pytest.mark.parametrize("declared", [False, True], ids=["", "max_tokens"])
def test_streams_that_outgrow_the_budget_together_are_cut(
    serve: Any, opened: dict[str, OpenCall], declared: bool
) -> None:
    def reply(_: Request) -> Reply:
        server.wait_for_requests(before + 4)  # so many cannot all be read to their end
        return answer_in_pieces()

    server = serve(reply)
    model = model_of(server, OUTPUT_HEAVY, declared, max_tokens=6_000)
    for _ in range(RUNS):
        before = server.request_count
        handler = handler_of(OUTPUT_HEAVY, "own")
        seen = streams(model, handler)
        session = handler.session
        cut = [answer for answer in seen if isinstance(answer, BudgetExceeded) and answer.mid_stream]
        assert cut
        check_books(session, seen, server.request_count - before, cut=len(cut))
        assert session.spent <= CAP + guessed_too_low(session, opened)
        assert session.spent <= CAP + PIECE_COST * len(cut)


def test_strict_streams_are_never_cut(serve: Any) -> None:
    server = serve(answer_in_pieces())
    model = model_of(server, OUTPUT_HEAVY, declared=True, max_tokens=6_000)
    for _ in range(RUNS):
        before = server.request_count
        handler = handler_of(OUTPUT_HEAVY, "own", strict=True)
        seen = streams(model, handler)
        check_books(handler.session, seen, server.request_count - before)
        assert handler.session.spent <= CAP
        assert not any(isinstance(answer, BudgetExceeded) and answer.mid_stream for answer in seen)


def test_what_is_refused_in_one_run_does_not_block_a_cheaper_one(serve: Any) -> None:
    def reply(request: Request) -> Reply:
        dear = len(str(request.body)) > 1_000
        return Reply("ok", input_tokens=20_000 if dear else 10, output_tokens=50)

    server = serve(reply)
    model = model_of(server, INPUT_HEAVY, declared=False)

    def ask_twice(prompt: str, config: RunnableConfig) -> Seen:
        return [attempt(lambda: model.invoke(prompt, config)) for _ in range(2)]

    prompts = [INPUT_HEAVY.prompt, "hello"] * (THREADS // 2)

    def ask_in_a_run_of_its_own(handler: ApeirosHandler, i: int) -> Seen:
        return RunnableLambda(ask_twice).invoke(prompts[i], config_of(handler))

    for _ in range(RUNS):
        before = server.request_count
        handler = ApeirosHandler(budget=Decimal("0.49"), prices={"*": INPUT_HEAVY.own_price})
        first = [model.invoke(INPUT_HEAVY.prompt, config_of(handler)) for _ in range(4)]  # no fifth fits
        seen = at_once(partial(ask_in_a_run_of_its_own, handler))
        assert all(isinstance(answer, BudgetExceeded) for pair in seen[::2] for answer in pair)
        assert all(isinstance(answer, AIMessage) for pair in seen[1::2] for answer in pair)
        check_books(handler.session, [*first, *chain.from_iterable(seen)], server.request_count - before)


def model_of(server: ScriptedServer, shape: Shape, declared: bool, **options: Any) -> ChatOpenAI:
    settings: dict[str, Any] = {"max_tokens": shape.max_tokens, **options} if declared else {}
    return ChatOpenAI(
        model="gpt-4o",
        base_url=server.openai_url,
        api_key="test",
        max_retries=0,
        stream_usage=True,
        **settings,
    )


def handler_of(shape: Shape, prices: str, strict: bool = False) -> ApeirosHandler:
    own = {"*": shape.own_price} if prices == "own" else None
    return ApeirosHandler(budget=CAP, prices=own, strict=strict)


def config_of(handler: ApeirosHandler) -> RunnableConfig:
    return {"callbacks": [handler]}


def attempt(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - what the caller saw is what is tested
        return error


def at_once(call: Callable[[int], Any]) -> Seen:
    """Call from twenty threads that start together."""
    start = Barrier(THREADS)

    def one(i: int) -> Any:
        start.wait(10)
        return attempt(lambda: call(i))

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


def streams(model: ChatOpenAI, handler: ApeirosHandler) -> Seen:
    return at_once(lambda _: list(model.stream(OUTPUT_HEAVY.prompt, config_of(handler))))


def answer_in_pieces() -> Reply:
    return Reply([PIECE] * PIECES, input_tokens=200, output_tokens=100 * PIECES, chunk_delay=0.001)


def check_books(session: Session, seen: Seen, requests: int, cut: int = 0) -> None:
    """Every caller got an answer or a refusal; what was sent is in the ledger once; nothing is held."""
    assert all(isinstance(answer, BudgetExceeded) for answer in seen if isinstance(answer, Exception))
    answered = sum(not isinstance(answer, Exception) for answer in seen)
    entries = session.entries()
    assert answered + cut == requests == len(entries) == len({entry.id for entry in entries})
    assert sum(entry.usage_certainty == "reported" for entry in entries) == answered
    assert session.spent == sum(entry.amount or 0 for entry in entries)
    assert (session.open_holds, session.health.failures) == (0, 0)


def held(call: OpenCall) -> Decimal:
    """US dollars that were set aside for a call; for a stream, at its end."""
    return from_nano(call.hold.need.nano)


def guessed_too_low(session: Session, opened: dict[str, OpenCall]) -> Decimal:
    """By how much the admitted calls cost more than was held for them: the bound of the default mode."""
    over = ((entry.amount or 0) - held(opened[entry.id]) for entry in session.entries())
    return sum((max(Decimal(0), amount) for amount in over), Decimal(0))
