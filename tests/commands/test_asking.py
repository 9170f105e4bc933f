"""What a person is told who asks for what is not there, and what a program gets."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from apeiros_callbacks.commands import app
from apeiros_callbacks.ledger import open_ledger
from tests.commands.conftest import Apeiros
from tests.commands.scenes import Team

REPORTS: dict[str, list[str]] = {
    "today": [],
    "sessions": ["sessions"],
    "findings": ["findings"],
    "customers": ["customers"],
    "budget list": ["budget", "list"],
    "tail": ["tail", "--no-follow"],
    "export": ["export"],
}
every_report = pytest.mark.parametrize("words", REPORTS.values(), ids=REPORTS)


def process(*words: str, **environment: str) -> subprocess.Popen[str]:
    """The command in a process of its own, whose output is no terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "apeiros_callbacks", *words],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class TestNothingYet:
    @every_report
    def test_says_how_to_begin(self, apeiros: Apeiros, words: Sequence[str], tmp_path: Path) -> None:
        result = apeiros(*words)
        assert result.exit_code == 0
        if words not in (["export"], ["budget", "list"]):
            said = result.stdout + result.stderr
            assert "apeiros run --budget 0.50 script.py" in said
            assert f"APEIROS_LEDGER=sqlite:///{tmp_path}/home/ledger.db" in said
        assert not (tmp_path / "home").exists()

    @every_report
    @pytest.mark.parametrize("is_there", [False, True])
    def test_is_json(
        self, apeiros: Apeiros, words: Sequence[str], is_there: bool, ledger: str, tmp_path: Path
    ) -> None:
        if not is_there:
            (tmp_path / "ledger.db").unlink()
        result = apeiros(*words, "--json")
        assert result.exit_code == 0
        if words[:1] == ["tail"]:
            assert all(json.loads(line) for line in result.stdout.splitlines())
        else:
            assert isinstance(json.loads(result.stdout), list | dict)

    def test_no_customer_yet(self, apeiros: Apeiros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        url = f"sqlite:///{tmp_path}/new.db"
        team = Team(url)
        team.call(team.session("alone"))
        team.ledger.close()
        monkeypatch.setenv("APEIROS_LEDGER", url)
        assert "No call was made for a customer yet" in apeiros("customers").stdout
        assert apeiros("findings").stdout == "Nothing was found.\n"

    def test_a_budget_begins_a_ledger(self, apeiros: Apeiros, tmp_path: Path) -> None:
        assert apeiros("budget", "set", "acme", "--monthly", "250").exit_code == 0
        assert (tmp_path / "home/ledger.db").exists()
        assert [one["cap"] for one in json.loads(apeiros("budget", "list", "--json").stdout)] == ["250"]


class TestErrors:
    @every_report
    def test_a_ledger_that_is_not_there(self, apeiros: Apeiros, words: Sequence[str], tmp_path: Path) -> None:
        result = apeiros(*words, "--ledger", f"sqlite:///{tmp_path}/typo.db")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == f"There is no ledger at {tmp_path}/typo.db.\n"
        assert not (tmp_path / "typo.db").exists()

    @every_report
    def test_a_ledger_that_is_none(self, apeiros: Apeiros, words: Sequence[str], tmp_path: Path) -> None:
        (tmp_path / "ledger.db").write_bytes(b"this is not a database at all. " * 100)
        result = apeiros(*words, "--ledger", f"sqlite:///{tmp_path}/ledger.db", "--json")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "file is not a database" in result.stderr
        assert len(result.stderr.splitlines()) == 1

    @every_report
    def test_a_ledger_of_a_newer_version(
        self, apeiros: Apeiros, words: Sequence[str], ledger: str, tmp_path: Path
    ) -> None:
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
            connection.execute("PRAGMA user_version = 99")
        result = apeiros(*words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "Upgrade apeiros-callbacks" in result.stderr
        assert len(result.stderr.splitlines()) == 1

    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            (["show", "nobody"], 1, "There is no session 'nobody' in "),
            (
                ["show", "chat"],
                2,
                "3 sessions begin with 'chat': chat-acme-18, chat-globex-17, chat-globex-18",
            ),
            (["show"], 2, "Missing argument"),
            (["sessions", "--since", "soon"], 2, "'soon' is no time"),
            (["sessions", "--last", "0"], 2, "--last"),
            (
                ["sessions", "--ledger", "memory:"],
                2,
                "memory: lives in the process that writes it",
            ),
            (["sessions", "--ledger", "mysql://me:secret@host/db"], 2, "there is no ledger for 'mysql:'"),
            (["sessions", "--ledger", "ledger.db"], 2, "is a path, not the URL of a ledger"),
            (["customers", "--month", "november"], 2, "write a month such as '2026-11'"),
            (["nonsense"], 2, "No such command 'nonsense'"),
            (["--json", "sessions"], 2, "Write --ledger and --json after the command: apeiros sessions"),
            (["export", "--format", "xml"], 2, "'xml'"),
            (["run", "nowhere.py"], 1, "There is no script 'nowhere.py'."),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else None,
    )
    @pytest.mark.usefixtures("ledger")
    def test_one_line_and_a_code(self, apeiros: Apeiros, words: Sequence[str], code: int, said: str) -> None:
        result = apeiros(*words)
        assert (result.exit_code, result.stdout) == (code, "")
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert "secret" not in result.stderr

    def test_nothing_is_there_to_run_with(
        self, apeiros: Apeiros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "script.py").write_text("")
        monkeypatch.setattr("apeiros_callbacks.commands.run.entry_points", lambda group: [])
        result = apeiros("run", str(tmp_path / "script.py"))
        assert result.exit_code == 1
        assert "No adapter is installed" in result.stderr


class TestTerminals:
    @pytest.mark.usefixtures("ledger")
    @pytest.mark.parametrize("width", [80, 60, 40])
    @pytest.mark.parametrize(
        "words", [["sessions"], ["customers"], ["tail", "--no-follow"], ["show", "nightly"]]
    )
    def test_a_narrow_terminal_shows_fewer_columns(
        self, apeiros: Apeiros, words: list[str], width: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", str(width))
        shown = apeiros(*words).stdout
        table = [line for line in shown.splitlines() if "$" in line and not line.startswith("session ")]
        assert len(table) >= 2
        assert max(map(len, table)) <= width
        amount = {"sessions": "$0.3860", "customers": "$0.0503", "tail": "$0.0905", "show": "$0.2955"}[
            words[0]
        ]
        assert any(amount in line.split() for line in table)

    @pytest.mark.usefixtures("ledger")
    def test_colours(self, apeiros: Apeiros, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "\x1b[" not in apeiros("show", "nightly-report").stdout
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert "\x1b[31m" in apeiros("show", "nightly-report").stdout
        monkeypatch.setenv("NO_COLOR", "1")
        assert "\x1b[31m" not in apeiros("show", "nightly-report").stdout

    def test_a_name_cannot_steer_the_terminal(
        self, apeiros: Apeiros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = f"sqlite:///{tmp_path}/steered.db"
        team = Team(url)
        team.call(team.session("\x1b]0;owned\x07[bold]"), agent="\x1b[2J", customer="\x9b31m[red]")
        team.ledger.close()
        monkeypatch.setenv("APEIROS_LEDGER", url)
        for words in (*REPORTS.values(), ["show", "\x1b]0;"]):
            if words != ["export"]:
                result = apeiros(*words)
                assert result.exit_code == 0
                assert not set(result.output) & {"\x1b", "\x9b", "\x07"}
        assert "[bold]" in apeiros("sessions").stdout

    def test_an_alphabet_that_the_terminal_does_not_have(self, ledger: str) -> None:
        shown = process("show", "nightly-report", PYTHONIOENCODING="ascii")
        out, complaints = shown.communicate(timeout=60)
        assert (shown.returncode, complaints) == (0, "")
        assert "retry_loop ?2" in out


class TestPipes:
    @pytest.mark.usefixtures("ledger")
    def test_a_reader_that_leaves_is_no_error(self) -> None:
        shown = process("export", "--json")
        assert shown.stdout is not None
        assert shown.stderr is not None
        shown.stdout.close()
        with shown.stderr:
            assert "Traceback" not in shown.stderr.read()
        assert shown.wait(60) in {0, 1}

    @pytest.mark.usefixtures("ledger")
    def test_what_is_piped_is_as_what_is_seen(self, apeiros: Apeiros) -> None:
        out, _ = process("show", "nightly-report").communicate(timeout=60)
        assert out == apeiros("show", "nightly-report").stdout

    def test_what_comes_in_is_followed(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/live.db"
        open_ledger(url).close()
        follower = process("tail", "--json", "--ledger", url)
        assert follower.stdout is not None
        assert follower.stderr is not None
        assert follower.stderr.readline() == "Nothing is recorded yet; waiting.\n"
        team = Team(url)
        session = team.session("live")
        for number in range(3):
            team.call(session, prompt=("again",))
            assert json.loads(follower.stdout.readline())["id"] == f"call-{number + 1}"
        team.ledger.close()
        time.sleep(0.2)  # it has looked once more, and sleeps
        follower.send_signal(signal.SIGINT)
        _, complaints = follower.communicate(timeout=60)
        assert (follower.returncode, complaints) == (130, "")


def test_every_command_has_json_and_is_in_the_help() -> None:
    from typer.main import get_command

    commands = dict(get_command(app).commands)  # type: ignore[attr-defined]
    budget = commands.pop("budget")
    for name, command in {**commands, **budget.commands}.items():
        assert command.help, name
        assert len(command.get_short_help_str(limit=200)) <= 66, name
        if name != "demo":
            assert any("--json" in option.opts for option in command.params), name
