"""Holding the money of a call, on scopes that refuse it and on scopes that only warn.

Where a session's budgets only warn, the caps that its customers share with others refuse all the same,
unless nothing is enforced at all.
"""

from __future__ import annotations

from apeiros_callbacks.call import Call, OpenCall
from apeiros_callbacks.errors import BudgetExceeded
from apeiros_callbacks.ledger.allowance import Allowance
from apeiros_callbacks.reserving import kept_here
from apeiros_callbacks.scopes import Account, Accounts, Hold, Need
from apeiros_callbacks.waiting import Attempt, Lender

__all__ = ["Holder"]

_NOTHING = Need(0)


class Holder:
    """Takes and extends the holds of a session's calls.

    Args:
        accounts: what changes the scopes.
        lender: waits for what a call needs of caps that processes share.
        raises: the session's budgets refuse.
        enforces: anything may refuse.
    """

    def __init__(self, accounts: Accounts, lender: Lender, *, raises: bool, enforces: bool) -> None:
        self._accounts = accounts
        self._lender = lender
        self._raises = raises
        self._enforces = enforces

    def attempt(self, call: Call) -> Attempt | None:
        """The waiting for one call; None where no shared cap can refuse it.

        Raises:
            LedgerDown: whether a cap applies cannot be asked.
        """
        if call.customer is None or not self._enforces:
            return None
        attempt = self._lender.attempt()
        self._lender.know_caps(attempt)
        return attempt

    def lend(self, scopes: tuple[Account, ...], need: Need, attempt: Attempt | None) -> bool:
        """Wait until there is enough at hand, or never will be. True when anything was waited for.

        Raises:
            LedgerDown: the ledger cannot be asked.
        """
        return attempt is not None and self._lender.lend(self.refusing(scopes), need, attempt)

    def hold(
        self, scopes: tuple[Account, ...], need: Need, call: Call, attempt: Attempt | None
    ) -> tuple[Hold | None, BudgetExceeded | None]:
        """Set the need aside on all scopes, or on none where one refuses.

        Returns:
            The hold, unless a scope refuses; and what it says, or what one says that only warns.

        Raises:
            LedgerDown: the ledger cannot be asked.
        """
        refusing, kept = self.refusing(scopes), kept_here.get()
        while True:
            trusting = attempt is not None and attempt.trusting
            hold, over = self._accounts.hold(
                refusing, need, model=call.model, trusting=trusting, instead_of=kept
            )
            # Another thread may have taken what was at hand.
            if over is None or not self.lend(scopes, need, attempt):
                break
        if hold is None or len(refusing) == len(scopes):
            return hold, over
        warning = tuple([scope for scope in scopes if scope not in refusing])
        more, over = self._accounts.hold(warning, need, model=call.model, force=True, trusting=True)
        return (None if more is None else Hold((*warning, *refusing), need)), over

    def extend(self, open_call: OpenCall, need: Need) -> tuple[bool, BudgetExceeded | None]:
        """Let a call's hold grow.

        Returns:
            Whether it has grown, and what a scope says that refuses, or only warns.

        Raises:
            LedgerDown: the ledger cannot be asked.
        """
        call, hold = open_call.call, open_call.hold
        refusing = self.refusing(hold.accounts)
        attempt = self.attempt(call)
        while True:
            trusting = not refusing or (attempt is not None and attempt.trusting)
            over = self._accounts.extend(hold, need, model=call.model, refusing=refusing, trusting=trusting)
            more = Need(*(max(0, new - old) for new, old in zip(need, hold.need, strict=True)))
            if over is None or more == _NOTHING:
                return True, over
            if not self.lend(hold.accounts, more, attempt):
                return False, over

    def refusing(self, scopes: tuple[Account, ...]) -> tuple[Account, ...]:
        """Those of the scopes that refuse."""
        if self._raises:
            return scopes
        if not self._enforces:
            return ()
        return tuple([scope for scope in scopes if isinstance(scope, Allowance)])
