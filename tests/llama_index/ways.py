"""Every way to have a model called, in one shape: what a caller does, once, and sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from llama_index.core import SummaryIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import Document
from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step
from pydantic import BaseModel

from apeiros_callbacks.testing import Reply, Request, ToolCall

PROMPT = "hello"
WORDS = ["word "] * 60
TEXTS = [f"Text number {i} is about a city." for i in range(5)]


class Word(BaseModel):
    """A word."""

    word: str


@dataclass(frozen=True)
class Way:
    """One way to call.

    `run` takes the model and after how many pieces of a stream to stop; None for all of it.
    """

    run: Callable[..., Any]
    is_async: bool = False
    streams: bool = False
    """The caller reads the pieces as they come."""
    in_pieces: bool = False
    """The answer comes in pieces, whoever reads them."""
    in_all: int = 1
    """Calls of a run that goes well."""
    structured: bool = False
    embeds: bool = False
    cached: bool = False
    """What was embedded before is not sent again."""


def answer(request: Request, reply: Reply) -> Reply:
    """A model that calls its tool once, fills in what it is asked to fill in, and then answers."""
    body = request.body
    said = str(body.get("messages") or body.get("input"))
    tools = str(body.get("tools") or "")
    if "'Word'" in tools:
        return replace(reply, text="", tool_calls=[ToolCall("Word", {"word": reply.full_text})])
    if "json_schema" in str(body):
        pieces = [reply.text] if isinstance(reply.text, str) else reply.text
        return replace(reply, text=['{"word": "', *pieces, '"}'])
    if "Thought:" in said:  # ReActAgent
        pieces = [reply.text] if isinstance(reply.text, str) else reply.text
        return replace(
            reply, text=["Thought: I can answer without using any more tools.\n", "Answer: ", *pieces]
        )
    asked = any(word in said for word in ("'tool'", "'tool_result'", "function_call_output"))
    if tools and not asked:
        called = ToolCall("ask", {"question": "why"})
        if "'handoff'" in tools:
            called = ToolCall("handoff", {"to_agent": "second", "reason": "why"})
        return Reply("", [called], input_tokens=10, output_tokens=5)
    return reply


def _taken(stream: Any, stop: int | None) -> list[Any]:
    taken = []
    for piece in stream:
        taken.append(piece)
        if stop is not None and len(taken) >= stop:
            break
    return taken


async def _ataken(stream: Any, stop: int | None) -> list[Any]:
    taken = []
    async for piece in stream:
        taken.append(piece)
        if stop is not None and len(taken) >= stop:
            break
    close = getattr(stream, "aclose", None)
    if stop is not None and close is not None:
        await close()
    return taken


def messages() -> list[ChatMessage]:
    return [ChatMessage(role="user", content=PROMPT)]


def index() -> Any:
    return SummaryIndex.from_documents([Document(text="Paris is a city.")])


def ask(question: str) -> str:
    """Ask somebody."""
    return question


class Flow(Workflow):
    def __init__(self, model: Any, asked: list[ChatMessage] | None = None) -> None:
        super().__init__(timeout=30)
        self._model = model
        self._asked = asked or messages()

    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=str(await self._model.achat(self._asked)))


def template() -> PromptTemplate:
    return PromptTemplate("Say a word about {topic}.")


async def _achat(model: Any, stop: int | None) -> Any:
    return await model.achat(messages())


async def _astream_chat(model: Any, stop: int | None) -> Any:
    return await _ataken(await model.astream_chat(messages()), stop)


async def _acomplete(model: Any, stop: int | None) -> Any:
    return await model.acomplete(PROMPT)


async def _astream_complete(model: Any, stop: int | None) -> Any:
    return await _ataken(await model.astream_complete(PROMPT), stop)


async def _apredict(model: Any, stop: int | None) -> Any:
    return await model.apredict(template(), topic="x")


async def _astructured(model: Any, stop: int | None) -> Any:
    return await model.astructured_predict(Word, template(), topic="x")


async def _astream_structured(model: Any, stop: int | None) -> Any:
    return await _ataken(await model.astream_structured_predict(Word, template(), topic="x"), stop)


async def _aquery(model: Any, stop: int | None) -> Any:
    return await index().as_query_engine(llm=model).aquery(PROMPT)


async def _aquery_stream(model: Any, stop: int | None) -> Any:
    response = await index().as_query_engine(llm=model, streaming=True).aquery(PROMPT)
    return await _ataken(response.async_response_gen(), stop)


async def _achat_engine(model: Any, stop: int | None) -> Any:
    return await SimpleChatEngine.from_defaults(llm=model).achat(PROMPT)


async def _achat_engine_stream(model: Any, stop: int | None) -> Any:
    response = await SimpleChatEngine.from_defaults(llm=model).astream_chat(PROMPT)
    return await _ataken(response.async_response_gen(), stop)


async def _function_agent(model: Any, stop: int | None) -> Any:
    return await FunctionAgent(name="first", tools=[ask], llm=model).run(PROMPT)


async def _plain_function_agent(model: Any, stop: int | None) -> Any:
    return await FunctionAgent(name="first", tools=[ask], llm=model, streaming=False).run(PROMPT)


async def _react_agent(model: Any, stop: int | None) -> Any:
    return await ReActAgent(name="first", tools=[ask], llm=model).run(PROMPT)


async def _agent_workflow(model: Any, stop: int | None) -> Any:
    first = FunctionAgent(name="first", description="First.", tools=[ask], llm=model)
    second = FunctionAgent(name="second", description="Second.", tools=[ask], llm=model)
    return await AgentWorkflow(agents=[first, second], root_agent="first").run(PROMPT)


async def _workflow(model: Any, stop: int | None) -> Any:
    return await Flow(model).run()


def _query_stream(model: Any, stop: int | None) -> Any:
    response = index().as_query_engine(llm=model, streaming=True).query(PROMPT)
    return _taken(response.response_gen, stop)


def _chat_engine_stream(model: Any, stop: int | None) -> Any:
    response = SimpleChatEngine.from_defaults(llm=model).stream_chat(PROMPT)
    return _taken(response.response_gen, stop)


WAYS: dict[str, Way] = {
    "chat": Way(lambda model, stop: model.chat(messages())),
    "achat": Way(_achat, is_async=True),
    "stream_chat": Way(lambda model, stop: _taken(model.stream_chat(messages()), stop), streams=True),
    "astream_chat": Way(_astream_chat, is_async=True, streams=True),
    "complete": Way(lambda model, stop: model.complete(PROMPT)),
    "acomplete": Way(_acomplete, is_async=True),
    "stream_complete": Way(lambda model, stop: _taken(model.stream_complete(PROMPT), stop), streams=True),
    "astream_complete": Way(_astream_complete, is_async=True, streams=True),
    "predict": Way(lambda model, stop: model.predict(template(), topic="x")),
    "apredict": Way(_apredict, is_async=True),
    "structured_predict": Way(
        lambda model, stop: model.structured_predict(Word, template(), topic="x"), structured=True
    ),
    "astructured_predict": Way(_astructured, is_async=True, structured=True),
    "stream_structured_predict": Way(
        lambda model, stop: _taken(model.stream_structured_predict(Word, template(), topic="x"), stop),
        streams=True,
        structured=True,
    ),
    "astream_structured_predict": Way(_astream_structured, is_async=True, streams=True, structured=True),
    "query engine": Way(lambda model, stop: index().as_query_engine(llm=model).query(PROMPT)),
    "query engine async": Way(_aquery, is_async=True),
    "query engine stream": Way(_query_stream, streams=True),
    "query engine async stream": Way(_aquery_stream, is_async=True, streams=True),
    "chat engine": Way(lambda model, stop: SimpleChatEngine.from_defaults(llm=model).chat(PROMPT)),
    "chat engine async": Way(_achat_engine, is_async=True),
    "chat engine stream": Way(_chat_engine_stream, in_pieces=True),
    "chat engine async stream": Way(_achat_engine_stream, is_async=True, in_pieces=True),
    "FunctionAgent": Way(_function_agent, is_async=True, in_pieces=True, in_all=2),
    "FunctionAgent, no streaming": Way(_plain_function_agent, is_async=True, in_all=2),
    "ReActAgent": Way(_react_agent, is_async=True, in_pieces=True),
    "AgentWorkflow": Way(_agent_workflow, is_async=True, in_pieces=True, in_all=2),
    "workflow": Way(_workflow, is_async=True),
}


async def _query(model: Any, stop: int | None) -> Any:
    return await model.aget_query_embedding(TEXTS[0])


async def _text(model: Any, stop: int | None) -> Any:
    return await model.aget_text_embedding(TEXTS[0])


async def _batch(model: Any, stop: int | None) -> Any:
    return await model.aget_text_embedding_batch(TEXTS)


async def _text_twice(model: Any, stop: int | None) -> Any:
    return [await _text(model, stop), await _text(model, stop)]


async def _batch_twice(model: Any, stop: int | None) -> Any:
    return [await _batch(model, stop), await _batch(model, stop)]


EMBEDDINGS: dict[str, Way] = {
    "embed query": Way(lambda model, stop: model.get_query_embedding(TEXTS[0]), embeds=True),
    "embed text": Way(lambda model, stop: model.get_text_embedding(TEXTS[0]), embeds=True),
    "embed batch": Way(lambda model, stop: model.get_text_embedding_batch(TEXTS), embeds=True, in_all=3),
    "embed query async": Way(_query, is_async=True, embeds=True),
    "embed text async": Way(_text, is_async=True, embeds=True),
    "embed batch async": Way(_batch, is_async=True, embeds=True, in_all=3),
    "embed text cached": Way(
        lambda model, stop: [model.get_text_embedding(TEXTS[0]) for _ in range(2)], embeds=True, cached=True
    ),
    "embed batch cached": Way(
        lambda model, stop: [model.get_text_embedding_batch(TEXTS) for _ in range(2)],
        embeds=True,
        cached=True,
        in_all=3,
    ),
    "embed text async cached": Way(_text_twice, is_async=True, embeds=True, cached=True),
    "embed batch async cached": Way(_batch_twice, is_async=True, embeds=True, cached=True, in_all=3),
}
"""Two texts are sent at once, so that a batch is three requests."""
