"""What a handler costs, beside a no-op and LangChain's own counter, in one run.

    python tests/benchmarks/overhead.py

The model answers at once from memory, so that what is left is LangChain and the handler. No two calls send
the same: a repeated prompt would be a finding. Each figure is the best of several rounds, in which the
handlers take turns; the second column is what it adds to the no-op, the third the same as a share of it.
Nothing is asserted: machines differ, and the ratios are what counts.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_apeiros import ApeirosHandler

USAGE = {"input_tokens": 1200, "output_tokens": 40, "total_tokens": 1240}
CHUNKS = 200


class Instant(BaseChatModel):
    """Answers from memory as gpt-4o would, after `seconds`."""

    seconds: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {"ls_provider": "openai", "ls_model_name": "gpt-4o", "ls_model_type": "chat"}

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("ok", usage_metadata=dict(USAGE)))])

    async def _agenerate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return self._generate(messages)

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for _ in range(CHUNKS):
            chunk = ChatGenerationChunk(message=AIMessageChunk(" word"))
            if run_manager:
                run_manager.on_llm_new_token(" word", chunk=chunk)
            yield chunk

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for _ in range(CHUNKS):
            chunk = ChatGenerationChunk(message=AIMessageChunk(" word"))
            if run_manager:
                await run_manager.on_llm_new_token(" word", chunk=chunk)
            yield chunk


class NoOp(BaseCallbackHandler):
    """Does nothing, in the caller's own thread and task, as ours does its work.

    It takes chat messages: for a handler that does not, LangChain makes one text of all messages, which
    takes longer the longer they are. `UsageMetadataCallbackHandler` is one of those.
    """

    run_inline = True

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        pass


def history(messages: int) -> list[BaseMessage]:
    """A conversation of an agent: a question, a tool call, the tool's result, an answer, and so on."""
    return [_message(i, f"message {i} " + "some words to read " * 20) for i in range(messages)]


def _message(i: int, words: str) -> BaseMessage:
    match i % 4:
        case 0:
            return HumanMessage(words)
        case 1:
            call = {"name": "search", "args": {"query": words}, "id": f"call_{i}"}
            return AIMessage("", tool_calls=[call], additional_kwargs={"refusal": None})
        case 2:
            return ToolMessage(words, tool_call_id=f"call_{i - 1}")
        case _:
            return AIMessage(words, additional_kwargs={"refusal": None})


_numbers = count()


def asking(messages: list[BaseMessage], times: int) -> list[list[BaseMessage]]:
    """So many prompts: the same messages with a new question each."""
    return [[*messages, HumanMessage(f"question {next(_numbers)}")] for _ in range(times)]


Handlers = dict[str, Callable[[], BaseCallbackHandler]]


def handlers(folder: Path) -> Handlers:
    return {
        "no-op": NoOp,
        "UsageMetadata": UsageMetadataCallbackHandler,
        "ours, memory": lambda: ApeirosHandler(budget=1_000_000),
        "ours, SQLite": lambda: ApeirosHandler(
            budget=1_000_000, ledger=f"sqlite:///{folder / f'{time.monotonic_ns()}.db'}"
        ),
    }


def best(calls: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    found = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            found[name] = min(found[name], call())
    return found


def show(title: str, micros: dict[str, float]) -> None:
    base = micros["no-op"]
    print(f"\n{title}")
    for name, value in micros.items():
        print(f"  {name:<16}{value:>10.1f} µs{value - base:>+10.1f} µs{(value - base) / base:>+8.0%}")


def per_invoke(
    make: Callable[[], BaseCallbackHandler], messages: list[BaseMessage], calls: int
) -> Callable[[], float]:
    model, config = Instant(), {"callbacks": [make()]}
    model.invoke(messages, config)

    def measure() -> float:
        prompts = asking(messages, calls)
        start = time.perf_counter()
        for prompt in prompts:
            model.invoke(prompt, config)
        return (time.perf_counter() - start) / calls * 1e6

    return measure


def per_ainvoke(
    make: Callable[[], BaseCallbackHandler], messages: list[BaseMessage], calls: int
) -> Callable[[], float]:
    model, config = Instant(), {"callbacks": [make()]}
    model.invoke(messages, config)

    async def many() -> float:
        prompts = asking(messages, calls)
        start = time.perf_counter()
        for prompt in prompts:
            await model.ainvoke(prompt, config)
        return (time.perf_counter() - start) / calls * 1e6

    return lambda: asyncio.run(many())


def per_chunk(make: Callable[[], BaseCallbackHandler], streams: int) -> Callable[[], float]:
    model, config = Instant(), {"callbacks": [make()]}
    model.invoke("hello", config)

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(streams):
            for _ in model.stream("hello", config):
                pass
        return (time.perf_counter() - start) / (streams * CHUNKS) * 1e6

    return measure


def growing(make: Callable[[], BaseCallbackHandler], length: int, calls: int) -> Callable[[], float]:
    """A conversation of some length that grows by one message a call."""

    def measure() -> float:
        model, config = Instant(), {"callbacks": [make()]}
        messages = history(length)
        model.invoke(messages, config)  # counts them all, once
        start = time.perf_counter()
        for i in range(calls):
            messages = [*messages, HumanMessage(f"one more, {i}")]
            model.invoke(messages, config)
        return (time.perf_counter() - start) / calls * 1e6

    return measure


async def _agents(handler: BaseCallbackHandler, agents: int, calls: int) -> tuple[float, float]:
    """Seconds for some agents at once, each with calls of half a second, and the loop's worst lag."""
    model = Instant(seconds=0.5)
    lag = 0.0
    done = False

    async def watch() -> None:
        nonlocal lag
        while not done:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            lag = max(lag, time.perf_counter() - before - 0.005)

    async def agent(number: int) -> None:
        messages = history(4)
        for i in range(calls):
            config = {"callbacks": [handler], "metadata": {"agent": f"agent {number}"}}
            await model.ainvoke([*messages, HumanMessage(str(i))], config)

    watcher = asyncio.create_task(watch())
    start = time.perf_counter()
    await asyncio.gather(*(agent(i) for i in range(agents)))
    seconds = time.perf_counter() - start
    done = True
    await watcher
    return seconds, lag


CORE = "from langchain_core.language_models import BaseChatModel"
"""What every program with a chat model imports of langchain_core, which by itself imports next to nothing."""


def import_time(code: str) -> float:
    timed = f"import time; t=time.perf_counter(); {code}; print(time.perf_counter()-t)"
    run = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True)
    return float(run.stdout) * 1000


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--calls", type=int, default=300)
    chosen = options.parse_args()
    rounds, calls = chosen.rounds, chosen.calls
    with tempfile.TemporaryDirectory() as folder:
        made = handlers(Path(folder))
        ten = history(10)
        show("invoke, 10 messages", best({n: per_invoke(m, ten, calls) for n, m in made.items()}, rounds))
        show("ainvoke, 10 messages", best({n: per_ainvoke(m, ten, calls) for n, m in made.items()}, rounds))
        show("stream, per chunk", best({n: per_chunk(m, 10) for n, m in made.items()}, rounds))
        for length in (10, 200, 1000):
            rows = {n: growing(m, length, max(10, calls * 10 // (length + 10))) for n, m in made.items()}
            show(f"invoke, a conversation of {length} messages that grows by one", best(rows, min(3, rounds)))
        print("\n200 agents at once, 3 calls of 0.5 s each")
        for name, make in made.items():
            seconds, lag = asyncio.run(_agents(make(), 200, 3))
            print(f"  {name:<16}{seconds:>8.2f} s, worst lag of the loop {lag * 1000:>6.1f} ms")
        imported = {"core": CORE, "ours": f"{CORE}; import langchain_apeiros"}
        took = best({name: partial(import_time, code) for name, code in imported.items()}, rounds)
        core, both = took.values()
        print(f"\nimport: langchain_core {core:.0f} ms, with langchain_apeiros {both - core:+.0f} ms")


if __name__ == "__main__":
    main()
