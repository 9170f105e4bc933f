"""`BudgetedLLM`: what a callback cannot do: cut a stream, take another model, ask for a shorter answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
)
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import BaseTool
from pydantic import PrivateAttr, SerializeAsAny

from apeiros_callbacks import Session
from apeiros_callbacks.checked import flag, seconds
from apeiros_callbacks.reported.plain import text
from apeiros_callbacks.routing import Ladder
from llama_index.callbacks.apeiros.attempt import PLACE, Attempt
from llama_index.callbacks.apeiros.calls import calls
from llama_index.callbacks.apeiros.delegates import with_tools
from llama_index.callbacks.apeiros.handler import ApeirosHandler
from llama_index.callbacks.apeiros.routing import Claim, Step, steps_of

__all__ = ["BudgetedLLM"]


class BudgetedLLM(FunctionCallingLLM):
    """Takes a model's place: it keeps to a handler's budget also in the middle of a stream.

    Streams are cut when they reach the budget, and the connection to the provider is closed. OpenAI's streams
    are asked for their usage. With a ladder a cheaper model is taken once some of the budget is spent, or
    where the dear one's next call does not fit; the step is on the entry: `Entry.routed_from`,
    `Entry.routed_to`, `Entry.routed_why`. Structured output that LlamaIndex does not report is refused before
    it is sent, too. Function calling, structured output and agents work as with the model itself.

    Args:
        llm: a model, or a `Ladder` of models.
        handler: whose budget it is; otherwise a new one is made of `settings`.
        ladder: the models to step down, or one ladder for each agent by its name, ``"*"`` for any other.
        agent: who makes the calls; otherwise the LlamaIndex agent that is at work.
        clamp: ask for no more tokens than the budget can pay, where that is less than a call may write.
        wait: seconds to wait for money that other calls hold, before a call is refused or steps down.
        **settings: of `ApeirosHandler`, such as ``budget=0.50``, where no handler is given.

    Raises:
        ConfigError: a setting is not valid, or something is no LlamaIndex model.

    Example:
        >>> llm = BudgetedLLM(OpenAI("gpt-4o"), budget=0.50)                         # doctest: +SKIP
        >>> agent = FunctionAgent(tools=[search], llm=llm)                           # doctest: +SKIP
    """

    is_apeiros: ClassVar[bool] = True

    llm: SerializeAsAny[LLM]
    agent: str | None = None
    clamp: bool = True
    wait: float = 0.0
    _handler: ApeirosHandler = PrivateAttr()
    _steps: Mapping[str, list[Step]] = PrivateAttr(default_factory=dict)

    def __init__(
        self,
        llm: LLM | Ladder[LLM],
        handler: ApeirosHandler | None = None,
        *,
        ladder: Ladder[LLM] | Mapping[str, Ladder[LLM]] | None = None,
        agent: str | None = None,
        clamp: bool = True,
        wait: float = 0.0,
        **settings: Any,
    ) -> None:
        steps = steps_of(llm, ladder)
        first = steps["*"][0].model
        super().__init__(
            llm=first,
            agent=agent,
            clamp=flag(clamp, "clamp"),
            wait=seconds(wait, "wait"),
            system_prompt=first.system_prompt,
            messages_to_prompt=first.messages_to_prompt,
            completion_to_prompt=first.completion_to_prompt,
            output_parser=first.output_parser,
            pydantic_program_mode=first.pydantic_program_mode,
            callback_manager=first.callback_manager,
        )
        self._steps = steps
        self._handler = ApeirosHandler(**settings) if handler is None else handler
        self._handler.is_placed = True

    @classmethod
    def class_name(cls) -> str:
        """Its name in LlamaIndex's own descriptions."""
        return "BudgetedLLM"

    @property
    def handler(self) -> ApeirosHandler:
        """Whose budget it is."""
        return self._handler

    @property
    def session(self) -> Session:
        """The handler's session."""
        return self._handler.session

    @property
    def metadata(self) -> LLMMetadata:
        """Of the model that is preferred."""
        return self.llm.metadata

    @property
    def model(self) -> str:
        """The name of the model that is preferred."""
        return self.llm.metadata.model_name

    def convert_chat_messages(self, messages: Sequence[ChatMessage]) -> list[Any]:
        """Messages in the words of the model that is preferred."""
        return self.llm.convert_chat_messages(messages)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "callback_manager":  # query engines put their own in its place
            for step in self._all_steps():
                step.model.callback_manager = value

    # Chat and completion

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """See `LLM.chat`."""
        answer: ChatResponse = self._call("chat", {"messages": messages, **kwargs})
        return answer

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """See `LLM.achat`."""
        answer: ChatResponse = await self._acall("achat", {"messages": messages, **kwargs})
        return answer

    def stream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> Generator[ChatResponse, None, None]:
        """See `LLM.stream_chat`."""
        return self._stream("stream_chat", {"messages": messages, **kwargs})

    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> AsyncGenerator[ChatResponse, None]:
        """See `LLM.astream_chat`."""
        return await self._astream("astream_chat", {"messages": messages, **kwargs})

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """See `LLM.complete`."""
        answer: CompletionResponse = self._call(
            "complete", {"prompt": prompt, "formatted": formatted, **kwargs}
        )
        return answer

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """See `LLM.acomplete`."""
        answer: CompletionResponse = await self._acall(
            "acomplete", {"prompt": prompt, "formatted": formatted, **kwargs}
        )
        return answer

    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Generator[CompletionResponse, None, None]:
        """See `LLM.stream_complete`."""
        return self._stream("stream_complete", {"prompt": prompt, "formatted": formatted, **kwargs})

    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> AsyncGenerator[CompletionResponse, None]:
        """See `LLM.astream_complete`."""
        return await self._astream("astream_complete", {"prompt": prompt, "formatted": formatted, **kwargs})

    # Tools: one model prepares them, is sent them, and reads what comes of it

    def chat_with_tools(self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any) -> ChatResponse:
        """See `FunctionCallingLLM.chat_with_tools`."""
        answer: ChatResponse = self._call("chat_with_tools", with_tools(tools, args, kwargs))
        return answer

    async def achat_with_tools(self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any) -> ChatResponse:
        """See `FunctionCallingLLM.achat_with_tools`."""
        answer: ChatResponse = await self._acall("achat_with_tools", with_tools(tools, args, kwargs))
        return answer

    def stream_chat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> Generator[ChatResponse, None, None]:
        """See `FunctionCallingLLM.stream_chat_with_tools`."""
        return self._stream("stream_chat_with_tools", with_tools(tools, args, kwargs))

    async def astream_chat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> AsyncGenerator[ChatResponse, None]:
        """See `FunctionCallingLLM.astream_chat_with_tools`."""
        return await self._astream("astream_chat_with_tools", with_tools(tools, args, kwargs))

    def _prepare_chat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        model: Any = self.llm
        return model._prepare_chat_with_tools(tools, *args, **kwargs)  # type: ignore[no-any-return]

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The tool calls of an answer, read by the model that gave it."""
        place = response.additional_kwargs.get(PLACE)
        model: Any = next((step.model for step in self._all_steps() if step.place == place), self.llm)
        found: list[ToolSelection] = model.get_tool_calls_from_response(
            response, error_on_no_tool_call=error_on_no_tool_call, **kwargs
        )
        return found

    # Structured output: some integrations report none of it (Anthropic, OpenAI's responses, Google's genai)

    def structured_predict(
        self,
        output_cls: type[Any],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Any:
        """See `LLM.structured_predict`."""
        args = _structured(output_cls, prompt, llm_kwargs, prompt_args)
        return self._call("structured_predict", args)

    async def astructured_predict(
        self,
        output_cls: type[Any],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Any:
        """See `LLM.astructured_predict`."""
        args = _structured(output_cls, prompt, llm_kwargs, prompt_args)
        return await self._acall("astructured_predict", args)

    def stream_structured_predict(
        self,
        output_cls: type[Any],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        """See `LLM.stream_structured_predict`."""
        args = _structured(output_cls, prompt, llm_kwargs, prompt_args)
        return self._stream("stream_structured_predict", args)

    async def astream_structured_predict(
        self,
        output_cls: type[Any],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        """See `LLM.astream_structured_predict`."""
        args = _structured(output_cls, prompt, llm_kwargs, prompt_args)
        return await self._astream("astream_structured_predict", args)

    # On the first rung that the budget admits

    def _call(self, method: str, args: dict[str, Any]) -> Any:
        for attempt in self._attempts(args):
            with attempt:
                model, given = attempt.prepared()
                return attempt.answered(getattr(model, method)(**given))
        raise AssertionError("the last rung is never left")

    async def _acall(self, method: str, args: dict[str, Any]) -> Any:
        for attempt in self._attempts(args):
            with attempt:
                model, given = await attempt.aprepared()
                return attempt.answered(await getattr(model, method)(**given))
        raise AssertionError("the last rung is never left")

    def _stream(self, method: str, args: dict[str, Any]) -> Generator[Any, None, None]:
        for attempt in self._attempts(args):
            with attempt:
                model, given = attempt.prepared(streams=True)
                return attempt.read(getattr(model, method)(**given))
        raise AssertionError("the last rung is never left")

    async def _astream(self, method: str, args: dict[str, Any]) -> AsyncGenerator[Any, None]:
        for attempt in self._attempts(args):
            with attempt:
                model, given = await attempt.aprepared(streams=True)
                return attempt.aread(await getattr(model, method)(**given))
        raise AssertionError("the last rung is never left")

    def _attempts(self, args: dict[str, Any]) -> Iterator[Attempt]:
        span = calls.span_here(self.class_name())
        agent = text(span.tags.get("agent")) or self.agent or span.agent_here()
        steps = self._steps.get(agent or "*") or self._steps["*"]
        for step in steps:
            claim = Claim(self._handler, agent, step.rung)
            yield Attempt(step, claim, span, args, clamp=self.clamp, wait=self.wait)

    def _all_steps(self) -> list[Step]:
        private = self.__pydantic_private__  # not there while the fields are being set
        steps: Mapping[str, list[Step]] = private.get("_steps", {}) if private else {}
        return [step for ladder in steps.values() for step in ladder]


def _structured(
    output_cls: type[Any],
    prompt: PromptTemplate,
    llm_kwargs: dict[str, Any] | None,
    prompt_args: dict[str, Any],
) -> dict[str, Any]:
    return {"output_cls": output_cls, "prompt": prompt, "llm_kwargs": llm_kwargs, "prompt_args": prompt_args}
