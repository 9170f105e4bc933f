"""What people put a model call into, and what each may do about an exception: try again, or hide it.

In each the first call of the run is answered and the second is the one that a test has refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import (
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    ToolErrorMiddleware,
    ToolRetryMiddleware,
)
from langchain.agents.structured_output import ToolStrategy
from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableParallel
from langchain_core.tools import StructuredTool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import RetryPolicy
from pydantic import BaseModel

from apeiros_callbacks.testing import Reply, Request, ToolCall

PROMPT = "hello"
MESSAGES = {"messages": [("user", PROMPT)]}
AT_ONCE: Any = {"initial_delay": 0, "jitter": False}

# Calling


def invoke(runnable: Any, given: Any, config: Any) -> Any:
    return runnable.invoke(given, config)


def stream(runnable: Any, given: Any, config: Any) -> Any:
    return list(runnable.stream(given, config))


def ainvoke(runnable: Any, given: Any, config: Any) -> Any:
    return asyncio.run(runnable.ainvoke(given, config))


def astream(runnable: Any, given: Any, config: Any) -> Any:
    async def all_of_it() -> Any:
        return [chunk async for chunk in runnable.astream(given, config)]

    return asyncio.run(all_of_it())


def batch(runnable: Any, given: Any, config: Any) -> Any:
    return runnable.batch([given], config)


def abatch(runnable: Any, given: Any, config: Any) -> Any:
    return asyncio.run(runnable.abatch([given], config))


HOWS: list[Callable[[Any, Any, Any], Any]] = [invoke, ainvoke, stream, astream]


def answer(request: Request) -> Reply:
    """Have the first tool called once, where there are tools; say a word otherwise."""
    tools = request.body.get("tools")
    if tools and not any(message["role"] == "tool" for message in request.body["messages"]):
        return Reply(tool_calls=[ToolCall(tools[0]["function"]["name"], {"question": "why?"})])
    return Reply("done")


# The tools and nodes that they are made of


def look_up(question: str) -> str:
    """Look something up."""
    return question


def consulting(called: Runnable[Any, Any], given: Any = PROMPT, name: str = "consult") -> StructuredTool:
    """A tool that passes its config on to something that calls a model."""

    def consult(question: str, config: RunnableConfig) -> str:
        """Ask somebody else."""
        return str(called.invoke(given, config))

    async def aconsult(question: str, config: RunnableConfig) -> str:
        return str(await called.ainvoke(given, config))

    return StructuredTool.from_function(consult, aconsult, name)


def asking(model: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """A node that asks a model."""
    return RunnableLambda(lambda state: state["messages"]) | model | (lambda said: {"messages": [said]})


def graph_of(first: BaseChatModel, second: Any, **options: Any) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("first", asking(first))
    graph.add_node("second", second, **options)
    graph.add_edge(START, "first")
    graph.add_edge("first", "second")
    graph.add_edge("second", END)
    return graph.compile()


def tool_graph(model: BaseChatModel, tool: StructuredTool, handle_tool_errors: Any) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("model", asking(model.bind_tools([tool])))
    graph.add_node("tools", ToolNode([tool], handle_tool_errors=handle_tool_errors))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile()


def after_one(model: BaseChatModel, rest: Any) -> Any:
    return model | StrOutputParser() | rest


def quick(retry_on: Any = None) -> RetryPolicy:
    chosen = {} if retry_on is None else {"retry_on": retry_on}
    return RetryPolicy(initial_interval=0.001, jitter=False, max_attempts=3, **chosen)


# The containers


def bare_agent(model: BaseChatModel, twin: BaseChatModel) -> Any:
    return create_agent(model, [look_up])


def with_retry(model: BaseChatModel, twin: BaseChatModel) -> Any:
    return after_one(model, model.with_retry(stop_after_attempt=3, wait_exponential_jitter=False))


def with_fallbacks(model: BaseChatModel, twin: BaseChatModel) -> Any:
    return after_one(model, model.with_fallbacks([twin]))


def retry_policy(model: BaseChatModel, twin: BaseChatModel) -> Any:
    return graph_of(model, asking(model), retry_policy=quick())


def retry_policy_for_all(model: BaseChatModel, twin: BaseChatModel) -> Any:
    return graph_of(model, asking(model), retry_policy=quick(Exception))


def model_retry(model: BaseChatModel, twin: BaseChatModel) -> Any:
    return create_agent(model, [look_up], middleware=[ModelRetryMiddleware(**AT_ONCE)])


def model_fallback(model: BaseChatModel, twin: BaseChatModel) -> Any:
    return create_agent(model, [look_up], middleware=[ModelFallbackMiddleware(twin)])


def tool_retry(model: BaseChatModel, twin: BaseChatModel) -> Any:
    return create_agent(model, [consulting(twin)], middleware=[ToolRetryMiddleware(**AT_ONCE)])


def tool_error(model: BaseChatModel, twin: BaseChatModel) -> Any:
    hides = ToolErrorMiddleware(lambda error, request: f"failed: {type(error).__name__}")
    return create_agent(model, [consulting(twin)], middleware=[hides])


def tool_node(model: BaseChatModel, twin: BaseChatModel) -> Any:
    return tool_graph(model, consulting(twin), True)


def nested_in_a_tool(model: BaseChatModel, twin: BaseChatModel) -> Any:
    return create_agent(model, [consulting(twin)])


def subagent_in_a_tool(model: BaseChatModel, twin: BaseChatModel) -> Any:
    return create_agent(model, [consulting(create_agent(twin, [], name="sub"), MESSAGES)])


def subgraph_as_node(model: BaseChatModel, twin: BaseChatModel) -> Any:
    inner = StateGraph(MessagesState)
    inner.add_node("inside", asking(twin))
    inner.add_edge(START, "inside")
    return graph_of(model, inner.compile())


def parallel(model: BaseChatModel, twin: BaseChatModel) -> Any:
    return after_one(model, RunnableParallel(left=model, right=twin))


def mapped(model: BaseChatModel, twin: BaseChatModel) -> Any:
    return after_one(model, RunnableLambda(lambda said: [said, "again"]) | model.map())


def mapped_to_values(model: BaseChatModel, twin: BaseChatModel) -> Any:
    def each(said: str) -> str:
        return ", ".join(map(name, model.batch([said, "again"], return_exceptions=True)))

    async def aeach(said: str) -> str:
        return ", ".join(map(name, await model.abatch([said, "again"], return_exceptions=True)))

    return after_one(model, RunnableLambda(each, aeach))


def name(value: object) -> str:
    return type(value).__name__


def stubborn(model: BaseChatModel, twin: BaseChatModel) -> Any:
    chain = ChatPromptTemplate.from_messages([("user", "{text}")]) | model

    def tries(said: str) -> str:
        for _ in range(3):
            try:
                return chain.invoke({"text": said}).text
            except Exception:  # noqa: BLE001, S112 - as people write it
                continue
        return "gave up"

    async def atries(said: str) -> str:
        for _ in range(3):
            try:
                return (await chain.ainvoke({"text": said})).text
            except Exception:  # noqa: BLE001, S112
                continue
        return "gave up"

    return after_one(model, RunnableLambda(tries, atries))


class Answer(BaseModel):
    """An answer."""

    question: str


def structured_agent(model: BaseChatModel, twin: BaseChatModel) -> Any:
    return create_agent(model, [look_up], response_format=ToolStrategy(Answer))


# The table

REFUSED = {"graph": "BudgetExceeded", "node": "BudgetExceeded"}
BOTH = ("graph", "node")
NODE = ("node",)
NONE = ()


@dataclass(frozen=True)
class Container:
    """A way to call a model, and what comes of a refusal in it.

    What it does depends on what a refusal ends, ``abort="graph"`` or ``abort="node"``.
    """

    made: Callable[[BaseChatModel, BaseChatModel], Any]
    """Of a model and another one that is as dear."""
    given: Any
    tries_again: tuple[str, ...]
    """With which of the two it calls a model again after the refusal."""
    seen: Mapping[str, str] = field(default_factory=REFUSED.copy)
    """What its caller sees: the refusal, or what the container makes of it by design."""


CONTAINERS = [
    Container(bare_agent, MESSAGES, NONE),
    Container(with_retry, PROMPT, BOTH),
    Container(with_fallbacks, PROMPT, BOTH),
    Container(retry_policy, MESSAGES, NODE),
    Container(retry_policy_for_all, MESSAGES, NODE),
    Container(model_retry, MESSAGES, NODE, {**REFUSED, "node": "Model call failed"}),
    Container(model_fallback, MESSAGES, NODE),
    Container(tool_retry, MESSAGES, NODE),
    Container(tool_error, MESSAGES, NODE),
    Container(tool_node, MESSAGES, NODE),
    Container(nested_in_a_tool, MESSAGES, NONE),
    Container(subagent_in_a_tool, MESSAGES, NONE),
    Container(subgraph_as_node, MESSAGES, NONE),
    Container(structured_agent, MESSAGES, NONE),
    Container(parallel, PROMPT, BOTH),
    Container(mapped, PROMPT, BOTH),
    # By design these two hide what they catch, whatever it is.
    Container(mapped_to_values, PROMPT, BOTH, dict.fromkeys(BOTH, "BudgetExceeded, BudgetExceeded")),
    Container(stubborn, PROMPT, BOTH, dict.fromkeys(BOTH, "gave up")),
]
