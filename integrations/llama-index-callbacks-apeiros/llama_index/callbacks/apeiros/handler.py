"""`ApeirosHandler`: a budget and a ledger for what LlamaIndex calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Self

from llama_index.core.callbacks import CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler

from apeiros_callbacks import Budget, Price, Session
from apeiros_callbacks.alerts import AlertTo
from apeiros_callbacks.current import enter, leave
from apeiros_callbacks.display import session_html, session_line
from apeiros_callbacks.ledger import Ledger
from apeiros_callbacks.money import Dollars
from apeiros_callbacks.policy import Choice
from apeiros_callbacks.prices import UnknownPricePolicy
from apeiros_callbacks.scoping import Per
from apeiros_callbacks.settings import Customer, session_of
from apeiros_callbacks.waiting import LedgerDownPolicy
from llama_index.callbacks.apeiros.dispatch import listen
from llama_index.callbacks.apeiros.placing import entered, left, made

__all__ = ["ApeirosHandler"]

_ALL_EVENTS = list(CBEventType)


class ApeirosHandler(BaseCallbackHandler):
    """Keeps LlamaIndex's calls within a budget, and records every model, embedding, rerank and tool call.

    Use it in a ``with`` block, or put it in ``Settings.callback_manager`` or in the callback manager of a
    model or an embedding. It may serve many runs at once, from threads and tasks; they share its budget.

    A call that is expected to pass the budget is refused before it is sent. A stream that passes it is cut
    where the model is in a `BudgetedLLM`; elsewhere LlamaIndex has nothing to cut it by, and the run's next
    call is refused.

    Args:
        budget: US dollars, or a `Budget` of dollars, calls and tokens; None records without a limit.
        per: what the budget is for: ``"handler"``, all its calls together; ``"run"``, each run by itself: an
            agent's or a workflow's run, a query, or whatever is the outermost; ``"thread"``, each
            ``thread_id`` of ``instrument_tags({"thread_id": …})``, or each run where there is none.
        agent_budgets: budgets of single agents by name, for instance ``{"researcher": 0.20}``; within each
            run or thread where `per` says so.
        customer: whom the calls are for: a name, or a function of the ``instrument_tags`` that gives one. It
            is on every entry. A call is refused when the function fails or gives none.
        session: an existing session to share; the other arguments belong to the session then.
        ledger: an open ledger or its URL, for instance ``"sqlite:///ledger.db"``; otherwise
            ``APEIROS_LEDGER``, or memory.
        prices: prices of your own by model, in USD per million tokens.
        models: other names of listed models, for instance ``{"my-deployment": "azure:gpt-4o"}``.
        unknown_price: ``"refuse"``, ``"assume"`` or ``"allow"`` a model whose price is not known, while a
            budget in dollars is set.
        on: actions by finding, for instance ``{"retry_loop": "raise"}``: ``"ignore"``, ``"warn"``,
            ``"raise"``, ``"downgrade"``, or a function of the finding, which may ask a person and give
            ``"warn"`` to go on. ``"pause"`` refuses here, and says that: LlamaIndex cannot wait for a person.
        strict: hold the most that a call can cost, so that the budget is never passed; a call without
            ``max_tokens`` is refused.
        enforce: False watches only: what would be refused is logged and goes on.
        on_ledger_down: ``"refuse"`` or ``"allow"`` a customer's call while the ledger that keeps its cap
            cannot be asked.
        ledger_timeout: the most that one call waits for the ledger, in seconds; an event loop awaits it.
        alerts: whom to tell, once each, that the budget or a customer's cap is nearly spent and that it is:
            `Slack`, `Webhook`, functions of an `Alert`. No call waits for them.
        alert_at: US dollars of the budget at which they are told first; 80% of it unless given.

    Raises:
        ConfigError: a setting is not valid, or belongs to the session that is given.
        LedgerError: the ledger cannot be opened.

    Example:
        >>> with ApeirosHandler(budget=0.50) as handler:
        ...     handler.session.remaining
        Decimal('0.5')
    """

    is_apeiros = True

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
        on_ledger_down: LedgerDownPolicy = "refuse",
        ledger_timeout: float = 5.0,
        alerts: Collection[AlertTo] = (),
        alert_at: Dollars | None = None,
    ) -> None:
        # What happens is heard of from the dispatcher; as a callback it only marks whose calls are whose.
        super().__init__(event_starts_to_ignore=_ALL_EVENTS, event_ends_to_ignore=_ALL_EVENTS)
        self.customer = customer
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
        self.is_placed = False
        """It was found in a place where it belongs: a callback manager, a ``with`` block, a wrapper."""
        listen()
        made(self)

    def __enter__(self) -> Self:
        entered(self)
        enter(self.session)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave(self.session)
        left(self)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<ApeirosHandler {session_line(self.session)}>"

    def _repr_html_(self) -> str:
        return session_html(self.session)

    def __copy__(self) -> ApeirosHandler:
        return self  # a copy would have the same budget to spend once more

    def __deepcopy__(self, memo: object) -> ApeirosHandler:
        return self

    # What a callback handler of LlamaIndex has

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        parent_id: str = "",
        **kwargs: Any,
    ) -> str:
        """Nothing: the dispatcher tells more."""
        return event_id

    def on_event_end(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        **kwargs: Any,
    ) -> None:
        """Nothing: the dispatcher tells more."""

    def start_trace(self, trace_id: str | None = None) -> None:
        """Nothing."""

    def end_trace(self, trace_id: str | None = None, trace_map: dict[str, list[str]] | None = None) -> None:
        """Nothing."""
