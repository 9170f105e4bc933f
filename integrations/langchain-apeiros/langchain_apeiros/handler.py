"""`ApeirosHandler`: LangChain's events, translated into a session's calls and nothing else."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult

from apeiros_callbacks import Budget, Price, Session
from apeiros_callbacks.call import Call, OpenCall, Outcome, Prompt
from apeiros_callbacks.display import session_html
from apeiros_callbacks.errors import Refused
from apeiros_callbacks.ledger import Ledger
from apeiros_callbacks.money import Dollars
from apeiros_callbacks.prices import UnknownPricePolicy
from langchain_apeiros.aborts import for_graphs
from langchain_apeiros.ended import ending_of_error, ending_of_task, error_name
from langchain_apeiros.endpoints import at_address
from langchain_apeiros.plain import count, text
from langchain_apeiros.prompts import chat_prompt, chunk_text, event_text, text_prompt
from langchain_apeiros.runs import Runs, agent_of
from langchain_apeiros.usage import Sent, read_cut, read_decision, read_outcome

__all__ = ["ApeirosHandler"]

P = ParamSpec("P")


def _recording(hook: Callable[P, None]) -> Callable[P, None]:
    """A hook that records: what goes wrong in it is counted, and never reaches the user's chain."""

    @functools.wraps(hook)
    def safe(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            hook(*args, **kwargs)
        except Refused:
            raise
        except Exception as bug:  # noqa: BLE001 - recording must not break the user's chain
            handler: Any = args[0]
            handler.session.went_wrong(f"{hook.__name__}", bug)

    return safe


class _Live:
    """An LLM run between its start and its end."""

    __slots__ = ("copies", "open_call", "sent", "stream", "task", "ticks", "watch")

    def __init__(self, open_call: OpenCall, sent: Sent) -> None:
        self.open_call = open_call
        self.sent = sent
        self.copies = 1
        """How often this handler is attached to the run: each event comes that often."""
        self.ticks = 0
        self.stream: str | None = None
        """The kind of event that brings the answer; some streams send it by two."""
        self.task: asyncio.Task[Any] | None = None
        self.watch: Callable[[asyncio.Task[Any]], None] | None = None


class ApeirosHandler(BaseCallbackHandler):
    """Keeps a LangChain run within a budget, and records every LLM and tool call of it.

    Pass it in ``config={"callbacks": [handler]}`` of any chain, agent or model, so that it reaches
    everything inside. One handler may serve many runs at once, from threads and tasks; they share its
    budget.

    Args:
        budget: US dollars, or a `Budget` of dollars, calls and tokens; None records without a limit.
        session: an existing session to share; the other arguments belong to the session then.
        ledger: an open ledger or its URL, for instance ``"sqlite:///ledger.db"``; otherwise
            ``APEIROS_LEDGER``, or memory.
        prices: prices of your own by model, in USD per million tokens.
        models: other names of listed models, for instance ``{"my-deployment": "azure:gpt-4o"}``.
        unknown_price: ``"refuse"``, ``"assume"`` or ``"allow"`` a model whose price is not known, while a
            budget in dollars is set.
        on: actions by finding, for instance ``{"retry_loop": "raise"}``.
        strict: hold the most that a call can cost, so that the budget is never passed; a call without
            ``max_tokens`` is refused.
        enforce: False watches only: what would be refused is logged and goes on.

    Raises:
        ConfigError: a setting is not valid.
        LedgerError: the ledger cannot be opened.

    Example:
        >>> handler = ApeirosHandler(budget=0.50)
        >>> handler.session.remaining
        Decimal('0.5')
    """

    # A sync handler that runs in the caller's own task can refuse a call in both worlds; an async one
    # cannot stop a sync call, and a handler without raise_error stops nothing (langchain-core 1.8).
    raise_error = True
    run_inline = True

    def __init__(
        self,
        budget: Budget | Dollars | None = None,
        *,
        session: Session | None = None,
        ledger: Ledger | str | None = None,
        prices: Mapping[str, Price] | None = None,
        models: Mapping[str, str] | None = None,
        unknown_price: UnknownPricePolicy = "refuse",
        on: Mapping[str, str] | None = None,
        strict: bool = False,
        enforce: bool = True,
    ) -> None:
        super().__init__()
        self.session = session or Session(
            budget,
            ledger=ledger,
            prices=prices,
            models=models,
            unknown_price=unknown_price,
            on=on,
            strict=strict,
            enforce=enforce,
        )
        self._runs = Runs()
        self._live: dict[UUID, _Live] = {}

    def _repr_html_(self) -> str:
        return session_html(self.session)

    # LLM calls

    def on_chat_model_start(
        self,
        serialized: dict[str, Any] | None,
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Hold what the call is expected to cost, or refuse it: nothing is sent then."""
        params: Mapping[str, Any] = kwargs.get("invocation_params") or {}
        known = at_address(metadata or {}, serialized, params)
        sent = messages[0] if messages else []
        self._open(
            run_id,
            parent_run_id,
            known,
            params,
            lambda: chat_prompt(sent, params, _provider(known), _model(known, params)),
            Sent(sent, params),
        )

    def on_llm_start(
        self,
        serialized: dict[str, Any] | None,
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """The same for a completion model."""
        params: Mapping[str, Any] = kwargs.get("invocation_params") or {}
        sent = prompts[0] if prompts else ""
        known = at_address(metadata or {}, serialized, params)
        shared = Sent(shared=kwargs.get("batch_size", 1) > 1)
        self._open(run_id, parent_run_id, known, params, lambda: text_prompt(sent), shared)

    @_recording
    def on_llm_new_token(self, token: Any, *, run_id: UUID, chunk: Any = None, **kwargs: Any) -> None:
        """Count a piece of a streamed answer; cut the stream when the budget is reached."""
        live = self._live.get(run_id)
        if live is not None:
            live.sent.streamed.saw(chunk)
            self._grow(live, "token", token if token and token.__class__ is str else chunk_text(token, chunk))

    @_recording
    def on_stream_event(self, event: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """The same for LangChain's streams of typed events."""
        live = self._live.get(run_id)
        if live is not None and event.get("event") == "content-block-delta":
            self._grow(live, "event", event_text(event))

    @_recording
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Settle what the provider reported, and write the entry."""
        self._close(
            run_id,
            lambda live: (
                read_outcome(response, live.open_call.call, live.sent) if live else read_outcome(response)
            ),
        )

    @_recording
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Release what was held, or settle what is known, and write the entry."""
        response: LLMResult | None = kwargs.get("response")

        def outcome(live: _Live | None) -> Outcome:
            streaming = live is not None and live.open_call.state == "growing"
            ending = ending_of_error(error, response, streaming=streaming)
            call, sent = (live.open_call.call, live.sent) if live else (None, Sent())
            return read_cut(ending, error_name(error, response), response, call, sent)

        self._close(run_id, outcome)

    # Tools

    def on_tool_start(
        self,
        serialized: dict[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Note a tool; one with a price of its own is held, or refused, like an LLM call."""
        known = metadata or {}
        root = self._runs.started(run_id, parent_run_id)
        name = (serialized or {}).get("name") or kwargs.get("name") or "tool"
        try:
            self.session.open_tool(
                str(run_id),
                str(name),
                agent=agent_of(known),
                thread=_thread(known),
                root=root,
                step=known.get("langgraph_step"),
            )
        except Refused as refusal:
            raise for_graphs(refusal) from refusal.__cause__

    @_recording
    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Write the tool's entry."""
        self._runs.ended(run_id)
        self.session.close_tool(str(run_id))

    @_recording
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Write the tool's entry, with the type of its error."""
        self._runs.ended(run_id)
        self.session.close_tool(str(run_id), error=type(error).__name__)

    # Everything that calls can be inside of

    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        run_type: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Note whose run this is. A decision model, which starts as a chain, is held or refused."""
        if run_type != "llm":
            self._runs.started(run_id, parent_run_id)
            return
        known = metadata or {}
        self._open(run_id, parent_run_id, known, {}, lambda: text_prompt(str(inputs)), Sent())

    @_recording
    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget the run; settle what a decision model reported."""
        self._runs.ended(run_id)
        if run_id in self._live:
            self._close(run_id, lambda _: read_decision(outputs))

    @_recording
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget the run; close a decision model's call."""
        self._runs.ended(run_id)
        if run_id in self._live:
            self.on_llm_error(error, run_id=run_id)

    # The machine

    def _open(
        self,
        run_id: UUID,
        parent: UUID | None,
        metadata: Mapping[str, Any],
        params: Mapping[str, Any],
        prompt: Callable[[], Prompt],
        sent: Sent,
    ) -> None:
        again = self._live.get(run_id)
        if again is not None:
            again.copies += 1
            return
        try:
            call = self._call(run_id, parent, metadata, params, prompt)
            live = _Live(self.session.open_call(call), sent)
        except Refused as refusal:
            raise for_graphs(refusal) from refusal.__cause__
        self._live[run_id] = live
        self._watch_task(run_id, live)

    def _call(
        self,
        run_id: UUID,
        parent: UUID | None,
        metadata: Mapping[str, Any],
        params: Mapping[str, Any],
        prompt: Callable[[], Prompt],
    ) -> Call:
        try:
            sent = prompt()
        except Exception as bug:  # noqa: BLE001 - a shape of message that we cannot read
            self.session.gate_failed(bug)
            sent = text_prompt("")
        return Call(
            id=str(run_id),
            provider=_provider(metadata),
            model=_model(metadata, params),
            prompt=sent,
            agent=agent_of(metadata),
            thread=_thread(metadata),
            root=self._runs.root(run_id, parent),
            step=metadata.get("langgraph_step"),
            max_output_tokens=_max_output(metadata, params),
            choices=_positive(params.get("n")) or 1,
            service_tier=text(params.get("service_tier")),
        )

    def _grow(self, live: _Live, kind: str, piece: str) -> None:
        if live.stream is None:
            live.stream = kind
        if live.stream != kind:
            return
        live.ticks += 1
        if live.copies > 1 and live.ticks % live.copies:
            return
        try:
            self.session.grow_call(live.open_call, piece)
        except Refused as refusal:
            raise for_graphs(refusal) from None

    def _close(self, run_id: UUID, outcome: Callable[[_Live | None], Outcome]) -> None:
        live = self._live.pop(run_id, None)
        if live is not None and live.task is not None and live.watch is not None:
            live.task.remove_done_callback(live.watch)
        try:
            ended = outcome(live)
        except Exception as bug:  # noqa: BLE001 - an answer of a shape that we cannot read
            self.session.went_wrong("reading an answer", bug)
            ended = Outcome(ending="cut", error=type(bug).__name__)
        self.session.close_call(str(run_id), ended)

    def _watch_task(self, run_id: UUID, live: _Live) -> None:
        """Close the call when its task ends without a word, as a cancelled ``ainvoke`` does."""
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return
        if task is not None:
            live.task = task
            live.watch = functools.partial(self._task_done, run_id)
            task.add_done_callback(live.watch)

    def _task_done(self, run_id: UUID, task: asyncio.Task[Any]) -> None:
        if self._live.pop(run_id, None) is not None:
            outcome = Outcome(ending=ending_of_task(task), provisional=True, error="CancelledError")
            self.session.close_call(str(run_id), outcome)


def _provider(metadata: Mapping[str, Any]) -> str:
    return str(metadata.get("ls_provider") or "")


def _thread(metadata: Mapping[str, Any]) -> str | None:
    thread = metadata.get("thread_id")
    return None if thread is None else str(thread)


def _model(metadata: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    for name in (metadata.get("ls_model_name"), params.get("model"), params.get("model_name")):
        if isinstance(name, str) and name:
            return name
    return "unknown"


_MAX_OUTPUT = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")


def _max_output(metadata: Mapping[str, Any], params: Mapping[str, Any]) -> int | None:
    for name in _MAX_OUTPUT:
        if name in params and (most := _positive(params[name])) is not None:
            return most
    return _positive(metadata.get("ls_max_tokens"))


def _positive(value: object) -> int | None:
    number = count(value)
    return number if number is not None and number > 0 else None
