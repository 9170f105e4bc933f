"""What becomes of a call that ended: its hold settled, one line in the ledger, later corrections."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from apeiros_callbacks.alerts.notices import Notices
from apeiros_callbacks.call import OpenCall, Outcome
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.estimate import Estimator
from apeiros_callbacks.ledger import Ledger
from apeiros_callbacks.ledger.allowance import Allowance
from apeiros_callbacks.money import to_nano
from apeiros_callbacks.prices import PriceBook
from apeiros_callbacks.recent import Recent
from apeiros_callbacks.report import total
from apeiros_callbacks.scopes import Account, Accounts, Need
from apeiros_callbacks.settle import Settled, correction, settle, unresolved
from apeiros_callbacks.watch import Watch

__all__ = ["Recorder"]

_CLOSED = 50_000


class Recorder:
    """Writes the lines of one session.

    Args:
        session_id: the session's name on each line.
        scopes: the ledger's scopes that each line is in, the session's own first.
        ledger: where the lines go.
        accounts: what the holds are settled with.
        estimator: counts what was not reported, and learns from what was.
        book: what a token costs.
        watch: looks at each line.
        notices: looks at what each line is charged to.
        clock: gives the present time.
        elsewhere: ledgers of the sessions that this one is part of, where they are others, with their scopes.
    """

    def __init__(
        self,
        session_id: str,
        scopes: tuple[str, ...],
        ledger: Ledger,
        accounts: Accounts,
        estimator: Estimator,
        book: PriceBook,
        watch: Watch,
        notices: Notices,
        clock: Callable[[], datetime],
        elsewhere: tuple[tuple[Ledger, tuple[str, ...]], ...] = (),
    ) -> None:
        self._session_id = session_id
        self._scopes = scopes
        self._ledger = ledger
        self._accounts = accounts
        self._estimator = estimator
        self._book = book
        self._watch = watch
        self._notices = notices
        self._clock = clock
        self._elsewhere = elsewhere
        self._attempts: Recent[str, int] = Recent(_CLOSED)
        self._provisional: Recent[str, OpenCall] = Recent()

    def go_on(self, account: Account) -> None:
        """Take up what a session of this name has in the ledger, and charge it."""
        lines = self._ledger.entries(self._scopes[0])
        if lines:
            sums = total(lines)
            tokens = sums.input_tokens + sums.output_tokens
            self._accounts.correct((account,), Need(to_nano(sums.cost), sums.calls, tokens), sums.cost)
            for line in lines:
                self._attempts.set(line.id, line.attempt)

    def next_attempt(self, call_id: str) -> int:
        """Which attempt a start of a call is: a start after its close is a new one."""
        return (self._attempts.get(call_id) or 0) + 1

    def saw(self, call_id: str, attempt: int) -> None:
        """Note an attempt that a session within this one has closed: the next start here is a later one."""
        if attempt >= self.next_attempt(call_id):
            self._attempts.set(call_id, attempt)

    def close(self, open_call: OpenCall, outcome: Outcome) -> Entry | None:
        """Settle a call and write its line. None for a call that was not sent."""
        call = open_call.call
        entry = None
        if outcome.ending == "unsent":
            self._accounts.release(open_call.hold)
        else:
            entry, need = self._settled(open_call, outcome)
            open_call.entry = entry
            self._accounts.settle(open_call.hold, open_call.accounts, need, entry.amount)
            self._attempts.set(call.id, open_call.attempt)
            open_call.state = "closed"
        if outcome.provisional:
            open_call.state = "provisional"
            self._provisional.set(call.id, open_call)
        if entry is not None:
            self._write(open_call, outcome, entry)
        return entry

    def close_late(self, call_id: str, outcome: Outcome) -> Entry | None:
        """A real end after an inferred one corrects it; any other second end does nothing."""
        if outcome.provisional:
            return None
        open_call = self._provisional.pop(call_id)
        if open_call is None or outcome.ending == "unsent":
            return None
        open_call.state = "closed"
        settled = self._settled(open_call, outcome)
        entry, need = settled
        inferred = open_call.entry
        if inferred is None:
            self._attempts.set(call_id, open_call.attempt)
        elif _says_the_same(inferred, entry):
            return None  # there is nothing to correct
        else:
            entry, need = correction(inferred, settled)
        self._accounts.correct(open_call.accounts, need, entry.amount)
        self._write(open_call, outcome, entry)
        return entry

    def forget_provisional(self) -> None:
        """Correct no line any more."""
        self._provisional.clear()

    def _settled(self, open_call: OpenCall, outcome: Outcome) -> Settled:
        try:
            return settle(open_call, outcome, self._book, self._estimator, self._session_id, self._clock())
        except Exception as bug:  # noqa: BLE001 - a call that was sent is in the ledger, come what may
            self._watch.went_wrong("pricing a call", bug)
            return unresolved(open_call, outcome, self._session_id, self._clock())

    def _write(self, open_call: OpenCall, outcome: Outcome, entry: Entry) -> None:
        call = open_call.call
        scopes = self._scopes
        if call.customer is not None:
            shared = [account for account in open_call.accounts if isinstance(account, Allowance)]
            scopes = (*scopes, *(scope for one in shared for scope in (one.base, one.scope)))
        self._notices.look(open_call.accounts)
        self._ledger.append(entry, scopes)
        whole = outcome.ending == "answered" and not outcome.cached
        if whole and entry.kind != "tool" and outcome.usage is not None:
            self._estimator.learn(call, open_call.estimate, outcome.usage)
        self._watch.look_after(open_call, outcome, entry)
        for ledger, outer in self._elsewhere:
            ledger.append(entry, outer)


def _says_the_same(inferred: Entry, seen: Entry) -> bool:
    return (inferred.usage, inferred.amount, inferred.usage_certainty) == (
        seen.usage,
        seen.amount,
        seen.usage_certainty,
    )
