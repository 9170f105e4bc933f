"""The allowances of one ledger in this process, and the caps that they are of."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from time import monotonic

from apeiros_callbacks.caps import Cap, period_end, period_scope, period_start
from apeiros_callbacks.forked import in_forked_child
from apeiros_callbacks.ledger.allowance import GUARD, Allowance, Want

__all__ = ["Allowances", "may_wait"]

_limiting: weakref.WeakSet[Allowances] = weakref.WeakSet()


def may_wait() -> bool:
    """Whether any call of this process may have to wait for a ledger that others share."""
    return bool(_limiting)


_FORGET = 60.0
"""Seconds after which an allowance that nothing uses is dropped from memory."""


class Allowances:
    """Finds the allowance of a scope at a moment. Safe across threads.

    Args:
        ring: wakes the thread that asks the ledger for more; None where the ledger is of this process only.
        spent: the nano-dollars that a scope has spent before its allowance is in use, where that is known.
        nudge: wakes that thread where it sleeps, and not from a rest.
    """

    def __init__(
        self,
        ring: Callable[[], None] | None = None,
        spent: Callable[[str], int] | None = None,
        nudge: Callable[[], None] | None = None,
    ) -> None:
        self._ring = ring
        self._nudge = nudge
        self._spent = spent
        self._forget()
        self.caps: Mapping[str, Cap] = {}
        """As last read, by scope."""
        self.version = -1
        """Of the caps; -1 before they were ever read."""
        if ring is not None:
            in_forked_child(self)
            _limiting.add(self)

    def start_afresh(self) -> None:
        """Have none; in a forked child, where they are the parent's."""
        GUARD.start_afresh()
        self._forget()

    def _forget(self) -> None:
        self._all: dict[str, Allowance] = {}
        self._current: dict[str, tuple[datetime, datetime, Allowance]] = {}
        self._waiting: list[Want] = []
        self._stirred: dict[str, Allowance] = {}
        self._swept_at = self.used_at = monotonic()

    @property
    def is_known(self) -> bool:
        """The caps were read at least once."""
        return self.version >= 0 or self._ring is None

    @property
    def is_limiting(self) -> bool:
        """Any scope has a limit, or may have one."""
        return not self.is_known or any(cap.usd is not None for cap in self.caps.values())

    def _note_limits(self) -> None:
        if self._ring is not None and self.is_limiting:
            _limiting.add(self)
        else:
            _limiting.discard(self)

    def of(self, base: str, now: datetime) -> Allowance:
        """The allowance of the period that a moment is in: by the scope's cap, or of the month in UTC."""
        self.used_at = monotonic()
        current = self._current.get(base)
        if current is None or not current[0] <= now < current[1]:
            cap = self.caps.get(base) or Cap(base)
            name = cap.period_at(now)
            allowance = self._get(period_scope(base, name), base)
            allowance.limit_to(cap.usd)
            start, end = period_start(name, cap.timezone), period_end(name, cap.timezone)
            current = self._current[base] = (start, end, allowance)
        return current[2]

    def _get(self, scope: str, base: str) -> Allowance:
        found = self._all.get(scope)
        if found is not None:
            return found
        made = Allowance(scope, base, None if self._ring is None else self._stir)
        if self._spent is not None:
            made.learn(self._spent(scope), 0)
        return self._all.setdefault(scope, made)

    def get(self, scope: str) -> Allowance | None:
        """The allowance of a period's scope, if it is in use."""
        return self._all.get(scope)

    def all(self) -> list[Allowance]:
        """All that are in use."""
        return list(self._all.values())

    def want(self, allowance: Allowance, need: int) -> Want:
        """Ask the ledger for more. Called under `GUARD`."""
        return allowance.want(need)

    def _stir(self, allowance: Allowance, urgent: bool = True) -> None:
        self._all.setdefault(allowance.scope, allowance)
        self._stirred[allowance.scope] = allowance
        if urgent:
            self.ring()
        elif self._nudge is not None:
            self._nudge()

    @property
    def has_stirred(self) -> bool:
        """There are some that the ledger is to be asked about at once."""
        return bool(self._stirred)

    def stirred(self) -> dict[str, Allowance]:
        """Those, once. Called under `GUARD`."""
        found, self._stirred = self._stirred, {}
        return found

    def ring(self) -> None:
        """Wake the thread that asks."""
        if self._ring is not None:
            self._ring()

    def want_caps(self) -> Want:
        """Wait until the caps are known."""
        want = Want(Allowance("", "", None), 0)
        with GUARD:
            if self.is_known:
                want.answer.set_result(True)
            else:
                self._waiting.append(want)
        self.ring()
        return want

    def know(self, version: int, caps: Iterable[Cap], *, afresh: bool = False) -> None:
        """Take up the caps as they are now, unless newer ones are known.

        Args:
            version: of the caps.
            caps: all there are.
            afresh: what was known before is of a ledger that is there no more, and so is what it had lent.
        """
        if version < self.version and not afresh:
            return
        self.caps = {cap.scope: cap for cap in caps}
        self.version = version
        self._note_limits()
        with GUARD:
            self._current = {}
            for allowance in self._all.values():
                cap, before = self.caps.get(allowance.base), allowance.limit_nano
                allowance.limit_to(None if cap is None else cap.usd)
                lowered = before is not None and (allowance.limit_nano or before) < before
                if allowance.is_leased and (lowered or allowance.limit_nano == 0 or afresh):
                    allowance.drop_idle()
                elif allowance.wants and self._ring is not None:
                    self._stir(allowance)
            waiting, self._waiting = self._waiting, []
        for want in waiting:
            if not want.answer.done():
                want.answer.set_result(True)

    def sweep(self, now: float) -> None:
        """Drop from memory what nothing uses. Called under `GUARD`."""
        if now - self._swept_at < _FORGET:
            return
        self._swept_at = now
        for scope, allowance in list(self._all.items()):
            if allowance.limit is None and allowance.used:
                allowance.used, allowance.used_at = 0, now
            if allowance.is_blank and now - allowance.used_at > _FORGET:
                del self._all[scope]
        kept = set(map(id, self._all.values()))
        self._current = {base: one for base, one in self._current.items() if id(one[2]) in kept}
