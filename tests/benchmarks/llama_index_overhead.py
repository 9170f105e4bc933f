"""What the handler costs in LlamaIndex, beside none and LlamaIndex's own counter, in one run.

    .venv-li/bin/python tests/benchmarks/llama_index_overhead.py

The model answers at once from memory, so that what is left is LlamaIndex and the handler. Each figure is the
best of several rounds, in which the rows take turns; the second column is what it adds to no handler. Nothing
is asserted: machines differ, and the ratios are what counts.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from itertools import count
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import BaseTool, FunctionTool

from llama_index.callbacks.apeiros import ApeirosHandler, BudgetedLLM

CHUNKS = 200
USAGE = {"prompt_tokens": 1200, "completion_tokens": 40, "total_tokens": 1240}
NO_HANDLER = "no handler"


def look_up(word: str, places: list[str], most: int = 10) -> str:
    """Look a word up."""
    return word


TOOLS = [FunctionTool.from_defaults(look_up, name=f"look_up_{i}") for i in range(10)]
_numbers = count()


class Instant(CustomLLM, FunctionCallingLLM):
    """Answers from memory as gpt-4o would."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="gpt-4o", is_function_calling_model=True)

    def _prepare_chat_with_tools(
        self, tools: Sequence[BaseTool], chat_history: list[ChatMessage] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        described = [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools]
        return {"messages": chat_history, "tools": described}

    def get_tool_calls_from_response(self, *args: Any, **kwargs: Any) -> list[ToolSelection]:
        return []

    @classmethod
    def class_name(cls) -> str:
        return "openai_llm"

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return _answer()

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return _answer()

    @llm_chat_callback()
    def stream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> Generator[ChatResponse, None, None]:
        def gen() -> Generator[ChatResponse, None, None]:
            for _ in range(CHUNKS):
                yield _answer(" word")

        return gen()

    @llm_chat_callback()
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> AsyncGenerator[ChatResponse, None]:
        async def gen() -> AsyncGenerator[ChatResponse, None]:
            for _ in range(CHUNKS):
                yield _answer(" word")

        return gen()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text="ok")

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Generator[CompletionResponse, None, None]:
        raise NotImplementedError


def _answer(delta: str | None = None) -> ChatResponse:
    said = ChatMessage(role="assistant", content="ok")
    return ChatResponse(message=said, delta=delta, raw=None, additional_kwargs={} if delta else dict(USAGE))


def models() -> dict[str, Callable[[], Any]]:
    # Each is made anew for each measure, so that no handler of another row is alive beside it.
    return {
        NO_HANDLER: Instant,
        "TokenCounting": lambda: Instant(callback_manager=CallbackManager([TokenCountingHandler()])),
        "ours": lambda: Instant(callback_manager=CallbackManager([ApeirosHandler(budget=1_000_000)])),
        "ours, wrapper": lambda: BudgetedLLM(Instant(), budget=1_000_000, clamp=False),
        "ours, clamping": lambda: BudgetedLLM(Instant(), budget=1_000_000),
    }


def asking(length: int) -> list[ChatMessage]:
    """A conversation with a new question at its end: a repeated prompt would be a finding."""
    words = "some words to read " * 20
    history = [ChatMessage(role="user", content=f"message {i} {words}") for i in range(length)]
    return [*history, ChatMessage(role="user", content=f"question {next(_numbers)}")]


def per_chat(model: Any, length: int, calls: int) -> float:
    model.chat(asking(length))
    prompts = [asking(length) for _ in range(calls)]
    start = time.perf_counter()
    for prompt in prompts:
        model.chat(prompt)
    return (time.perf_counter() - start) / calls * 1e6


def per_agent_step(model: Any, length: int, calls: int) -> float:
    model.chat_with_tools(TOOLS, chat_history=asking(length))
    prompts = [asking(length) for _ in range(calls)]
    start = time.perf_counter()
    for prompt in prompts:
        model.chat_with_tools(TOOLS, chat_history=prompt)
    return (time.perf_counter() - start) / calls * 1e6


def per_achat(model: Any, length: int, calls: int) -> float:
    async def many() -> float:
        prompts = [asking(length) for _ in range(calls)]
        start = time.perf_counter()
        for prompt in prompts:
            await model.achat(prompt)
        return (time.perf_counter() - start) / calls * 1e6

    model.chat(asking(length))
    return asyncio.run(many())


def per_chunk(model: Any, length: int, calls: int) -> float:
    model.chat(asking(length))
    streams = max(1, calls // 20)
    start = time.perf_counter()
    for _ in range(streams):
        for _ in model.stream_chat(asking(length)):
            pass
    return (time.perf_counter() - start) / (streams * CHUNKS) * 1e6


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--calls", type=int, default=300)
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    for title, measure, length in (
        ("chat, one message", per_chat, 0),
        ("chat, 100 messages", per_chat, 99),
        ("achat, one message", per_achat, 0),
        ("chat with ten tools, 10 messages", per_agent_step, 9),
        ("a streamed chunk", per_chunk, 0),
    ):
        rows = models()
        found = dict.fromkeys(rows, float("inf"))
        for _ in range(given.rounds):
            for name, make in rows.items():
                found[name] = min(found[name], measure(make(), length, given.calls))
        print(f"\n{title}")
        base = found[NO_HANDLER]
        for name, value in found.items():
            print(f"  {name:<16}{value:>10.1f} µs{value - base:>+10.1f} µs{(value - base) / base:>+8.0%}")


if __name__ == "__main__":
    main()
