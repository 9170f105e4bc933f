"""Calls of which LangChain sends no end: each is closed all the same, once, for what it can have cost."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import pkgutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler, CallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableParallel
from langchain_core.tools import StructuredTool
from pydantic import BaseModel

from apeiros_callbacks import BudgetExceeded, Price, Session, UnknownPrice
from apeiros_callbacks.errors import Unbounded
from apeiros_callbacks.testing import Reply, Request
from langchain_apeiros import ApeirosHandler
from langchain_apeiros.live import Lives, Origin
from tests.langchain.clients import client
from tests.langchain.garbage import collect

CLIENTS = ["openai", "anthropic"]
A_DOLLAR_A_TOKEN = {"*": Price(input=1_000_000, output=1_000_000)}
HELLO = Reply("hello", input_tokens=10, output_tokens=2)


def handler_of(budget: float = 10_000, **options: Any) -> ApeirosHandler:
    return ApeirosHandler(budget=budget, prices=A_DOLLAR_A_TOKEN, **options)


class Raises(BaseCallbackHandler):
    """A neighbour that fails in one of its hooks, and is allowed to end the run."""

    raise_error = True
    run_inline = True

    def __init__(self, hook: str) -> None:
        setattr(self, hook, self._fail)

    def _fail(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a neighbour failed")


@pytest.mark.parametrize("where", ["put_first", "add"])
def test_a_person_who_interrupts_a_start_leaves_nothing_held(
    serve: Any, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    server, handler = serve(HELLO), handler_of()
    monkeypatch.setattr(Origin if where == "put_first" else Lives, where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        client("openai", server).invoke("hi", {"callbacks": [handler]})
    assert (server.request_count, handler.session.open_holds, handler.session.entries()) == (0, 0, [])


@pytest.mark.parametrize("ledger", ["memory:", "sqlite"])
@pytest.mark.parametrize(
    ("where", "after"),
    [
        ("langchain_apeiros.handler.read_outcome", False),
        ("apeiros_callbacks.recorder.settle", False),
        ("apeiros_callbacks.recorder.settle", True),
        ("apeiros_callbacks.watch.Watch.look_after", False),
        ("apeiros_callbacks.scopes.Accounts.settle", True),
    ],
)
def test_a_person_who_interrupts_an_end_finds_it_recorded_once(
    serve: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str, after: bool, ledger: str
) -> None:
    plain, calls = pkgutil.resolve_name(where), []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls.append(plain(*args, **kwargs) if after or calls else None)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return calls[-1]

    handler = handler_of(ledger=ledger if ledger == "memory:" else f"sqlite:///{tmp_path}/ledger.db")
    session = handler.session
    monkeypatch.setattr(where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        client("openai", serve(HELLO)).invoke("hi", {"callbacks": [handler]})
    session.flush()
    entries = session.entries()
    assert len(entries) == 1
    assert session.spent == entries[0].amount
    assert session.spent == 12 or where.endswith("read_outcome")
    assert (session.open_holds, session._account.held.nano) == (0, 0)


def failing_second(request: Request) -> Reply:
    return Reply(status=500, error="no") if "second" in str(request.body) else HELLO


@pytest.mark.parametrize("name", CLIENTS)
def test_answers_that_a_failing_batch_drops_are_settled(serve: Any, name: str) -> None:
    server = serve(failing_second)
    handler = handler_of()
    prompts = [[HumanMessage(text)] for text in ("first", "second", "third")]
    with pytest.raises(Exception, match="."):
        client(name, server).generate(prompts, callbacks=[handler])
    assert server.request_count == 2
    assert [(entry.usage_certainty, entry.error) for entry in handler.session.entries()] == [
        ("assumed", entry_error(handler)),
        ("estimated", "answer lost"),
    ]
    assert handler.session.open_holds == 0
    assert handler.session.spent > 0


def entry_error(handler: ApeirosHandler) -> str | None:
    return handler.session.entries()[0].error


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("how", ["generate", "agenerate"])
def test_a_batch_of_which_one_prompt_is_refused_is_not_sent(serve: Any, name: str, how: str) -> None:
    server = serve(HELLO)
    handler = handler_of(budget=2_000)
    prompts = [[HumanMessage("first")], [HumanMessage("second " * 2_000)]]
    model = client(name, server, max_tokens=10)
    with pytest.raises(BudgetExceeded):
        if how == "generate":
            model.generate(prompts, callbacks=[handler])
        else:
            asyncio.run(model.agenerate(prompts, callbacks=[handler]))
    assert (server.request_count, handler.session.entries(), handler.session.open_holds) == (0, [], 0)


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("ours_first", [True, False])
def test_a_call_that_another_budget_refuses_holds_nothing(serve: Any, how: str, ours_first: bool) -> None:
    server = serve(HELLO)
    ours, other = handler_of(), handler_of(budget=1)
    handlers = [ours, other] if ours_first else [other, ours]
    with pytest.raises(BudgetExceeded):
        run(client("openai", server), how, "hello", handlers)
    for handler in handlers:
        assert (handler.session.entries(), handler.session.open_holds, handler.session.spent) == ([], 0, 0)
    assert server.request_count == 0


def run(model: Any, how: str, prompt: str, handlers: list[Any]) -> Any:
    if how == "invoke":
        return model.invoke(prompt, {"callbacks": handlers})
    if how == "stream":
        return list(model.stream(prompt, {"callbacks": handlers}))
    if how == "astream":

        async def all_of_it() -> Any:
            return [chunk async for chunk in model.astream(prompt, {"callbacks": handlers})]

        return asyncio.run(all_of_it())
    return asyncio.run(model.ainvoke(prompt, {"callbacks": handlers}))


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize("hook", ["on_chat_model_start", "on_llm_end"])
def test_a_neighbour_that_raises_leaves_no_call_open(
    serve: Any, how: str, ours_first: bool, hook: str
) -> None:
    server = serve(HELLO)
    handler = handler_of()
    handlers = [handler, Raises(hook)] if ours_first else [Raises(hook), handler]
    with pytest.raises(RuntimeError, match="a neighbour failed"):
        run(client("openai", server, stream_usage=True), how, "hello", handlers)
    collect(handler)
    entries = handler.session.entries()
    assert handler.session.open_holds == 0
    if hook == "on_llm_end":
        assert [(entry.amount, entry.usage_certainty) for entry in entries] == [(Decimal(12), "reported")]
    elif not ours_first:
        assert entries == []
    elif how in {"ainvoke", "astream"}:
        assert [entry.usage_certainty for entry in entries] in ([], ["unresolved"])
    else:
        # Nothing tells that it was not sent: what it may have cost counts, and says so.
        assert [entry.usage_certainty for entry in entries] == ["unresolved"]
    assert server.request_count == (1 if hook == "on_llm_end" else 0)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_typed_stream_that_is_dropped_is_settled_for_what_came(serve: Any, name: str) -> None:
    server = serve(Reply(["word "] * 50))
    handler = handler_of()
    stream: Any = client(name, server).stream_events("hello", {"callbacks": [handler]}, version="v3")
    for i, _ in enumerate(stream):
        if i == 10:
            break
    assert handler.session.open_holds == 1
    del stream, _
    collect(handler)
    [entry] = handler.session.entries()
    assert (entry.usage_certainty, entry.error) == ("estimated", "abandoned")
    assert 3 <= entry.usage.output_tokens < 50
    assert handler.session.open_holds == 0


@pytest.mark.parametrize("name", CLIENTS)
def test_a_timeout_inside_a_task_that_goes_on(serve: Any, name: str) -> None:
    def slow_then_quick(request: Request) -> Reply:
        return Reply("late", delay=30) if "slow" in str(request.body) else HELLO

    server = serve(slow_then_quick)
    handler = handler_of()
    open_while_the_task_went_on = []

    async def goes_on() -> None:
        model = client(name, server)
        try:
            async with asyncio.timeout(0.5):
                await model.ainvoke("slow", {"callbacks": [handler]})
        except TimeoutError:
            await model.ainvoke("quick", {"callbacks": [handler]})
            open_while_the_task_went_on.append(handler.session.open_holds)

    asyncio.run(goes_on())
    assert open_while_the_task_went_on == [0]
    assert sorted(entry.usage_certainty for entry in handler.session.entries()) == ["estimated", "reported"]
    assert server.request_count == 2


Awaited = Callable[[Any], Any]


async def in_a_task(call: Any) -> None:
    await asyncio.create_task(call)


async def in_a_gather(call: Any) -> None:
    await asyncio.gather(call)


async def in_a_group(call: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(call)


async def in_wait_for(call: Any) -> None:
    await asyncio.wait_for(call, 100)


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("awaited", [in_a_task, in_a_gather, in_a_group, in_wait_for])
def test_a_cancelled_call_is_settled_whoever_awaits_it(serve: Any, name: str, awaited: Awaited) -> None:
    server = serve(Reply("too late", delay=30))
    handler = handler_of()

    async def cancelled() -> None:
        call = client(name, server).ainvoke("hello", {"callbacks": [handler]})
        outer = asyncio.create_task(awaited(call))
        await asyncio.to_thread(server.wait_for_requests, 1, 10)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer

    asyncio.run(cancelled())
    [entry] = handler.session.entries()
    assert (entry.usage_certainty, entry.error) == ("estimated", "CancelledError")
    assert handler.session.open_holds == 0
    assert handler.session.health.end_inferred == 1


def test_a_cancelled_tool_is_closed() -> None:
    handler = handler_of()

    async def wait(text: str) -> str:
        """Wait."""
        await asyncio.sleep(30)
        return text

    async def cancelled() -> None:
        tool = StructuredTool.from_function(coroutine=wait)
        running = asyncio.create_task(tool.ainvoke({"text": "x"}, {"callbacks": [handler]}))
        await asyncio.sleep(0.1)
        assert handler.session.open_holds == 1
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancelled())
    [entry] = handler.session.entries()
    assert (entry.kind, entry.model, entry.error, entry.amount) == ("tool", "wait", "CancelledError", 0)
    assert handler.session.open_holds == 0


A_CENT_A_TOKEN = {"*": Price(input=10_000, output=10_000)}


async def in_parallel(model: Any, config: Any) -> None:
    async for _ in RunnableParallel(a=model).astream("hello", config):
        pass


async def first_in_a_task(model: Any, config: Any) -> None:
    stream = model.astream("hello", config)
    await asyncio.create_task(anext(stream))
    async for _ in stream:
        pass


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("read", [in_parallel, first_in_a_task])
def test_a_stream_whose_first_piece_another_task_reads(serve: Any, name: str, read: Any) -> None:
    server = serve(Reply(["word "] * 200, input_tokens=10, output_tokens=200))
    options = {"stream_usage": True} if name == "openai" else {}
    whole = ApeirosHandler(budget=100, prices=A_CENT_A_TOKEN)
    cut = ApeirosHandler(budget=1, prices=A_CENT_A_TOKEN)

    async def both() -> None:
        await read(client(name, server, **options), {"callbacks": [whole]})
        with pytest.raises(BudgetExceeded):
            await read(client(name, server, max_tokens=20, **options), {"callbacks": [cut]})

    asyncio.run(both())
    [entry] = whole.session.entries()
    assert (entry.usage_certainty, entry.usage.output_tokens) == ("reported", 200)
    [entry] = cut.session.entries()
    assert (entry.usage_certainty, cut.session.open_holds) == ("estimated", 0)
    assert cut.session.spent <= Decimal("1.03")


def test_a_stream_that_is_left_inside_a_task_is_one_entry(serve: Any) -> None:
    server = serve(Reply(["word "] * 200))
    handler = handler_of()

    async def leaves() -> None:
        async for i in _numbered(client("openai", server).astream("hello", {"callbacks": [handler]})):
            if i == 20:
                return

    asyncio.run(asyncio.wait_for(leaves(), 20))
    [entry] = handler.session.entries()
    assert 15 <= entry.usage.output_tokens <= 25
    assert handler.session.open_holds == 0


async def _numbered(stream: Any) -> Any:
    i = 0
    async for _ in stream:
        yield i
        i += 1


@pytest.mark.parametrize("name", CLIENTS)
def test_two_handlers_of_one_session_count_an_answer_once(serve: Any, name: str) -> None:
    session = Session(100, prices=A_CENT_A_TOKEN)
    handlers = [ApeirosHandler(session=session), ApeirosHandler(session=session)]
    model = client(name, serve(Reply(["word "] * 100, usage=False)))
    list(model.stream("hello", {"callbacks": handlers}))
    [entry] = session.entries()
    assert 90 <= entry.usage.output_tokens <= 130


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_call_that_was_never_put_together_costs_nothing(serve: Any, how: str) -> None:
    server = serve(HELLO)
    handler = handler_of()
    with pytest.raises(TypeError):
        run(client("openai", server).bind(no_such_option=1), how, "hello", [handler])
    assert (server.request_count, handler.session.entries(), handler.session.spent) == (0, [], 0)


class Wrapper(BaseChatModel):
    """A model around a model."""

    inner: Any

    @property
    def _llm_type(self) -> str:
        return "wrapper"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        handlers = run_manager.handlers
        passed_on = CallbackManager(handlers, handlers, parent_run_id=run_manager.run_id)
        answer = self.inner.invoke(messages, {"callbacks": passed_on})
        return ChatResult(generations=[ChatGeneration(message=answer)])


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_model_around_a_model_is_one_call(serve: Any, how: str) -> None:
    server = serve(HELLO)
    handler = handler_of()
    run(Wrapper(inner=client("openai", server)), how, "hello", [handler])
    [entry] = handler.session.entries()
    assert (entry.model, entry.amount, server.request_count) == ("gpt-4o", 12, 1)
    assert handler.session.open_holds == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_does_not_end_its_parent_s_calls(serve: Any, tmp_path: Any) -> None:
    server = serve(Reply(["word "] * 5, input_tokens=10, output_tokens=5))
    session = Session(1_000, prices=A_DOLLAR_A_TOKEN, ledger=f"sqlite:///{tmp_path / 'ledger.db'}")
    model = client("openai", server, stream_usage=True, max_tokens=20)
    stream = model.stream("hello", {"callbacks": [ApeirosHandler(session=session)]})
    next(stream)
    child = os.fork()
    if not child:
        stream.close()
        os._exit(0 if (session.open_holds, session._account.held.nano) == (0, 0) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(list(stream)) > 0
    session.flush()
    [entry] = session.entries()
    assert (entry.amount, entry.usage_certainty, entry.error) == (15, "reported", None)
    session.ledger.close()


def test_a_structured_answer_that_is_too_long_is_paid_for(serve: Any) -> None:
    server = serve(Reply('{"text": "wo', input_tokens=100, output_tokens=900, finish_reason="length"))
    handler = handler_of()
    model: Any = client("openai", server)
    with pytest.raises(Exception, match="length"):
        model.with_structured_output(Said, method="json_schema").invoke("hello", {"callbacks": [handler]})
    [entry] = handler.session.entries()
    assert (entry.amount, entry.usage_certainty) == (1_000, "reported")


class Said(BaseModel):
    """What was said."""

    text: str


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_a_report_of_nothing_is_no_report(serve: Any, name: str, how: str) -> None:
    zero = {"openai": ("prompt_tokens", "completion_tokens"), "anthropic": ("input_tokens", "output_tokens")}
    server = serve(Reply("word " * 300, usage_body=dict.fromkeys(zero[name], 0)))
    handler = handler_of()
    run(client(name, server, **({"stream_usage": True} if name == "openai" else {})), how, "hi", [handler])
    [entry] = handler.session.entries()
    assert entry.usage_certainty == "estimated"
    assert entry.usage.output_tokens >= 290


def test_a_copy_of_a_handler_has_the_same_budget() -> None:
    handler = handler_of()
    copied = copy.deepcopy({"callbacks": [handler]})
    assert copied["callbacks"][0] is handler
    assert copy.copy(handler.session) is handler.session


def test_a_refusal_in_a_graph_goes_to_another_process() -> None:
    import langgraph.errors

    from langchain_apeiros.aborts import for_graphs

    for refusal in (UnknownPrice("openai", "m"), Unbounded("m", "a file")):
        said = str(refusal)
        bubbling = for_graphs(refusal)
        assert isinstance(bubbling, langgraph.errors.GraphBubbleUp)
        again = pickle.loads(pickle.dumps(bubbling))  # noqa: S301
        assert (type(again).__name__, str(again)) == (type(bubbling).__name__, said)


@pytest.mark.parametrize("name", CLIENTS)
def test_an_end_and_an_error_of_one_typed_stream_are_one_entry(serve: Any, name: str) -> None:
    handler = handler_of()

    async def ends_at_once() -> None:
        model = client(name, serve(HELLO), **({"stream_usage": True} if name == "openai" else {}))
        stream: Any = await model.astream_events("hello", {"callbacks": [handler]}, version="v3")
        await stream.output

    asyncio.run(ends_at_once())
    [entry] = handler.session.entries()
    assert entry.kind == "llm"
    assert handler.session.open_holds == 0
