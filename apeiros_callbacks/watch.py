"""What looks at the calls of one session: its detectors, what they found, and what follows from that."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

from apeiros_callbacks.alerts.notices import Notices
from apeiros_callbacks.call import Call, OpenCall, Outcome
from apeiros_callbacks.detectors import BudgetExceededDetector, Detector, Finding, Lanes, built_in_detectors
from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import BudgetExceeded
from apeiros_callbacks.guard import Guard
from apeiros_callbacks.ledger.noted import Noted
from apeiros_callbacks.noting import Notes
from apeiros_callbacks.policy import Action, Policy
from apeiros_callbacks.report import Health
from apeiros_callbacks.run_memory import RunMemory

__all__ = ["Watch"]

logger = logging.getLogger("apeiros_callbacks")

_REFUSING: frozenset[Action] = frozenset({"raise", "pause", "downgrade"})
"""Actions on ``budget_exceeded`` that refuse the call."""


class Watch:
    """Lets the detectors look, keeps what they find, and follows the policy.

    Args:
        policy: finding → action.
        notices: told of each call that passes a budget.
        notes: tells the ledger what was found.
        enforces: whether anything may refuse a call; otherwise it is noted and goes on.
    """

    def __init__(self, policy: Policy, notices: Notices, notes: Notes, *, enforces: bool) -> None:
        self.guard = Guard()
        self.memory = RunMemory()
        self.enforces = enforces
        self.refuses_over_budget = enforces and policy.action("budget_exceeded") in _REFUSING
        """Whether a call that passes a budget is refused."""
        self._policy = policy
        self._notices = notices
        self._notes = notes
        self._exceeded = BudgetExceededDetector()
        self._detectors: tuple[Detector, ...] = (self._exceeded, *built_in_detectors())
        self._lanes = Lanes()
        self._findings: dict[object, Finding] = {}
        self._health = Health()

    @property
    def findings(self) -> list[Finding]:
        """What was found, one line for each pattern, in the order of first sight."""
        with self.guard:
            return list(self._findings.values())

    @property
    def health(self) -> Health:
        """What could not be known or recorded, as far as entries tell."""
        with self.guard:
            return self._health

    def look_before(self, call: Call) -> Finding | None:
        """Let the detectors look at a call before it is sent; a finding that refuses it is given back."""
        if call.kind == "tool":
            return None
        found: list[Finding] = []
        with self.guard:
            attempt = self._lanes.opened(call.lane, call.prompt.mark, call.step)
            for detector in self._detectors:
                finding = detector.opened(attempt)
                if finding is not None:
                    self._note(finding)
                    found.append(finding)
            stopped = self.memory.stopped_by(call)
        for finding in found:
            if self._policy.refuses(self._follow(finding, call)) and self.enforces:
                stopped = finding
        return stopped

    def look_after(self, open_call: OpenCall, outcome: Outcome, entry: Entry) -> None:
        """Let the detectors look at a line that was written."""
        call = open_call.call
        found: list[Finding] = []
        with self.guard:
            if entry.kind == "correction":
                if open_call.entry is not None:
                    self._health = self._health.correcting(open_call.entry, entry)
                return
            self._health = self._health.counting(entry)
            if outcome.provisional and outcome.ending != "lost":
                self._health = replace(self._health, end_inferred=self._health.end_inferred + 1)
            step = self._lanes.closed(call.lane, call.prompt.mark, entry, open_call.accounts)
            for detector in self._detectors:
                finding = detector.closed(step)
                if finding is None or (detector is self._exceeded and open_call.is_noted):
                    continue
                self._note(finding)
                found.append(finding)
        for finding in found:
            stops = self._policy.refuses(self._follow(finding, call)) and self.enforces
            if stops and finding.type != "budget_exceeded":
                self.memory.stop(call.root, finding)

    def budget_exceeded(self, refusal: BudgetExceeded, call: Call) -> Action:
        """List that a call passes a budget; give what the policy says about it."""
        self._notices.refused(refusal)
        finding = self._exceeded.refused(refusal, call.agent, call.step)
        self.note(finding)
        return self._follow(finding, call)

    def note(self, finding: Finding) -> None:
        """List a finding."""
        with self.guard:
            self._note(finding)

    def forget(self) -> None:
        """Begin a new list, and let every run go on."""
        self.memory.forget()
        with self.guard:
            self._findings.clear()
            self._notes.start_afresh()

    def forgive(self, root: str) -> None:
        """Let a run go on that was stopped or refused, and compare its next steps with none before."""
        self.memory.forgive(root)
        with self.guard:
            self._lanes = Lanes()

    def went_wrong(self, doing: str, bug: Exception) -> None:
        """Count a failure of this package's own, and log the first."""
        with self.guard:
            first = not self._health.failures
            self._health = replace(self._health, failures=self._health.failures + 1)
        if first:
            logger.error("%s went wrong; it is counted in session.health", doing, exc_info=bug)

    def _note(self, finding: Finding) -> None:
        """List a finding; called under the guard."""
        action = self._policy.action(finding.type)
        if action == "ignore":
            return
        line = self._findings.get(finding.line)
        self._findings[finding.line] = finding if line is None else line.again(finding)
        if line is None and action == "warn":
            level = logging.INFO if finding.severity == "notice" else logging.WARNING
            logger.log(level, "%s: %s", finding.type, finding.message)
        self.guard.later(partial(self._keep, self._notes.add(finding)))

    def _keep(self, noted: Noted) -> None:
        try:
            self._notes.keep(noted)
        except Exception as bug:  # noqa: BLE001 - the call in which it was found goes on
            self.went_wrong("noting a finding", bug)

    def _follow(self, finding: Finding, call: Call) -> Action:
        """Do what the policy says about a finding, and say what that is. Not under the guard: it may take."""
        try:
            action = self._policy.decide(finding)
        except Exception as bug:  # noqa: BLE001 - a function of the user's
            self.went_wrong(f"telling of {finding.type}", bug)
            action = self._policy.action(finding.type)
        if action == "downgrade":
            self.memory.step_down(call)
        return action
