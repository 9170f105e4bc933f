"""What is remembered of each root run: what was refused in it, what stopped it, how far it stepped down."""

from __future__ import annotations

import copy
from typing import NamedTuple

from apeiros_callbacks.call import Call
from apeiros_callbacks.detectors import Finding
from apeiros_callbacks.errors import BudgetExceeded
from apeiros_callbacks.recent import Recent
from apeiros_callbacks.scopes import Need

__all__ = ["RefusedCall", "RunMemory"]

_ROOTS = 10_000


class RefusedCall(NamedTuple):
    """What was refused last in a root run."""

    refusal: BudgetExceeded
    need: Need
    model: str
    prompt: int


class RunMemory:
    """The memory of the last 10,000 root runs. Safe across threads; a call without a root leaves none."""

    def __init__(self) -> None:
        self._refused: Recent[str, RefusedCall] = Recent(_ROOTS)
        self._stopped: Recent[str, Finding] = Recent(_ROOTS)
        self._stepped: Recent[str, int] = Recent(_ROOTS)
        self._routed: Recent[tuple[str, str], str] = Recent(_ROOTS)

    # Refusals

    def refuse(self, call: Call, refusal: BudgetExceeded, need: Need) -> None:
        """Remember that a call was refused."""
        if call.root:
            # A copy: the one that is raised holds on to the frames it goes through, and to their streams.
            kept = copy.copy(refusal)
            self._refused.set(call.root, RefusedCall(kept, need, call.model, call.prompt.mark))

    def refused(self, call: Call) -> RefusedCall | None:
        """What was refused last in the run of a call."""
        return self._refused.get(call.root) if call.root else None

    def refused_again(self, call: Call, need: Need) -> RefusedCall | None:
        """What was refused in the run of a call, where the call is the same or needs as much.

        Its refusal is a copy, to be raised.
        """
        before = self._refused.get(call.root)
        if before is None:
            return None
        same = before.model == call.model and before.prompt == call.prompt.mark
        now, then = (_in_unit(one, before.refusal.unit) for one in (need, before.need))
        if now and (same or now >= then):
            return before._replace(refusal=copy.copy(before.refusal))
        return None

    def forget_refusals(self) -> None:
        """Let every call be judged afresh."""
        self._refused.clear()

    # Findings

    def stop(self, root: str, finding: Finding) -> None:
        """Remember the finding that refuses the next call of a run."""
        self._stopped.set(root, finding)

    def stopped_by(self, call: Call) -> Finding | None:
        """The finding that refuses a call of its run."""
        return self._stopped.get(call.root) if call.root else None

    def forgive(self, root: str) -> None:
        """Let a run go on that was stopped or refused."""
        self._stopped.pop(root)
        self._refused.pop(root)

    def forget(self) -> None:
        """Let every run go on."""
        self._stopped.clear()
        self._refused.clear()

    # Routers

    def step_down(self, call: Call) -> None:
        """Remember that a finding asks for the next cheaper model in the run of a call."""
        if call.root:
            self._stepped.set(call.root, self.steps_down(call) + 1)

    def steps_down(self, call: Call) -> int:
        """How often a finding asked for a cheaper model in the run of a call."""
        return self._stepped.get(call.root) or 0

    def route(self, call: Call, why: str) -> None:
        """Remember why a router is to take a cheaper model; the first reason stays."""
        route = _route_of(call)
        self._routed.set(route, self._routed.get(route) or why)

    def take_route(self, call: Call) -> str:
        """Why a router took the model of a call; it is asked once."""
        return self._routed.pop(_route_of(call)) or ""


def _route_of(call: Call) -> tuple[str, str]:
    rung = call.rung
    return (call.root, "" if rung is None else f"{rung.preferred} {rung.at}")


def _in_unit(need: Need, unit: str) -> int:
    return {"usd": need.nano, "calls": need.calls, "tokens": need.tokens}[unit]
