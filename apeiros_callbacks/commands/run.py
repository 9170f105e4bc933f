"""``apeiros run``."""

from __future__ import annotations

import json
import os
import runpy
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from types import TracebackType
from typing import Annotated, NamedTuple, cast

import typer

from apeiros_callbacks.commands.asked import LedgerUrl, asked_url
from apeiros_callbacks.commands.demo import ADAPTERS
from apeiros_callbacks.commands.output import CANNOT, OVER_BUDGET, errors, finding_lines, stop
from apeiros_callbacks.commands.records import amount_text
from apeiros_callbacks.current import put_around
from apeiros_callbacks.display import session_line
from apeiros_callbacks.errors import BudgetExceeded, Refused
from apeiros_callbacks.layout import plain
from apeiros_callbacks.money import Dollars
from apeiros_callbacks.sdk import end_session, instrument, start_session
from apeiros_callbacks.session import Session

__all__ = ["run"]


def run(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT", help="A Python file.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGS]...", help="Its own arguments, options included.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="US dollars; no limit, unless given.")] = None,
    name: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="A name, to go on where it stopped.")
    ] = None,
    ledger: LedgerUrl = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print the sum as a line of JSON, on stderr.")
    ] = False,
) -> None:
    """Run a script, and refuse the call that would pass its budget.

    Options of this command go before the script. The exit code is the script's; 3 where a call was refused or
    more than the budget was spent, and the script has no complaint of its own. What it is about is said on
    stderr, so that the script's own output is left as it is.
    """
    if not script.is_file():
        stop(CANNOT, f"There is no script {str(script)!r}.")
    if not entry_points(group=ADAPTERS):
        stop(
            CANNOT,
            "No adapter is installed, so nothing would be recorded or refused. Install the one for your "
            "framework: pip install ./integrations/langchain-apeiros",
        )
    ended, session = _run(script, arguments or [], budget, name, asked_url(ledger))
    found = {finding.message for finding in session.findings if finding.type == "budget_exceeded"}
    is_over = bool(found) or isinstance(ended.refusal, BudgetExceeded)
    code = ended.code or (OVER_BUDGET if is_over else 0)
    if ended.refusal is not None and str(ended.refusal) not in found:
        said = f"{type(ended.refusal).__name__}: {ended.refusal}"
        errors().print(plain(said), style="red", soft_wrap=True)
    _sum_up(session, code, is_over, as_json)
    raise typer.Exit(code)


class _Ended(NamedTuple):
    code: int
    refusal: Refused | None = None


def _run(
    script: Path, arguments: list[str], budget: Dollars | None, name: str | None, url: str
) -> tuple[_Ended, Session]:
    """Run it as Python would, in a session of its own."""
    session = start_session(budget, id=name, on_exceeded="raise", ledger=url)
    put_around(session)
    try:
        instrument()
        with _as_main(script, arguments), _ledger_for_all(url):
            ended = _ended(script)
            for thread in threading.enumerate():  # Python waits for them too
                if thread is not threading.current_thread() and not thread.daemon:
                    thread.join()
    finally:
        put_around(None)
        end_session(session)
    return ended, session


def _ended(script: Path) -> _Ended:
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return _Ended(end.code or 0)
        errors().print(str(end.code), soft_wrap=True)
        return _Ended(1)
    except KeyboardInterrupt:
        return _Ended(130)
    except BaseException as error:  # noqa: BLE001 - said as Python says it
        refusal = _refusal_in(error)
        if refusal is None:
            error.__traceback__ = _of_script(error, script)
            sys.excepthook(type(error), error, error.__traceback__)
            return _Ended(1)
        return _Ended(OVER_BUDGET if isinstance(refusal, BudgetExceeded) else 1, refusal)
    return _Ended(0)


def _refusal_in(error: BaseException) -> Refused | None:
    """The refusal that ended a script, also where a framework or a group wraps it."""
    if isinstance(error, Refused):
        return error
    inner: list[BaseException] = [] if error.__cause__ is None else [error.__cause__]
    if isinstance(error, BaseExceptionGroup):
        inner += cast("BaseExceptionGroup[BaseException]", error).exceptions
    return next(filter(None, map(_refusal_in, inner)), None)


def _of_script(error: BaseException, script: Path) -> TracebackType | None:
    """The traceback without what is this command's own."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != str(script):
        frames = frames.tb_next
    return frames or error.__traceback__


@contextmanager
def _as_main(script: Path, arguments: list[str]) -> Generator[None]:
    """Arguments and import path as a script of its own has them."""
    argv, path = sys.argv, sys.path
    sys.argv, sys.path = [str(script), *arguments], [str(script.resolve().parent), *path[1:]]
    try:
        yield
    finally:
        sys.argv, sys.path = argv, path


@contextmanager
def _ledger_for_all(url: str) -> Generator[None]:
    """Handlers and sessions that name no ledger have this one."""
    before = os.environ.get("APEIROS_LEDGER")
    os.environ["APEIROS_LEDGER"] = url
    try:
        yield
    finally:
        if before is None:
            del os.environ["APEIROS_LEDGER"]
        else:
            os.environ["APEIROS_LEDGER"] = before


def _sum_up(session: Session, code: int, is_over: bool, as_json: bool) -> None:
    console = errors()
    if as_json:
        state = session.state()
        sums = {
            "session_id": session.id,
            "cost": amount_text(session.spent),
            "budget": amount_text(None if session.budget is None else session.budget.usd),
            "calls": state["calls"],
            "tokens": state["tokens"],
            "over_budget": is_over,
            "exit_code": code,
            "findings": [finding.as_dict() for finding in session.findings],
        }
        typer.echo(json.dumps(sums, ensure_ascii=False), err=True)
        return
    console.print(f"\napeiros: {plain(session_line(session))}", soft_wrap=True)
    for finding in session.findings:
        for line in finding_lines(finding, console.width):
            console.print(line, soft_wrap=True)
    if session.spent or session.findings:
        console.print(f"Call by call: apeiros show {plain(session.id)}", style="dim", soft_wrap=True)
