"""How much of a cap a process has at hand beyond what it needs: by how fast it spends."""

from __future__ import annotations

from apeiros_callbacks.ledger.allowance import Allowance

__all__ = ["IDLE", "comfort_of"]

IDLE = 10.0
"""Seconds without a call after which what is idle is given back."""
_HORIZON = 0.5
"""Seconds of spending to have at hand."""
_AT_LEAST = 4
"""Calls to have at hand, of the size of the largest."""
_LOOK = 0.05
"""Seconds over which the speed of spending is measured, at least."""


def comfort_of(allowance: Allowance, now: float, ran_out: bool) -> int:
    """Nano-dollars to have at hand beyond what is needed: what is spent in a moment at the present speed."""
    if allowance.recalled_until > now:
        allowance.comfort = 0
        return 0
    passed = now - allowance.looked_at
    if passed >= _LOOK:
        speed = allowance.used / passed
        allowance.rate = speed if speed > allowance.rate else (allowance.rate + speed) / 2
        if allowance.used:
            allowance.used_at = now
        allowance.used, allowance.looked_at = 0, now
    if now - allowance.used_at > IDLE and not allowance.wants:
        allowance.comfort = allowance.largest = 0
        return 0
    largest = max([allowance.largest, *(want.need for want in allowance.wants)])
    at_hand = max(_AT_LEAST * largest, int(allowance.rate * _HORIZON))
    if ran_out:  # it was too little
        at_hand = max(at_hand, 2 * allowance.comfort)
    allowance.comfort = min(at_hand, allowance.limit_nano or 0)
    return allowance.comfort
