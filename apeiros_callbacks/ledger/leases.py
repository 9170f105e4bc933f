"""What this process asks the ledger to set aside for it, when, and what an answer means.

Invariants, in nano-dollars of one period's scope, after each transaction:

1. spent + the sum of what is granted to all processes <= cap, whenever something was granted.
2. What a process holds and has not written yet <= what is granted to it, as long as calls cost no more than
   was held for them.

A process that writes an entry moves its amount from granted to spent in the transaction that inserts it,
and does not ask for that. It asks when it runs low, has more to spare than it told, or after some time: for
levels, never for differences, so that a transaction whose answer got lost may be repeated. It
lowers its own level before it asks for less, and raises it after it was granted more: whatever is lost on
the way, it never spends what somebody else has.
"""

from __future__ import annotations

import itertools
import math
import os
import secrets
import socket
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from time import monotonic

from apeiros_callbacks.ledger.allowance import GUARD, Allowance
from apeiros_callbacks.ledger.allowances import Allowances
from apeiros_callbacks.ledger.comfort import IDLE, comfort_of
from apeiros_callbacks.ledger.rows import Item
from apeiros_callbacks.ledger.store import Answer, Ask, Written
from apeiros_callbacks.money import from_nano, to_nano

__all__ = ["Leases"]

_RECALLED = 1.0
"""Seconds during which nothing idle is kept after others asked for it."""
_POLL = 0.25
"""Seconds between looks whether others ask for what is idle here."""
_RETRY = 0.02
"""Seconds between looks whether others gave something back, while somebody waits."""
_CAPS = 1.0
"""Seconds between looks whether the caps were changed elsewhere, while any scope is in use."""
_IN_USE = 60.0
_SWEEP = 10.0
"""Seconds between looks for the leases of the dead."""
_TRUST = 0.9
"""Of the time that is lent, as the clocks of two machines do not run alike."""
_NEVER = math.inf


class Leases:
    """The leases of one process in one ledger. For the thread that writes, but for `due_in`."""

    def __init__(self, allowances: Allowances, seconds: float) -> None:
        self._allowances = allowances
        self._seconds = seconds
        self.start_afresh()

    def start_afresh(self) -> None:
        """Have none, under a new name; also in a forked child."""
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._looked_at = self._swept_at = self._polled_at = -_NEVER
        self._moved: Mapping[str, int] = {}
        self._asked: dict[str, tuple[Allowance, Ask]] = {}
        """What was asked and is not answered yet."""
        self._queue: list[tuple[float, int, Allowance]] = []
        """When to look at each next, by the monotonic clock: a heap."""
        self._numbers = itertools.count()
        self._sent_at = 0.0

    # Asking

    def asks(self, items: Sequence[Item], *, leaving: bool) -> list[Ask]:
        """What to ask in the transaction that writes these entries."""
        now = self._sent_at = monotonic()
        moved = self._moved = _sums(items)
        with GUARD:
            found = self._to_look_at(moved, now, leaving=leaving)
            self._asked = {}
            for allowance in found:
                if allowance.limit_nano is None and not allowance.is_leased:
                    _answer_wants(allowance)
                    continue
                _drop(allowance)
                if leaving or allowance.has_untold or self._due_at(allowance) <= now:
                    ask = self._ask(allowance, moved.get(allowance.scope, 0), now, leaving=leaving)
                    if ask is not None:
                        self._asked[ask.scope] = (allowance, ask)
                        continue
                self._look_again(allowance, now)
            self._allowances.sweep(now)
        return sorted((ask for _, ask in self._asked.values()), key=lambda ask: ask.scope)

    def _to_look_at(self, moved: Iterable[str], now: float, *, leaving: bool) -> list[Allowance]:
        # A process may serve thousands of customers: most have nothing to say most of the time.
        found = self._allowances.stirred()
        if leaving:
            return self._allowances.all()
        for scope, (allowance, _) in self._asked.items():
            found.setdefault(scope, allowance)
        while self._queue and self._queue[0][0] <= now:
            at, _, allowance = heappop(self._queue)
            if allowance.queued_at == at:
                allowance.queued_at = _NEVER
                found.setdefault(allowance.scope, allowance)
        for scope in moved:
            charged = self._allowances.get(scope)
            if charged is not None:
                found.setdefault(scope, charged)
        return list(found.values())

    def _look_again(self, allowance: Allowance, now: float) -> None:
        at = self._due_at(allowance)
        if allowance.is_leased:  # what is idle by then may be given back
            at = min(at, max(now, allowance.used_at, allowance.sent_at) + IDLE)
        if at < allowance.queued_at:
            allowance.queued_at = at
            heappush(self._queue, (at, next(self._numbers), allowance))

    def _ask(self, allowance: Allowance, moved: int, now: float, *, leaving: bool) -> Ask | None:
        busy = allowance.held.nano + max(0, allowance.unwritten - moved)
        needs = [want.need for want in allowance.wants]
        ran_out = any(not want.is_told for want in allowance.wants)
        for want in allowance.wants:
            want.is_told = True
        first, least = busy + sum(needs[:1]), busy + sum(needs)
        has = allowance.granted - moved
        comfort = 0 if leaving or allowance.limit_nano is None else comfort_of(allowance, now, ran_out)
        wish = least + comfort
        if comfort and wish < has <= least + 4 * comfort:
            wish = has  # not worth a change
        # Lowered before it is sent: while somebody waits, so is what was not enough for them.
        kept = busy if least > has else wish
        if kept < has:
            allowance.granted = max(0, kept + moved)
        if not wish and not allowance.is_leased:
            allowance.is_asked = False
            return None
        allowance.is_asked = allowance.is_leased = True
        return Ask(allowance.scope, busy, first, least, wish)

    def _due_at(self, allowance: Allowance) -> float:
        """When to ask next, by the monotonic clock."""
        if allowance.wants or allowance.is_asked:
            return allowance.retry_at
        if not allowance.is_leased:
            return _NEVER
        if allowance.idle > 0:  # to be given back when it is not used
            return min(max(allowance.used_at, allowance.sent_at) + IDLE, allowance.renew_at)
        return allowance.renew_at

    # Hearing

    def answered(self, written: Written, known: int) -> None:
        """Take up what the transaction brought; wake those who waited for it.

        Args:
            written: what came of it.
            known: the version of the caps that was known when it was sent.
        """
        if written.caps is not None:
            replaced = written.caps_version < known
            self._allowances.know(written.caps_version, written.caps, afresh=replaced)
        # The cap may have been changed meanwhile: what was lent under another one is asked for again.
        is_stale = written.caps_version < self._allowances.version
        now = monotonic()
        with GUARD:
            for scope, nano in self._moved.items():
                allowance = self._allowances.get(scope)
                if allowance is not None:
                    allowance.written(nano)
            for answer in written.answers:
                asked = self._asked.pop(answer.scope, None)
                if asked is not None:
                    self._take_up(*asked, answer, is_stale)
                    self._look_again(asked[0], now)
        self._moved = {}
        self.recall(written.recalled)
        self._polled_at = self._looked_at = now  # each answer says that, too

    def written_alone(self, item: Item) -> None:
        """Note an entry that was written by itself."""
        with GUARD:
            for scope, nano in _sums([item]).items():
                allowance = self._allowances.get(scope)
                if allowance is not None:
                    allowance.written(nano)

    def _take_up(self, allowance: Allowance, ask: Ask, answer: Answer, is_stale: bool) -> None:
        now = self._sent_at
        allowance.granted = answer.granted
        allowance.reported = ask.idle_of(answer.granted)
        allowance.is_leased = answer.granted > 0
        if not is_stale:
            allowance.limit_to(None if answer.cap is None else from_nano(answer.cap))
        allowance.learn(answer.spent, answer.elsewhere)
        allowance.sent_at = now
        allowance.trusted_until = now + _TRUST * self._seconds
        allowance.renew_at = now + self._seconds / 3
        allowance.is_asked = False
        allowance.low = allowance.comfort // 2
        if answer.recalled:
            allowance.recalled_until = monotonic() + _RECALLED
        # More was spent than expected, and what calls hold is not covered: to be asked for again.
        is_short = allowance.idle < 0 <= allowance.left_nano
        allowance.is_asked = is_short or (answer.recalled and allowance.idle > 0)
        allowance.retry_at = monotonic() + _RETRY if is_short else -_NEVER
        if is_stale:
            allowance.drop_idle()
        _answer_wants(allowance)
        if any(want.is_told for want in allowance.wants):
            allowance.retry_at = monotonic() + _RETRY

    # When

    def due_in(self, *, leaving: bool, rests: bool = False) -> float | None:
        """Seconds until there is something to ask; None when there is nothing to wait for.

        Args:
            leaving: everything is given back.
            rests: what came up meanwhile can wait, unless it rings.
        """
        if leaving:
            return 0.0 if self.has_something else None
        now = monotonic()
        due = _NEVER
        in_use = now - self._allowances.used_at < _IN_USE
        with GUARD:
            if self._allowances.has_stirred and not rests:
                return 0.0
            if self._queue:
                due = self._queue[0][0]
            if any(allowance.idle > 0 and allowance.is_leased for allowance in self._allowances.all()):
                due = min(due, self._polled_at + _POLL)
        if in_use:
            due = min(due, self._looked_at + _CAPS)
        return None if due == _NEVER else max(0.0, due - now)

    def polls(self) -> bool:
        """Whether it is time to see if others need what is idle here."""
        now = monotonic()
        if now - self._polled_at < _POLL or not self.has_something:
            return False
        self._polled_at = now
        return True

    def recall(self, scopes: Sequence[str]) -> None:
        """Give back what is idle in some scopes, next time that the ledger is asked."""
        now = monotonic()
        with GUARD:
            for scope in scopes:
                allowance = self._allowances.get(scope)
                if allowance is not None:
                    allowance.recalled_until = now + _RECALLED
                    allowance.is_asked = True
                    allowance.retry_at = -_NEVER
                    self._look_again(allowance, now)

    def looks(self) -> bool:
        """Whether it is time to see if caps were changed elsewhere."""
        now = monotonic()
        if not self._allowances.is_known:
            return True
        if now - self._looked_at >= _CAPS and now - self._allowances.used_at < _IN_USE:
            self._looked_at = now
            return True
        return False

    def sweeps(self, asks: Sequence[Ask]) -> bool:
        """Whether it is time to look for the leases of the dead."""
        now = monotonic()
        if asks and now - self._swept_at >= _SWEEP:
            self._swept_at = now
            return True
        return False

    @property
    def has_something(self) -> bool:
        """Something is set aside that no open call needs."""
        with GUARD:
            return any(
                one.is_leased and (one.idle > 0 or not one.granted or (one.is_asked and one.idle == 0))
                for one in self._allowances.all()
            )


def _drop(allowance: Allowance) -> None:
    """Forget those who wait no longer."""
    if any(want.is_dropped for want in allowance.wants):
        kept = [want for want in allowance.wants if not want.is_dropped]
        allowance.wants.clear()
        allowance.wants.extend(kept)


def _answer_wants(allowance: Allowance) -> None:
    """Wake, in their order, those for whom there is enough now, and those for whom there never will be."""
    idle, left = allowance.idle, allowance.left_nano
    waiting = list(allowance.wants)
    allowance.wants.clear()
    for want in waiting:
        if want.is_dropped:
            continue
        if allowance.limit_nano is None or idle >= want.need:
            idle -= want.need
            left -= want.need
            verdict = True
        elif want.need > left:
            verdict = False
        else:
            want.is_heard = want.is_told
            allowance.wants.append(want)
            continue
        if not want.answer.done():
            want.answer.set_result(verdict)


def _sums(items: Sequence[Item]) -> Mapping[str, int]:
    """Nano-dollars that entries charge to each scope."""
    sums: defaultdict[str, int] = defaultdict(int)
    for entry, scopes in items:
        if entry.amount:
            nano = to_nano(entry.amount)
            for scope in scopes:
                sums[scope] += nano
    return dict(sums)
