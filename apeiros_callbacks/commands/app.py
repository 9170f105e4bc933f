"""The commands, in the order in which ``apeiros --help`` lists them."""

from __future__ import annotations

import inspect
import io
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from apeiros_callbacks.commands.asked import AsJson, LedgerUrl
from apeiros_callbacks.commands.budget import budget
from apeiros_callbacks.commands.customers import customers
from apeiros_callbacks.commands.demo import demo
from apeiros_callbacks.commands.doctor import doctor
from apeiros_callbacks.commands.export import export
from apeiros_callbacks.commands.findings import findings
from apeiros_callbacks.commands.output import CANNOT, WRONG, errors, stop
from apeiros_callbacks.commands.prices import prices
from apeiros_callbacks.commands.run import run
from apeiros_callbacks.commands.sessions import sessions
from apeiros_callbacks.commands.show import show
from apeiros_callbacks.commands.tail import tail
from apeiros_callbacks.commands.today import today
from apeiros_callbacks.commands.upkeep import check, correct, prune, repair, reprice
from apeiros_callbacks.errors import ApeirosError, ConfigError

__all__ = ["app", "main"]


class _Command(TyperCommand):
    """A command whose ``--help`` does not seem to take a value."""

    def get_help_option(self, ctx: Any) -> Any:
        """The option of every command."""
        option: Any = super().get_help_option(ctx)
        if option is not None:
            option.metavar = ""
        return option


class _Commands(TyperGroup):
    """Commands whose errors are one line each."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command, and end the process with its exit code where it is `standalone_mode`."""
        run = partial(super().main, args, prog_name, complete_var, False, windows_expand_args, **extra)
        if not standalone_mode:
            return run()
        try:
            code = run()
        except (ApeirosError, OSError) as problem:
            code = _failed(str(problem), WRONG if isinstance(problem, ConfigError) else CANNOT)
        except Exception as problem:
            # Typer has its errors of usage from click, or has them itself: what they share is this method.
            said: Callable[[], str] | None = getattr(problem, "format_message", None)
            if said is None:
                raise
            code = _failed(f"{_sentence(said())}{_help_of(problem)}", WRONG)
        sys.exit(code if isinstance(code, int) else 0)


def _failed(message: str, code: int) -> int:
    with suppress(BrokenPipeError):
        errors().print(message, style="red", soft_wrap=True)
    return code


def _sentence(said: str) -> str:
    said = said.rstrip(".") or "Something is missing"
    return said if said.endswith("?") else f"{said}."


def _help_of(problem: Exception) -> str:
    """Where to read how it is asked for rightly."""
    context = getattr(problem, "ctx", None)
    return "" if context is None else f' "{context.command_path} --help" says what there is.'


app = typer.Typer(
    name="apeiros",
    cls=_Commands,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"apeiros-callbacks {version('apeiros-callbacks')}")
        raise typer.Exit


@app.callback()
def _today(
    context: typer.Context,
    ledger: LedgerUrl = None,
    as_json: AsJson = False,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, metavar="", help="Show the version and stop."
        ),
    ] = False,
) -> None:
    """A hard dollar limit and a right ledger for LLM runs. Without a command: today at a glance."""
    if context.invoked_subcommand is None:
        today(ledger, as_json)
    elif ledger is not None or as_json:
        stop(WRONG, f"Write --ledger and --json after the command: apeiros {context.invoked_subcommand} …")


def _flowing(command: Callable[..., None]) -> str:
    """A command's docstring, whose paragraphs are as wide as the terminal and not as the source."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "What was spent": (sessions, show, customers, findings, tail, export),
    "Limits": (),
    "Prices": (prices,),
    "Care of the ledger": (check, repair, correct, reprice, prune),
    "See that it works": (demo, doctor),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel, help=_flowing(_command), cls=_Command)(_command)
    if _panel == "Limits":
        app.add_typer(budget, name="budget", rich_help_panel=_panel)
        # What follows the script is the script's.
        settings = {"allow_interspersed_args": False}
        app.command(rich_help_panel=_panel, help=_flowing(run), cls=_Command, context_settings=settings)(run)


def main() -> None:
    """Run the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name of any alphabet must not stop a report
            stream.reconfigure(errors="replace")
    app()
