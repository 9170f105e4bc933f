"""The open calls of a session: each is opened once, grows, and is closed exactly once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from weakref import WeakSet

from apeiros_callbacks.call import Call, Ending, OpenCall, Outcome
from apeiros_callbacks.ending import before_end
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import GateFailed, Refused
from apeiros_callbacks.gate import Gate, Passed
from apeiros_callbacks.recorder import Recorder
from apeiros_callbacks.scopes import Account, Accounts
from apeiros_callbacks.scoping import Scoping
from apeiros_callbacks.watch import Watch

__all__ = ["Calls"]


class Calls:
    """Opens, grows and closes the calls of one session.

    Args:
        scoping: whether there is a limit at all.
        accounts: where holds are given back.
        gate: what may be sent.
        recorder: what becomes of a call that ended.
        watch: counts what goes wrong.
        clock: gives the present time.
        around: those of the session that this one is part of. What both are told of is charged to that once.
    """

    def __init__(
        self,
        scoping: Scoping,
        accounts: Accounts,
        gate: Gate,
        recorder: Recorder,
        watch: Watch,
        clock: Callable[[], datetime],
        around: Calls | None = None,
    ) -> None:
        self._scoping = scoping
        self._accounts = accounts
        self._gate = gate
        self._recorder = recorder
        self._watch = watch
        self._clock = clock
        self._guards = tuple({watch.guard, accounts.guard})
        self._around: tuple[Calls, ...] = () if around is None else (around, *around._around)
        """Those of the sessions that this one is part of, the nearest first."""
        self._open: dict[str, OpenCall] = {}
        self._within: dict[str, OpenCall] = {}
        """Calls that sessions within this one have open, in the first of them, which charges it here."""
        _all.add(self)

    def __len__(self) -> int:
        return len(self._open)

    def open(self, call: Call) -> OpenCall:
        """Hold what a call is expected to cost, or raise what refuses it."""
        again = self._open.get(call.id) or self._within.get(call.id)
        if again is not None:
            return again
        try:
            return self._admit(call, self._gate.check(call, self._charged_around(call.id)))
        except Refused:
            raise
        except Exception as bug:  # noqa: BLE001 - refused while a budget is set, noted while none is
            self.check_failed(bug)
            return self._admit(call, self._gate.unchecked(call, self._charged_around(call.id)))

    def check_failed(self, bug: Exception) -> None:
        """Note that a call could not be checked before it is sent.

        Raises:
            GateFailed: a budget is set and enforced.
        """
        self._watch.went_wrong("checking a call before it is sent", bug)
        if self._scoping.is_limited and self._watch.enforces:
            raise GateFailed(bug) from bug

    def grow(self, open_call: OpenCall, text: str, *, can_cut: bool = True) -> None:
        """Note a piece of an answer, and hold more when it outgrows the estimate, or raise."""
        open_call.take_text(text)
        if open_call.estimate is not None and open_call.may_exceed_hold():
            self._gate.extend(open_call, open_call.estimate, can_cut=can_cut)

    def close(self, call_id: str, outcome: Outcome) -> Entry | None:
        """Settle a call and write its entry. Never raises."""
        for guard in self._guards:
            if guard.is_mine:  # the garbage collector closes an abandoned stream in the middle of a change
                guard.later(partial(self.close, call_id, outcome))
                return None
        open_call = self._open.pop(call_id, None)
        try:
            for around in self._around:
                if around._within.get(call_id) is open_call:
                    around._within.pop(call_id, None)
            if open_call is None:
                return self._recorder.close_late(call_id, outcome)
            entry = self._recorder.close(open_call, outcome)
        except Exception as bug:  # noqa: BLE001 - recording must not break the user's chain
            self._watch.went_wrong("recording a call", bug)
            return None
        except BaseException:  # a person who interrupts: it was made, and is recorded all the same
            if open_call is not None:
                self._recorder.close(open_call, outcome)  # what was done of it is not done twice
            raise
        if entry is not None:
            for around in self._around:
                around._recorder.saw(call_id, entry.attempt)
        return entry

    def record(self, call: Call, outcome: Outcome) -> Entry | None:
        """Write the entry of a call that was made elsewhere. Never raises."""
        self.note(call)
        return self.close(call.id, outcome)

    def note(self, call: Call) -> None:
        """Open a call that was made elsewhere: nothing refuses it. Never raises."""
        if call.id in self._open or call.id in self._within:
            return
        try:
            self._admit(call, self._gate.unchecked(call, self._charged_around(call.id)))
        except Exception as bug:  # noqa: BLE001 - the call was made, whatever goes wrong here
            self._watch.went_wrong("recording a call", bug)

    def close_all(self) -> None:
        """Close what is open when the process ends, for what is known of it: nobody else will."""
        for call_id, open_call in list(self._open.items()):
            if open_call.call.kind == "tool":
                outcome = Outcome(ending="answered", error=_ENDED)
            else:
                ending: Ending = "cut" if open_call.has_streamed else "lost"
                outcome = Outcome(ending=ending, provisional=True, error=_ENDED)
            self.close(call_id, outcome)

    def start_afresh(self) -> None:
        """Hold nothing: in a forked child, whose parent's calls are the parent's to close."""
        self._watch.guard.start_afresh()
        self._accounts.guard.start_afresh()
        for open_call in list(self._open.values()):
            self._accounts.release(open_call.hold)
        self._open = {}
        self._within = {}
        self._recorder.forget_provisional()

    def _admit(self, call: Call, passed: Passed) -> OpenCall:
        """Open a call that may be sent. Of two threads that start the same one, the first opens it."""
        try:
            attempt, now = self._recorder.next_attempt(call.id), self._clock()
            for around in self._around:
                attempt = max(attempt, around._recorder.next_attempt(call.id))
            opened = OpenCall(call, attempt, passed.hold, passed.estimate, passed.rates, now, passed.accounts)
            opened.is_noted, opened.routed_why = passed.over_budget, passed.routed_why
            first = self._open.setdefault(call.id, opened)
        except BaseException:  # also of a person who interrupts
            self._accounts.release(passed.hold)
            raise
        if first is not opened:
            self._accounts.release(passed.hold)
        for around in self._around:
            around._within.setdefault(call.id, first)  # the first of several sessions within it charges it
        return first

    def _charged_around(self, call_id: str) -> tuple[Account, ...]:
        """What the call is charged to already, where others are told of it first.

        Those are sessions around this one, or other sessions within those.
        """
        charged: list[Account] = []
        for around in self._around:
            for told in (around._open.get(call_id), around._within.get(call_id)):
                if told is not None:
                    charged.extend(told.accounts)
        return tuple(charged)


_ENDED = "process ended"

_all: WeakSet[Calls] = WeakSet()


def _close_all() -> None:
    for calls in list(_all):
        calls.close_all()


before_end("close", _close_all)
