"""Each ledger against a model of a few lines: whatever happens in whatever order, the money adds up.

Two processes share a cap, played by two writers of one store; a crash takes one of them away with all that
it has set aside, and its time runs out by itself. ``APEIROS_LONG=1`` tries more.
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from apeiros_callbacks import BudgetExceeded, Session
from apeiros_callbacks.call import Outcome
from apeiros_callbacks.caps import Cap
from apeiros_callbacks.ledger import lifecycle, open_ledger
from apeiros_callbacks.ledger.audit import check, store_of
from apeiros_callbacks.money import from_nano
from tests.contract.servers import Server
from tests.contract.spending import price_of

LONG = bool(os.environ.get("APEIROS_LONG"))
EXAMPLES, STEPS = (100, 30) if LONG else (4, 15)
COSTS = (1, 700_001, 1_234_567, 9_999_991)
LIMIT = 30_000_000


class Spending(RuleBasedStateMachine):
    """The model: what each process holds, what was spent, and what the dead hold until their time is over."""

    url = "memory:"

    def __init__(self) -> None:
        super().__init__()
        self.limit = LIMIT
        self.spent = 0
        self.open: list[dict[str, int]] = [{}, {}]
        self.lost = 0
        self.is_stuck = False
        """What was idle in a dead process is with nobody either, until its time is over."""
        self.count = 0
        self.sessions: list[Session] = []
        self.begin()

    def begin(self) -> None:
        for _ in range(2):
            self.sessions.append(self.a_session())
        self.sessions[0].ledger.set_cap(Cap("customer:acme", usd=from_nano(self.limit)))
        for session in self.sessions:
            session.ledger.caps()

    def a_session(self) -> Session:
        """A session of a process of its own, as far as its ledger can tell."""
        if self.url == "memory:":
            ledger = self.sessions[0].ledger if self.sessions else open_ledger(self.url)
        else:
            with lifecycle._lock:
                kept = dict(lifecycle._writers)
                lifecycle._writers.clear()
            ledger = open_ledger(self.url)
            with lifecycle._lock:
                for key, writer in lifecycle._writers.items():
                    kept[object() if key in kept else key] = writer
                lifecycle._writers.update(kept)
        prices = {f"tool:tool-{cost}": price_of(cost) for cost in COSTS}
        return Session(ledger=ledger, prices=prices, ledger_timeout=3)

    @property
    def is_shared(self) -> bool:
        return self.url != "memory:"

    @property
    def left(self) -> int:
        return self.limit - self.spent - sum(sum(held.values()) for held in self.open) - self.lost

    @rule(who=st.integers(0, 1), cost=st.sampled_from(COSTS))
    def hold(self, who: int, cost: int) -> None:
        self.count += 1
        name = f"call-{self.count}"
        try:
            self.sessions[who].open_tool(name, f"tool-{cost}", customer="acme")
        except BudgetExceeded:
            assert cost > self.left or self.is_stuck, "it would have fitted"
        else:
            assert cost <= self.left
            self.open[who][name] = cost

    @precondition(lambda self: any(self.open))
    @rule(data=st.data(), sent=st.booleans())
    def close(self, data: st.DataObject, sent: bool) -> None:
        who = data.draw(st.sampled_from([place for place, held in enumerate(self.open) if held]))
        name = data.draw(st.sampled_from(sorted(self.open[who])))
        cost = self.open[who].pop(name)
        self.sessions[who].close_call(name, Outcome(ending="answered" if sent else "unsent"))
        self.sessions[who].close_call(name, Outcome(ending="answered"))  # a second end says nothing new
        self.spent += cost if sent else 0

    @rule(more=st.integers(-5_000_000, 5_000_000))
    def change_cap(self, more: int) -> None:
        self.limit = max(0, self.limit + more)
        self.sessions[0].ledger.set_cap(Cap("customer:acme", usd=from_nano(self.limit)))
        self.sessions[1].ledger.caps()

    @rule(cost=st.sampled_from(COSTS))
    def callers_at_once(self, cost: int) -> None:
        """Eight threads of two processes: as many are admitted as fit."""
        admitted: list[str] = []
        start = threading.Barrier(8)

        def call(number: int) -> None:
            session = self.sessions[number % 2]
            start.wait()
            try:
                session.open_tool(f"{self.count}-{number}", f"tool-{cost}", customer="acme")
            except BudgetExceeded:
                return
            admitted.append(session.id)
            session.close_tool(f"{self.count}-{number}")

        self.count += 1
        threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        fit = min(8, max(0, self.left) // cost)
        assert len(admitted) == fit or (self.is_stuck and len(admitted) <= fit)
        self.spent += cost * len(admitted)

    @precondition(lambda self: self.is_shared)
    @rule(who=st.integers(0, 1))
    def crash(self, who: int) -> None:
        """A process ends without a word: nothing of what it has set aside comes back before its time."""
        gone = self.sessions[who]
        gone.flush(20)
        writer: Any = gone.ledger._writer  # type: ignore[attr-defined]
        writer.leases.start_afresh()
        writer.allowances.start_afresh()
        self.lost += sum(self.open[who].values())
        self.is_stuck = True
        self.open[who] = {}
        self.sessions[who] = self.a_session()
        gone.ledger.close()

    @precondition(lambda self: self.is_shared)
    @rule()
    def time_passes(self) -> None:
        """The leases of the dead are over; the living have renewed theirs."""
        store = store_of(self.sessions[0].ledger)
        owners = [session.ledger._writer.leases.owner for session in self.sessions]  # type: ignore[attr-defined]
        store.change([("UPDATE lease SET expires_at = 1 WHERE owner NOT IN (?, ?)", owners)])
        self.lost, self.is_stuck = 0, False

    @precondition(lambda self: self.is_shared)
    @rule(who=st.integers(0, 1))
    def reopen(self, who: int) -> None:
        """A process ends well, once its calls are over."""
        for name, cost in self.open[who].items():
            self.sessions[who].close_tool(name)
            self.spent += cost
        self.open[who] = {}
        self.sessions[who].ledger.close()
        self.sessions[who] = self.a_session()
        self.sessions[who].ledger.caps()

    @invariant()
    def the_money_adds_up(self) -> None:
        for session in self.sessions:
            session.flush(20)
        ledger = self.sessions[0].ledger
        totals = ledger.totals("customer:acme/")
        assert sum(one.amount for one in totals) == from_nano(self.spent)
        assert sum(one.amount or 0 for one in ledger.entries("customer:acme")) == from_nano(self.spent)
        assert check(ledger).problems == ()

    def teardown(self) -> None:
        for session in self.sessions:
            session.ledger.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
def test_a_ledger_is_as_the_model_says(kind: str, server: Server) -> None:
    with tempfile.TemporaryDirectory() as folder:

        class Here(Spending):
            def __init__(self) -> None:
                if kind == "sqlite":
                    self.url = f"sqlite:///{Path(folder)}/{os.urandom(8).hex()}.db?timeout=30"
                elif kind == "postgres":
                    self.url = server.new_database()
                super().__init__()

        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Here,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                derandomize=not LONG,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
