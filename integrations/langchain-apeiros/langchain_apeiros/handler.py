"""`ApeirosHandler`: LangChain's events, translated into a session's calls and nothing else."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, ParamSpec, get_args
from uuid import UUID, uuid4

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult

from apeiros_callbacks import Budget, Price, Session
from apeiros_callbacks.alerts import AlertTo
from apeiros_callbacks.call import Call, Ending, OpenCall, Outcome
from apeiros_callbacks.display import session_html, session_line
from apeiros_callbacks.errors import (
    ConfigError,
    Refused,
)
from apeiros_callbacks.ledger import Ledger
from apeiros_callbacks.money import Dollars
from apeiros_callbacks.policy import Choice
from apeiros_callbacks.prices import UnknownPricePolicy
from apeiros_callbacks.scoping import Per
from apeiros_callbacks.settings import Customer, session_of
from apeiros_callbacks.waiting import LedgerDownPolicy
from langchain_apeiros.aborts import is_no_refusal
from langchain_apeiros.ended import ending_of_error, error_name
from langchain_apeiros.endpoints import at_address
from langchain_apeiros.live import Live, Origin
from langchain_apeiros.prompts import chat_prompt, chunk_text, event_text, text_prompt, texts_prompt
from langchain_apeiros.runs import Runs, metadata_around
from langchain_apeiros.starts import Starts
from langchain_apeiros.tracker import Abort, Tracker
from langchain_apeiros.usage import Sent, read_cut, read_decision, read_outcome, with_report_of
from langchain_apeiros.waiting import waiting

__all__ = ["ApeirosHandler"]

logging.getLogger("langchain_core.callbacks.manager").addFilter(is_no_refusal)

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


def _counting(hook: Callable[P, None]) -> Callable[P, None]:
    """A hook that counts a piece of an answer: after a wait for money the piece is counted already."""

    def again(handler: ApeirosHandler, *_: Any, run_id: UUID, **__: Any) -> None:
        handler._tracker.grow_again(run_id)  # pyright: ignore[reportPrivateUsage]

    return waiting(hook, again)


class ApeirosHandler(BaseCallbackHandler):
    """Keeps a LangChain run within a budget, and records every LLM and tool call of it.

    Pass it in ``config={"callbacks": [handler]}`` of any chain, agent or model, so that it reaches
    everything inside. One handler may serve many runs at once, from threads and tasks; they share its
    budget.

    Args:
        budget: US dollars, or a `Budget` of dollars, calls and tokens; None records without a limit.
        per: what the budget is for: ``"handler"``, all its calls together; ``"run"``, each root run by
            itself; ``"thread"``, each LangGraph thread.
        agent_budgets: budgets of single agents by name, for instance ``{"researcher": 0.20}``; within each
            run or thread where `per` says so.
        customer: whom the calls are for: a name, or a function of the run's metadata that gives one. It is on
            every entry. A call is refused when the function fails or gives none, or when it does not fit
            into the customer's cap; see `set_customer`.
        session: an existing session to share; the other arguments belong to the session then.
        ledger: an open ledger or its URL, for instance ``"sqlite:///ledger.db"``; otherwise
            ``APEIROS_LEDGER``, or memory; with a customer, a file in this user's data folder.
        prices: prices of your own by model, in USD per million tokens.
        models: other names of listed models, for instance ``{"my-deployment": "azure:gpt-4o"}``.
        unknown_price: ``"refuse"``, ``"assume"`` or ``"allow"`` a model whose price is not known, while a
            budget in dollars is set.
        on: actions by finding, for instance ``{"retry_loop": "raise"}``: ``"ignore"``, ``"warn"``,
            ``"raise"``, ``"downgrade"``, ``"pause"``, or a function of the finding. ``"pause"`` interrupts a
            LangGraph run that has a checkpointer; ``Command(resume=1.00)`` goes on with a budget of that many
            dollars, ``Command(resume=False)`` ends it.
        strict: hold the most that a call can cost, so that the budget is never passed; a call without
            ``max_tokens`` is refused.
        enforce: False watches only: what would be refused is logged and goes on.
        alerts: whom to tell, once each, that the budget or a customer's cap is nearly spent and that it is:
            `Slack`, `Webhook`, functions of an `Alert`. No call waits for them.
        alert_at: US dollars of the budget at which they are told first; 80% of it unless given.
        abort: what a refusal ends. ``"graph"``: the whole LangGraph run, whose retry, fallback and error
            middleware do not see it. ``"node"``: the node, so that the graph's own error handling decides.
        on_ledger_down: ``"refuse"`` or ``"allow"`` a customer's call while the ledger that keeps its cap
            cannot be asked.
        ledger_timeout: the most that one call waits for the ledger, in seconds; an event loop awaits it.

    Raises:
        ConfigError: a setting is not valid, or belongs to the session that is given.
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
        per: Per = "handler",
        agent_budgets: Mapping[str, Budget | Dollars] | None = None,
        customer: Customer = None,
        session: Session | None = None,
        ledger: Ledger | str | None = None,
        prices: Mapping[str, Price] | None = None,
        models: Mapping[str, str] | None = None,
        unknown_price: UnknownPricePolicy = "refuse",
        on: Mapping[str, Choice] | None = None,
        strict: bool = False,
        enforce: bool = True,
        alerts: Collection[AlertTo] = (),
        alert_at: Dollars | None = None,
        abort: Abort = "graph",
        on_ledger_down: LedgerDownPolicy = "refuse",
        ledger_timeout: float = 5.0,
    ) -> None:
        super().__init__()
        if abort not in get_args(Abort):
            raise ConfigError(f'abort must be "graph" or "node", got {abort!r}')
        self.session = session_of(
            session,
            budget,
            customer=customer,
            per=per,
            agent_budgets=agent_budgets,
            ledger=ledger,
            prices=prices,
            models=models,
            unknown_price=unknown_price,
            on=on,
            strict=strict,
            enforce=enforce,
            on_ledger_down=on_ledger_down,
            ledger_timeout=ledger_timeout,
            alerts=alerts,
            alert_at=alert_at,
        )
        self._runs = Runs()
        self._starts = Starts(self._runs, customer)
        self._tracker = Tracker(self, self._session_of, self._runs, self._starts, abort)

    def __repr__(self) -> str:
        return f"<ApeirosHandler {session_line(self.session)}>"

    def _repr_html_(self) -> str:
        return session_html(self.session)

    def __copy__(self) -> ApeirosHandler:
        return self  # a copy would have the same budget to spend once more

    def __deepcopy__(self, memo: object) -> ApeirosHandler:
        return self

    # LLM calls

    @waiting
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
        self._tracker.open(
            run_id,
            parent_run_id,
            known,
            params,
            functools.partial(chat_prompt, sent, params),
            Sent(sent, params),
            kwargs.get("batch_size", 1),
        )

    @waiting
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
        size: int = kwargs.get("batch_size", 1)
        shared = Sent(shared=size > 1)
        prompt = functools.partial(text_prompt, sent)
        self._tracker.open(run_id, parent_run_id, known, params, prompt, shared, size)

    @_counting
    @_recording
    def on_llm_new_token(self, token: Any, *, run_id: UUID, chunk: Any = None, **kwargs: Any) -> None:
        """Count a piece of a streamed answer; cut the stream when the budget is reached."""
        live = self._tracker.lives.get(run_id)
        if live is not None:
            live.sent.streamed.saw(chunk)
            self._tracker.grow(
                live, "token", token if token and token.__class__ is str else chunk_text(token, chunk)
            )

    @_counting
    @_recording
    def on_stream_event(self, event: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """The same for LangChain's streams of typed events."""
        live = self._tracker.lives.get(run_id)
        if live is not None:
            text_of = event_text(event) if event.get("event") == "content-block-delta" else ""
            self._tracker.grow(live, "event", text_of)

    @_recording
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Settle what the provider reported, and write the entry."""
        self._tracker.close(
            run_id,
            lambda live: (
                read_outcome(response, live.open_call.call, live.sent) if live else read_outcome(response)
            ),
        )

    @_recording
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Release what was held, or settle what is known, and write the entry."""
        response: LLMResult | None = kwargs.get("response")

        def outcome(live: Live | None) -> Outcome:
            streaming = live is not None and live.open_call.state == "growing"
            around = 0 if live is None else live.around
            ending = ending_of_error(error, response, streaming=streaming, around=around)
            call, sent = (live.open_call.call, live.sent) if live else (None, Sent())
            ended = read_cut(ending, error_name(error, response), response, call, sent)
            return with_report_of(error, ended)

        live = self._tracker.lives.get(run_id)
        self._tracker.close(run_id, outcome)
        if live is not None:
            self._tracker.lives.batch_failed(live, run_id)

    # Tools

    @waiting
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
        name = (serialized or {}).get("name") or kwargs.get("name") or "tool"
        self._tracker.open_tool(run_id, parent_run_id, str(name), metadata or {})

    @_recording
    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Write the tool's entry."""
        self._runs.ended(run_id)
        self._tracker.close(run_id, lambda _: Outcome(ending="answered"))

    @_recording
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Write the tool's entry, with the type of its error."""
        self._runs.ended(run_id)
        # Arguments that do not fit its schema: the tool did not run, and what it costs is not due.
        ending: Ending = "failed" if type(error).__name__ == "ValidationError" else "answered"
        self._tracker.close(run_id, lambda _: Outcome(ending=ending, error=type(error).__name__))

    # Everything that calls can be inside of

    @waiting
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
            self._runs.started(run_id, parent_run_id, kwargs.get("name"), kwargs.get("tags"))
            return
        known = metadata or {}
        prompt = functools.partial(text_prompt, inputs)
        self._tracker.open(run_id, parent_run_id, known, {}, prompt, Sent())

    @_recording
    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget the run; settle what a decision model reported."""
        self._runs.ended(run_id)
        if self._tracker.lives.get(run_id) is not None:
            self._tracker.close(run_id, lambda _: read_decision(outputs))

    @_recording
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget the run; close a decision model's call."""
        self._runs.ended(run_id)
        if self._tracker.lives.get(run_id) is not None:
            self.on_llm_error(error, run_id=run_id)

    # What is not told by events

    def call_of(
        self,
        model: BaseChatModel,
        messages: Sequence[BaseMessage],
        metadata: Mapping[str, Any],
        **bound: Any,
    ) -> Call:
        """A call as it would start, for what is to be known of it before.

        Args:
            model: what would be called.
            messages: what would be sent.
            metadata: the run's, such as LangGraph's thread.
            bound: what is bound to the model: ``tools``, ``max_tokens``.
        """
        return self._starts.of_model(model, messages, metadata, bound, self.session)

    def open_embedding(self, provider: str, model: str, texts: Sequence[str]) -> OpenCall:
        """Hold what an embedding is expected to cost, as part of the run around it, or refuse it.

        Args:
            provider: whom it goes to, by the name that it is priced by.
            model: the embedding model.
            texts: what would be sent.

        Raises:
            Refused: it is not to be sent.
        """
        known = {**metadata_around(), "ls_provider": provider, "ls_model_name": model}
        try:
            prompt = functools.partial(texts_prompt, texts)
            call = self._starts.call(uuid4(), None, known, {}, prompt, self.session)
            return self._tracker.admitted(replace(call, kind="embedding"), self.session)
        except Refused as refusal:
            raise self._tracker.for_caller(refusal) from refusal.__cause__

    def _session_of(self, origin: Origin) -> Session | None:
        """The session that a call belongs to; None when it is not to be recorded here."""
        return self.session
