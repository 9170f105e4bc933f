"""`ApeirosAgent`: tasks for a customer whose calls are counted by hand, as a total of tokens."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, Self

from apeiros_callbacks.alerts import AlertTo
from apeiros_callbacks.call import NO_PROMPT, Call, Outcome
from apeiros_callbacks.caps import checked_customer
from apeiros_callbacks.detectors import DETECTOR_TYPES
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.environment import in_event_loop
from apeiros_callbacks.errors import InvalidUsage, LedgerError, NoSession, UnknownPrice
from apeiros_callbacks.ledger import Ledger, open_for
from apeiros_callbacks.prices import Price, PriceBook, Rates
from apeiros_callbacks.prices.file import declared_prices
from apeiros_callbacks.report import total
from apeiros_callbacks.session import Session, utc_now
from apeiros_callbacks.spending import kept_ledger, spending
from apeiros_callbacks.usage import Usage

__all__ = ["ApeirosAgent", "Tasks"]

logger = logging.getLogger("apeiros_callbacks")

READ, WRITTEN = 7, 5
"""How tokens of which only the total is known are split: 7 read to 5 written.

At $3 a million read and $15 a million written that is $8 a million: (7 x 3 + 5 x 15) / 12.
"""

_SAMPLE: Final = 1_000
"""Tokens: a task is begun while so many of its model still fit into the customer's cap."""
_NO_MODEL: Final = Price(input=3, output=15)
_FLUSH_SECONDS: Final = 5.0
_MILLION: Final = 1_000_000
_DIGITS: Final = Decimal("1e-9")
_QUIET: Final = {kind: "ignore" for kind in DETECTOR_TYPES if kind != "budget_exceeded"}


class Tasks(Mapping[str, list[dict[str, Any]]]):
    """What was done for each customer in the present month of its time zone, read from a ledger.

    It is what all processes that share the ledger did, and survives a restart. Beside the tasks of
    `ApeirosAgent` it has a line for what each agent spent in each other session, so that the sum of a
    customer's lines is what the customer spent.

    A line has ``task``: its name, or that of the agent or session; ``cost_estimate`` in US dollars, missing
    where the price of all of it is unknown; ``tokens``, ``calls``; ``session_id``; ``started_at`` and
    ``ended_at``.

    Args:
        ledger: an open ledger or its URL; ``APEIROS_LEDGER``, or a file in this user's data folder.
        clock: gives the present time; for tests.
    """

    def __init__(
        self, ledger: Ledger | str | None = None, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._ledger = ledger
        self._clock = clock

    def __getitem__(self, customer_id: str) -> list[dict[str, Any]]:
        ledger = kept_ledger(self._ledger)
        (found,) = spending(ledger, self._clock(), customer_id=customer_id)
        if not found.totals:
            raise KeyError(customer_id)
        parts: dict[tuple[str, str | None], list[Entry]] = {}
        for entry in found.entries(ledger):
            parts.setdefault((entry.session_id, entry.agent), []).append(entry)
        return [_line(session, agent, entries) for (session, agent), entries in parts.items()]

    def __iter__(self) -> Iterator[str]:
        found = spending(kept_ledger(self._ledger), self._clock())
        return iter([one.customer for one in found if one.totals])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)!r})"


def _line(session: str, agent: str | None, entries: list[Entry]) -> dict[str, Any]:
    sums = total(entries)
    line: dict[str, Any] = {
        "task": agent or session,
        "cost_estimate": float(sums.cost),
        "tokens": sums.input_tokens + sums.output_tokens,
        "calls": sums.calls,
        "session_id": session,
        "started_at": min(entry.started_at for entry in entries).isoformat(),
        "ended_at": max(entry.ended_at for entry in entries).isoformat(),
    }
    if all(entry.amount is None for entry in entries):
        del line["cost_estimate"]  # not known, which is not 0
    return line


class ApeirosAgent:
    """Tasks for one customer, whose tokens you count yourself.

    For calls of LangChain or LlamaIndex use a handler with ``customer=``: it counts by itself, and both are
    held to the same cap. A total of tokens is priced at 7 read to 5 written, and marked as assumed.

    Args:
        customer_id: whom the tasks are for.
        model: which model does them; $8 per million tokens unless given.
        provider: who sells it, where one model has several sellers.
        prices: prices of your own by model, in USD per million tokens.
        models: other names of listed models.
        unknown_price: ``"refuse"`` a model whose price is not known, or ``"assume"`` $8 per million tokens.
        enforce: False begins tasks although the customer's cap is reached, and logs it.
        alerts: whom to tell of the customer's cap.
        ledger: an open ledger or its URL; ``APEIROS_LEDGER``, or a file in this user's data folder.
        clock: gives the present time; for tests.

    Raises:
        UnknownPrice: nobody knows what the model costs.
        ConfigError: a setting is not valid.
        LedgerError: the ledger cannot be opened.

    Example:
        >>> agent = ApeirosAgent(customer_id="acme", model="claude-3-5-sonnet", ledger="memory:")
        >>> agent.start_task("summarise")
        >>> agent.update_tokens(42_000)
        >>> agent.end_task()
        >>> agent.cost_estimate
        0.336
    """

    _registry: ClassVar[Tasks] = Tasks()
    """What was done for each customer this month: the customer's name → its tasks."""

    def __init__(
        self,
        customer_id: str,
        model: str | None = None,
        *,
        provider: str = "",
        prices: Mapping[str, Price] | None = None,
        models: Mapping[str, str] | None = None,
        unknown_price: Literal["refuse", "assume"] = "refuse",
        enforce: bool = True,
        alerts: Collection[AlertTo] = (),
        ledger: Ledger | str | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.customer_id = checked_customer(customer_id)
        self.model = model
        self._provider = provider
        book = PriceBook(declared_prices(prices), models, unknown_price)
        self._rates, price = _for_totals(_rates(book, provider, model, clock()))
        self._settings: dict[str, Any] = {
            "customer": customer_id,
            "ledger": open_for(customer_id, ledger),
            "prices": {self._name: price},
            "on": _QUIET,
            "enforce": enforce,
            "alerts": alerts,
            "clock": clock,
        }
        self._session = Session(**self._settings)
        self._task: str | None = None

    def start_task(self, name: str) -> None:
        """Begin a task, unless the customer's cap is reached. One that was not ended is ended first.

        Args:
            name: what is done.

        Raises:
            BudgetExceeded: less is left of the customer's cap than 1,000 tokens of the model cost.
            LedgerDown: the ledger that keeps the cap cannot be asked.
        """
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidUsage(f"a task has a name such as 'summarise', got {name!r}")
        if self._task is not None:
            self.end_task()
        session = Session(**self._settings)
        call = self._call(name, self._name)
        session.open_call(call)
        session.close_call(call.id, Outcome(ending="unsent"))
        self._session, self._task = session, name

    def update_tokens(self, tokens: int) -> None:
        """Add tokens that the task has used, read and written together. They are paid for: nothing refuses.

        Args:
            tokens: those since the last update.

        Raises:
            NoSession: no task is started.
            InvalidUsage: it is no number of tokens.
        """
        if self._task is None:
            raise NoSession("no task is started: call start_task(name) first")
        if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidUsage(f"tokens must be a whole number of 0 or more, got {tokens!r}")
        if not tokens:
            return
        read = round(Decimal(tokens * READ) / (READ + WRITTEN))
        usage = Usage(input_tokens=read, output_tokens=tokens - read)
        call = self._call(self._task, self.model or "")
        self._session.record(call, Outcome(ending="answered", usage=usage, charged_at=self._rates))

    def end_task(self) -> None:
        """End the task. Waits up to 5 seconds until it is in the ledger, but not on an event loop.

        Raises:
            NoSession: no task is started.
        """
        if self._task is None:
            raise NoSession("no task is started: call start_task(name) first")
        name, self._task = self._task, None
        if not in_event_loop():
            try:
                self._session.flush(_FLUSH_SECONDS)
            except LedgerError as why:
                logger.warning("task %s has ended, and its ledger is behind: %s", name, why)

    @property
    def spent(self) -> Decimal:
        """US dollars of the task that was begun last, exact."""
        return self._session.spent

    @property
    def cost_estimate(self) -> float:
        """US dollars of the task that was begun last."""
        return float(self.spent)

    @property
    def session(self) -> Session:
        """Where the task that was begun last is recorded."""
        return self._session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self.end_task()

    def __repr__(self) -> str:
        task = "" if self._task is None else f", task {self._task!r}"
        return f"<ApeirosAgent for {self.customer_id!r}, {self.model or 'no model'}{task}>"

    @property
    def _name(self) -> str:
        """A name for the model that a price can be declared for."""
        return self.model or "tokens"

    def _call(self, task: str, model: str) -> Call:
        return Call(
            id=uuid.uuid4().hex,
            provider=self._provider,
            model=model,
            prompt=NO_PROMPT,
            agent=task,
            max_output_tokens=_SAMPLE,
        )


def _rates(book: PriceBook, provider: str, model: str | None, now: datetime) -> Rates | None:
    """What a model costs; None for no model.

    Raises:
        UnknownPrice: nobody knows.
    """
    if model is None:
        return None
    rates = book.rates(provider, model, now)
    if rates is None:
        raise UnknownPrice(provider, model, book.suggest(provider, model))
    return rates


def _for_totals(rates: Rates | None) -> tuple[Rates, Price]:
    """What a token costs of which nobody knows whether it was read or written, as rates and as a price."""
    if rates is None:
        rates = Rates(_NO_MODEL.given(), certainty="assumed", source="assumed: no model is named")
    dozen = rates.charge(Usage(input_tokens=READ, output_tokens=WRITTEN)).amount or Decimal(0)
    each = (dozen * _MILLION / (READ + WRITTEN)).quantize(_DIGITS).normalize()
    source = f"{rates.source}; {READ} tokens read to {WRITTEN} written assumed"
    blended = Rates({"input": each, "output": each}, certainty="assumed", source=source)
    return blended, Price(input=each, output=each)
