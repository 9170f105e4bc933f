"""A ledger as a small team's would be, made by real sessions under a clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

from apeiros_callbacks import BudgetExceeded, Session
from apeiros_callbacks.call import Call, Outcome, Piece, Prompt
from apeiros_callbacks.ledger import open_ledger
from apeiros_callbacks.usage import Usage

BEGIN = datetime(2026, 11, 25, 9, tzinfo=UTC)
NOW = BEGIN + timedelta(hours=5)


class Team:
    """Sessions in one ledger, each call a minute after the one before."""

    def __init__(self, url: str) -> None:
        self.ledger = open_ledger(url)
        self.moment = BEGIN
        self._calls = 0

    def session(self, name: str, budget: float | None = None) -> Session:
        return Session(budget, id=name, ledger=self.ledger, clock=lambda: self.moment)

    def call(
        self,
        session: Session,
        model: str = "gpt-4o",
        tokens: tuple[int, int] = (1_200, 300),
        *,
        prompt: Sequence[str] = (),
        cached: int = 0,
        agent: str | None = None,
        customer: str | None = None,
        error: str | None = None,
    ) -> None:
        """One call of a session; twenty seconds long."""
        self._calls += 1
        marks = tuple(map(hash, prompt or (str(self._calls),)))
        call = Call(
            id=f"call-{self._calls}",
            provider="anthropic" if model.startswith("claude") else "openai",
            model=model,
            prompt=Prompt(marks, lambda _: Piece("", tokens[0])),  # the same with any tokenizer
            agent=agent,
            customer=customer,
        )
        session.open_call(call)
        self.moment += timedelta(seconds=20)
        usage = Usage(input_tokens=tokens[0], output_tokens=tokens[1], cache_read_tokens=cached)
        session.close_call(call.id, Outcome(ending="answered", usage=usage, error=error))
        self.moment += timedelta(seconds=40)

    def tool(self, session: Session, name: str, agent: str | None = None) -> None:
        """A tool of a session; five seconds long."""
        self._calls += 1
        session.open_tool(f"call-{self._calls}", name, agent=agent)
        self.moment += timedelta(seconds=5)
        session.close_tool(f"call-{self._calls}")


def make(url: str) -> None:
    """Yesterday a customer's chat; today a report that runs in circles, and two chats."""
    team = Team(url)
    with closing(team.ledger):
        team.moment = BEGIN - timedelta(days=1)
        chat = team.session("chat-globex-17")
        for size in (900, 950, 990):
            team.call(chat, "gpt-4o-mini", (size, 200), customer="globex", agent="support")

        team.moment = BEGIN
        report = team.session("nightly-report", budget=0.50)
        team.call(report, tokens=(8_000, 400), agent="planner")
        team.tool(report, "search", agent="researcher")
        for _ in range(4):
            team.call(report, tokens=(40_000, 50), prompt=("summarise",), cached=8_000, agent="researcher")
        try:
            team.call(report, tokens=(60_000, 900), agent="writer")
        except BudgetExceeded:
            pass
        else:
            raise AssertionError("it was to be refused")

        team.moment = BEGIN + timedelta(hours=3)
        for customer, size in (("acme", 30_000), ("globex", 2_000)):
            chat = team.session(f"chat-{customer}-18")
            for _ in range(3):
                team.call(chat, "claude-sonnet-4-5", (size, 700), customer=customer, agent="support")
