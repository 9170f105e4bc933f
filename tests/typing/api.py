"""The public API as a type checker sees it. Checked by mypy and pyright, never run."""

from __future__ import annotations

from decimal import Decimal
from typing import assert_type

from apeiros_callbacks import Budget, BudgetExceeded, Entry, Price, Session, Usage
from apeiros_callbacks.testing import Reply, ScriptedServer
from langchain_apeiros import ApeirosHandler


def a_budget_is_a_number_or_a_budget() -> None:
    ApeirosHandler(budget=0.50)
    ApeirosHandler(budget=Decimal("0.50"))
    ApeirosHandler(budget=Budget(usd=1, calls=50, tokens=200_000))
    ApeirosHandler(budget="0.50")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def settings_are_checked() -> None:
    ApeirosHandler(prices={"my-model": Price(input=2.5, output=Decimal(10))}, unknown_price="allow")
    ApeirosHandler(unknown_price="guess")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def results_have_types(session: Session, entry: Entry, refusal: BudgetExceeded) -> None:
    assert_type(session.spent, Decimal)
    assert_type(session.remaining, Decimal | None)
    assert_type(session.entries(), list[Entry])
    assert_type(entry.amount, Decimal | None)
    assert_type(entry.usage, Usage)
    assert_type(refusal.limit, Decimal)


def a_server_is_a_context() -> None:
    with ScriptedServer([Reply("hello")]) as server:
        assert_type(server.request_count, int)
