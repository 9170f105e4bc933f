"""Waiting for money of a cap that processes share: a thread waits, an event loop is given back.

A step that may have to wait, such as ``Session.open_call``, is called plainly by a thread: it waits inside,
and not longer than the session's ``ledger_timeout``. On an event loop the same step is given to `awaited`,
which lets other tasks run meanwhile.

What the calls of this process hold of a session's budget is another matter; see ``reserving.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextvars import ContextVar
from time import monotonic
from typing import Literal, TypeAlias, TypeVar

from apeiros_callbacks.errors import LedgerDown
from apeiros_callbacks.ledger import Ledger
from apeiros_callbacks.ledger.allowance import GUARD, Allowance, Want
from apeiros_callbacks.scopes import Account, Need

__all__ = ["LedgerDownPolicy", "Lender", "awaited"]

LedgerDownPolicy: TypeAlias = Literal["refuse", "allow"]
"""What happens to a call with a shared cap while the ledger cannot be asked. ``"allow"`` goes by what this
process knows: what it spent is written when the ledger is back."""

T = TypeVar("T")


class _Wanted(BaseException):
    """A step would have to wait. Never leaves `awaited`."""

    def __init__(self, want: Want, lender: Lender) -> None:
        super().__init__()
        self.want = want
        self.lender = lender


class Attempt:
    """What became of the waiting for one call."""

    __slots__ = ("blocks", "deadline", "denied", "trusting")

    def __init__(self, *, blocks: bool) -> None:
        self.blocks = blocks
        """The thread may wait."""
        self.deadline: float | None = None
        self.denied: set[str] = set()
        """Scopes whose cap cannot take it."""
        self.trusting = False
        """Go by what this process knows: the ledger cannot be asked."""


_attempt: ContextVar[Attempt | None] = ContextVar("apeiros_attempt", default=None)


class Lender:
    """Sees to it that what a call needs of shared caps is at hand.

    Args:
        ledger: whose caps they are.
        timeout: the most to wait for one call, in seconds.
        when_down: what to do while the ledger cannot be asked.
    """

    def __init__(self, ledger: Ledger, timeout: float, when_down: LedgerDownPolicy) -> None:
        self._ledger = ledger
        self._timeout = timeout
        self._allows = when_down == "allow"

    def attempt(self) -> Attempt:
        """The waiting for one call: that of `awaited`, or one in which this thread waits."""
        return _attempt.get() or Attempt(blocks=True)

    def know_caps(self, attempt: Attempt) -> None:
        """Wait until the caps of the ledger are known.

        Raises:
            LedgerDown: the ledger cannot be asked, and that refuses.
        """
        allowances = self._ledger.allowances
        while not allowances.is_known and not attempt.trusting:
            self._wait(allowances.want_caps(), attempt)

    def lend(self, accounts: tuple[Account, ...], need: Need, attempt: Attempt) -> bool:
        """Wait until there is enough at hand, or it is known that there never will be.

        Returns:
            Whether anything was waited for.

        Raises:
            LedgerDown: the ledger cannot be asked, and that refuses.
        """
        waited = False
        while not attempt.trusting and (want := self._want(accounts, need, attempt.denied)) is not None:
            waited = True
            self._wait(want, attempt)
        return waited

    def _want(self, accounts: tuple[Account, ...], need: Need, denied: set[str]) -> Want | None:
        with GUARD:
            short: Allowance | None = None
            for account in accounts:
                if account.lacks(need) is None:
                    continue
                if not isinstance(account, Allowance) or account.stir is None or account.scope in denied:
                    return None  # it is refused, whatever the others say
                short = short or account
            return None if short is None else self._ledger.allowances.want(short, need.nano)

    def _wait(self, want: Want, attempt: Attempt) -> None:
        if attempt.deadline is None:
            attempt.deadline = monotonic() + self._timeout
        if not attempt.blocks:
            raise _Wanted(want, self)
        try:
            verdict = want.answer.result(self.patience(attempt))
        except (TimeoutError, CancelledError):
            verdict = None
        except BaseException:  # of a person who interrupts
            want.drop()
            raise
        self.hear(want, verdict, attempt)

    def patience(self, attempt: Attempt) -> float:
        """Seconds to wait yet. None are, when the ledger has been failing for longer than anybody waits."""
        since = self._ledger.failing_since
        if since is not None and monotonic() - since > self._timeout:
            return 0.0
        return max(0.0, (attempt.deadline or 0.0) - monotonic())

    def hear(self, want: Want, verdict: bool | None, attempt: Attempt) -> None:
        """Take up what came of waiting; None when the time was up."""
        if verdict:
            return
        if verdict is None:
            want.drop()
        failure = self._ledger.failure
        if verdict is False or (failure is None and want.is_heard):
            attempt.denied.add(want.allowance.scope)
        elif self._allows:
            attempt.trusting = True
        else:
            raise LedgerDown(want.allowance.name, str(failure or self._silence()))

    def _silence(self) -> str:
        return f"the ledger {self._ledger.url} did not answer within {self._timeout:g} s."


async def awaited(step: Callable[[], T], again: Callable[[], T] | None = None) -> T:
    """Run a step that may have to wait for money of a shared cap, and let other tasks run meanwhile.

    Args:
        step: is run at once, and again after each wait; it must not wait by itself.
        again: is run after a wait instead of `step`, where that must not be run twice.

    Returns:
        What the step gives.

    Raises:
        Refused: what the step raises; among that, `LedgerDown` when the ledger cannot be asked.
    """
    attempt = Attempt(blocks=False)
    while True:
        before = _attempt.set(attempt)
        try:
            return step()
        except _Wanted as wanted:
            want, lender = wanted.want, wanted.lender
        finally:
            _attempt.reset(before)
        step = again or step
        try:
            verdict = await asyncio.wait_for(asyncio.wrap_future(want.answer), lender.patience(attempt))
        except TimeoutError:
            verdict = None
        except BaseException:
            want.drop()
            raise
        lender.hear(want, verdict, attempt)
