"""`ApeirosMiddleware`: what a callback cannot do for an agent: another model, a shorter answer, an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeAlias, get_args

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.prebuilt.tool_node import ToolCallRequest

from apeiros_callbacks.call import Call
from apeiros_callbacks.checked import by_name, flag, instance, seconds
from apeiros_callbacks.errors import BudgetExceeded, ConfigError, ModelDowngrade
from apeiros_callbacks.routing import Ladder
from langchain_apeiros.handler import ApeirosHandler
from langchain_apeiros.routing import marked, rung_models, takes_tools
from langchain_apeiros.runs import agent_of, metadata_around

__all__ = ["ApeirosMiddleware", "ExitBehavior"]

ExitBehavior: TypeAlias = Literal["error", "end"]
"""What a refusal does: ``"error"`` raises `BudgetExceeded`; ``"end"`` finishes the agent with a message."""

_LEAST_OUTPUT = 16
"""Tokens; an answer that must be shorter is refused instead."""
_ANY_MODEL_WRITES = 4096
"""Tokens that every chat model in use can be asked for. A larger affordable maximum is not set."""


class ApeirosMiddleware(AgentMiddleware[Any, Any, Any]):
    """Keeps an agent within a budget by taking a cheaper model, or a shorter answer, before it ends it.

    It works beside the handler: the handler decides and records, also what tools and subagents call. It is
    attached to the agent's own model calls; put it in the run's callbacks too, for all the rest.

    Args:
        handler: whose budget it is.
        ladder: the models to step down, or one ladder for each agent by its name, ``"*"`` for any other.
            Without one the agent's own model is all there is.
        exit_behavior: see `ExitBehavior`.
        clamp: ask for no more tokens than the budget can pay, where that is less than the call may write.
        wait: seconds to wait for money that other calls hold, before a call is refused.

    Raises:
        ConfigError: a setting is not valid.

    Example:
        >>> middleware = ApeirosMiddleware(handler, ladder=Ladder(dear, cheap))     # doctest: +SKIP
        >>> agent = create_agent(dear, tools, middleware=[middleware])              # doctest: +SKIP
    """

    def __init__(
        self,
        handler: ApeirosHandler,
        *,
        ladder: Ladder[Any] | Mapping[str, Ladder[Any]] | None = None,
        exit_behavior: ExitBehavior = "error",
        clamp: bool = True,
        wait: float = 0.0,
    ) -> None:
        super().__init__()
        if exit_behavior not in get_args(ExitBehavior):
            raise ConfigError(f'exit_behavior must be "error" or "end", got {exit_behavior!r}')
        by_agent = {"*": ladder} if isinstance(ladder, Ladder) else ladder
        ladders = by_name(by_agent, "ladder", '{"*": Ladder(dear, cheap)}')
        for agent, models in ladders.items():
            instance(models, Ladder, f"ladder[{agent!r}]")
        self._handler = instance(handler, ApeirosHandler, "handler")
        self._rungs = {agent: rung_models(models, handler) for agent, models in ladders.items()}
        self._ends = exit_behavior == "end"
        self._clamp = flag(clamp, "clamp")
        self._wait = seconds(wait, "wait")

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | AIMessage:
        """Make the agent's call on the first rung that the budget admits."""
        for model in self._models(request):
            attempt, call = self._attempt(request, model)
            try:
                with self._handler.session.reservation(call, self._wait) as kept:
                    for pause in kept.pauses():
                        time.sleep(pause)
                    return handler(attempt)
            except ModelDowngrade:
                continue
            except BudgetExceeded as stop:
                return self._end(stop)
        raise AssertionError("the last rung is never left")

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any] | AIMessage:
        """The same, on an event loop."""
        for model in self._models(request):
            attempt, call = self._attempt(request, model)
            try:
                with self._handler.session.reservation(call, self._wait) as kept:
                    for pause in kept.pauses():
                        await asyncio.sleep(pause)
                    return await handler(attempt)
            except ModelDowngrade:
                continue
            except BudgetExceeded as stop:
                return self._end(stop)
        raise AssertionError("the last rung is never left")

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        """Tell the agent of a refusal inside a tool, where the agent is to end by itself."""
        try:
            return handler(request)
        except BudgetExceeded as stop:
            return self._told(request, stop)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        """The same, on an event loop."""
        try:
            return await handler(request)
        except BudgetExceeded as stop:
            return self._told(request, stop)

    def _models(self, request: ModelRequest[Any]) -> list[BaseChatModel]:
        agent = agent_of(metadata_around())
        rungs = self._rungs.get(agent or "*") or self._rungs.get("*")
        if rungs and request.tools:
            rungs = [model for model in rungs if takes_tools(model)]
        return rungs or [marked(request.model, self._handler, {})]

    def _attempt(self, request: ModelRequest[Any], model: BaseChatModel) -> tuple[ModelRequest[Any], Call]:
        settings = request.model_settings
        bound = dict(settings)
        if request.tools:
            bound["tools"] = [convert_to_openai_tool(tool) for tool in request.tools]
        system = [] if request.system_message is None else [request.system_message]
        call = self._handler.call_of(model, [*system, *request.messages], metadata_around(), **bound)
        if self._clamp:
            affordable = self._handler.session.affordable_output(call)
            most = call.max_output_tokens or _ANY_MODEL_WRITES + 1
            if affordable is not None and _LEAST_OUTPUT <= affordable < most:
                settings = {**settings, _maximum(model): affordable}
        return request.override(model=model, model_settings=settings), call

    def _end(self, stop: BudgetExceeded) -> AIMessage:
        if not self._ends:
            raise stop
        return AIMessage(f"The budget is used up: {stop}")

    def _told(self, request: ToolCallRequest, stop: BudgetExceeded) -> ToolMessage:
        if not self._ends:
            raise stop
        said = f"The budget is used up: {stop}"
        call = request.tool_call
        return ToolMessage(said, tool_call_id=call["id"], name=call["name"], status="error")


def _maximum(model: BaseChatModel) -> str:
    """What the model calls the most that it may write."""
    fields = type(model).model_fields
    return next((name for name in _MAXIMA if name in fields), "max_tokens")


_MAXIMA = ("max_tokens", "max_output_tokens", "num_predict")
