"""The calls of a handler's runs: opened before anything is sent, grown, and closed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from apeiros_callbacks import Session
from apeiros_callbacks.call import Call, OpenCall, Outcome, Prompt
from apeiros_callbacks.errors import BudgetExceeded, ModelDowngrade, Refused, StoppedByFinding
from apeiros_callbacks.recent import Recent
from langchain_apeiros.aborts import for_graphs
from langchain_apeiros.live import Live, Lives, Origin, running_task
from langchain_apeiros.pause import ask_for_more
from langchain_apeiros.runs import Runs
from langchain_apeiros.starts import Starts
from langchain_apeiros.usage import Sent

__all__ = ["Abort", "Tracker"]

_LATE = 1_000

Abort: TypeAlias = Literal["graph", "node"]
"""What a refusal ends under LangGraph."""


class Tracker:
    """Drives the session's calls by the runs that LangChain tells one handler of.

    Args:
        handler: the handler, which keeps this as its ``_tracker``.
        session_of: the session of a call by what starts it; None when it is not to be recorded.
        runs: what is known of the runs around a call.
        starts: describes a call.
        abort: what a refusal ends.
    """

    def __init__(
        self,
        handler: BaseCallbackHandler,
        session_of: Callable[[Origin], Session | None],
        runs: Runs,
        starts: Starts,
        abort: Abort,
    ) -> None:
        self._handler = handler
        self._session_of = session_of
        self._runs = runs
        self._starts = starts
        self._abort: Abort = abort
        self.lives = Lives(self._over)
        self._late: Recent[int, Session] = Recent(_LATE)
        """Of runs that were taken to be over: an end of theirs may come yet."""

    def open(
        self,
        run_id: UUID,
        parent: UUID | None,
        metadata: Mapping[str, Any],
        params: Mapping[str, Any],
        prompt: Callable[[str, str], Prompt],
        sent: Sent,
        batch_size: int = 1,
    ) -> None:
        """Hold what the call of a run is expected to cost.

        Raises:
            Refused: it is not to be sent.
        """
        again = self.lives.get(run_id)
        if again is not None:
            again.copies += 1
            return
        origin = Origin.here()
        if parent is not None:
            self.lives.is_wrapper(parent)
        task = running_task()
        if task is not None and batch_size == 1:
            self.lives.goes_on(task, parent)
        session = self._session_of(origin)
        if session is None:
            return
        try:
            call = self._starts.call(run_id, parent, metadata, params, prompt, session)
            live = Live(session, self.admitted(call, session), sent)
            live.lone = origin.put_first(self._handler)
            self.lives.add(run_id, live, origin, task, batch_size)
        except Refused as refusal:
            raise self._refusal(refusal, run_id, origin) from refusal.__cause__
        except BaseException:  # of a person who interrupts: nothing is sent
            self._withdraw(run_id, session)
            raise

    def open_tool(self, run_id: UUID, parent: UUID | None, name: str, metadata: Mapping[str, Any]) -> None:
        """Note that a tool starts; hold its price, where it has one.

        Raises:
            Refused: it is not to be run.
        """
        again = self.lives.get(run_id)
        if again is not None:
            again.copies += 1
            return
        origin = Origin.here()
        session = self._session_of(origin)
        if session is None:
            return
        try:
            tool = self._starts.open_tool(run_id, parent, name, metadata, session)
            self.lives.add(run_id, Live(session, tool), origin, running_task())
        except Refused as refusal:
            raise self._refusal(refusal, run_id, origin) from refusal.__cause__
        except BaseException:  # of a person who interrupts: nothing is run
            self._withdraw(run_id, session)
            raise

    def admitted(self, call: Call, session: Session) -> OpenCall:
        """Open a call; where a person is to be asked before it is refused, ask.

        Raises:
            Refused: it is not to be sent.
        """
        while True:
            try:
                return session.open_call(call)
            except (BudgetExceeded, StoppedByFinding) as refusal:
                finding = "budget_exceeded" if isinstance(refusal, BudgetExceeded) else refusal.finding.type
                if session.action_on(finding) != "pause":
                    raise
                ask_for_more(session, refusal, call.root)

    def for_caller(self, refusal: Refused) -> Refused:
        """A refusal as the caller's framework is to see it."""
        if self._abort == "node" or isinstance(refusal, ModelDowngrade):
            return refusal  # of a downgrade only its router hears
        return for_graphs(refusal)

    def grow(self, live: Live, kind: str, piece: str) -> None:
        """Count a piece of an answer that streams in.

        Args:
            live: the run.
            kind: the kind of event that brings it; some streams send the same piece by two.
            piece: what it adds to the answer.

        Raises:
            Refused: the budget is reached.
        """
        if live.stream is None:
            live.stream = kind
        if live.stream != kind:
            return
        live.ticks += 1
        if not live.counts or (live.copies > 1 and live.ticks % live.copies):
            return
        self._grow(live, piece)

    def grow_again(self, run_id: UUID) -> None:
        """Hold what the pieces need that were counted, after a wait for it.

        Raises:
            Refused: the budget is reached.
        """
        live = self.lives.get(run_id)
        if live is not None:
            self._grow(live, "")

    def _grow(self, live: Live, piece: str) -> None:
        try:
            live.session.grow_call(live.open_call, piece)
        except Refused as refusal:
            raise self.for_caller(refusal) from None

    def close(self, run_id: UUID, outcome: Callable[[Live | None], Outcome]) -> None:
        """Settle the call of a run that ended, also of one that was taken to be over before."""
        live = self.lives.pop(run_id)
        session = self._late.pop(run_id.int) if live is None else live.session
        if session is None:
            return
        call_id = str(run_id) if live is None else live.open_call.call.id
        ended = Outcome(ending="cut", error="interrupted")
        try:
            try:
                ended = outcome(live)
            except Exception as bug:  # noqa: BLE001 - an answer of a shape that we cannot read
                session.went_wrong("reading an answer", bug)
                ended = Outcome(ending="cut", error=type(bug).__name__)
            session.close_call(call_id, ended)
        except BaseException:  # of a person who interrupts: the call was made
            session.close_call(call_id, ended)  # a second end does nothing
            raise

    def _withdraw(self, run_id: UUID, session: Session) -> None:
        """Give back what is held for a run whose start was not told to the end."""
        self.lives.pop(run_id)
        session.close_call(str(run_id), Outcome(ending="unsent"))

    def _refusal(self, refusal: Refused, run_id: UUID, origin: Origin) -> Refused:
        """Take back what was opened for the run, by this handler and others of its kind: nothing is sent."""
        for handler in (self._handler, *origin.handlers):
            tracker = getattr(handler, "_tracker", None)
            if isinstance(tracker, Tracker):
                tracker.lives.withdrawn(run_id, origin)
        return self.for_caller(refusal)

    def _over(self, run_id: UUID, live: Live, outcome: Outcome) -> None:
        self._runs.ended(run_id)
        if outcome.provisional:
            self._late.set(run_id.int, live.session)
        live.session.close_call(str(run_id), outcome)
