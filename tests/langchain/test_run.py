"""``apeiros run``: a script of a person's own, within a budget; and ``apeiros doctor``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

pytest.importorskip("langchain_openai", reason="this environment has no LangChain")

from langchain_core.language_models import BaseChatModel
from typer.testing import CliRunner

from apeiros_callbacks import uninstrument
from apeiros_callbacks.checkup import Check
from apeiros_callbacks.commands import app
from apeiros_callbacks.ledger import open_ledger
from apeiros_callbacks.testing import Reply, ScriptedServer
from langchain_apeiros import doctor
from langchain_apeiros.handler import ApeirosHandler

TEN_CENTS = Reply("ok", input_tokens=40_000, output_tokens=50)
"""On gpt-4o, $0.1005."""
ASKS = """
import sys
from langchain_openai import ChatOpenAI
model = ChatOpenAI(model="gpt-4o", stream_usage=True)
for number in range(int(sys.argv[1])):
    print(number, model.invoke(f"{number} " + "word " * 40_000).content)
"""


WAITS = """
import threading
goes_on = threading.Event()
threading.Thread(target=lambda: (goes_on.wait(60), print("at last"))).start()
goes_on.set()
"""


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer([TEN_CENTS]) as started:
        yield started


class Here:
    """A folder with a script in it, and the command in a process of its own."""

    def __init__(self, folder: Path, server: ScriptedServer) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/ledger.db"
        self._server = server

    def run(self, script: str, *words: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        (self.folder / "script.py").write_text(script)
        return self.apeiros("run", *before, str(self.folder / "script.py"), *words)

    def apeiros(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "APEIROS_LEDGER": self.url,
            "OPENAI_BASE_URL": self._server.openai_url,
            "OPENAI_API_KEY": "test",
            "COLUMNS": "80",
        }
        command = [sys.executable, "-m", "apeiros_callbacks", *words]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=120, check=False
        )

    def spent(self, session: str) -> Decimal:
        with closing(open_ledger(self.url)) as ledger:
            return sum((one.amount for one in ledger.totals(f"session:{session}")), Decimal(0))


@pytest.fixture
def here(tmp_path: Path, server: ScriptedServer) -> Here:
    return Here(tmp_path, server)


def test_the_call_that_would_pass_the_budget_is_not_sent(here: Here, server: ScriptedServer) -> None:
    ended = here.run(ASKS, "5", before=("--budget", "0.25", "--session", "mine"))
    assert ended.returncode == 3
    assert ended.stdout == "0 ok\n1 ok\n"
    assert server.request_count == 2
    assert here.spent("mine") == Decimal("0.2010")
    assert "apeiros: mine: $0.2010 of $0.2500 spent, 2 calls, 1 finding" in ended.stderr
    assert "Call by call: apeiros show mine" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("It was not sent.") == 1
    shown = here.apeiros("show", "mine")
    assert "critical: budget_exceeded" in shown.stdout


def test_a_script_within_its_budget_is_left_alone(here: Here) -> None:
    ended = here.run(ASKS, "2", before=("--budget", "0.50"))
    assert (ended.returncode, ended.stdout) == (0, "0 ok\n1 ok\n")


def test_it_goes_on_where_it_stopped(here: Here, server: ScriptedServer) -> None:
    before = ("--budget", "0.15", "--session", "mine")
    assert [here.run(ASKS, "1", before=before).returncode for _ in range(2)] == [0, 3]
    assert server.request_count == 1


@pytest.mark.parametrize(
    ("script", "code", "out", "said"),
    [
        ("import sys; print(sys.argv[1:], __name__)", 0, "['--json', '-x'] __main__\n", ""),
        ("import sys; sys.exit(7)", 7, "", ""),
        ("import sys; sys.exit('no luck')", 1, "", "no luck"),
        ("import helper; print(helper.NAME)", 0, "beside it\n", ""),
        ("1 / 0", 1, "", 'script.py", line 1, in <module>\n    1 / 0'),
        ("raise KeyboardInterrupt", 130, "", ""),
        (WAITS, 0, "at last\n", ""),
    ],
)
def test_it_is_run_as_python_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, code: int, out: str, said: str
) -> None:
    monkeypatch.setenv("APEIROS_LEDGER", f"sqlite:///{tmp_path}/ledger.db")
    (tmp_path / "helper.py").write_text("NAME = 'beside it'")
    (tmp_path / "script.py").write_text(script)
    arguments, path = sys.argv, sys.path
    try:
        ended = CliRunner().invoke(app, ["run", str(tmp_path / "script.py"), "--json", "-x"])
    finally:
        uninstrument()
    assert (ended.exit_code, ended.stdout) == (code, out), ended.stderr
    assert said in ended.stderr
    assert "runpy" not in ended.stderr
    assert "0 calls" in ended.stderr
    assert (sys.argv, sys.path) == (arguments, path)


def test_a_refusal_that_the_script_swallows_is_told_all_the_same(here: Here) -> None:
    ended = here.run(
        "import sys\nfrom apeiros_callbacks import BudgetExceeded\ntry:\n"
        + "".join(f"    {line}\n" for line in ASKS.strip().splitlines())
        + "except BudgetExceeded:\n    print('enough')",
        "5",
        before=("--budget", "0.25"),
    )
    assert (ended.returncode, ended.stdout) == (3, "0 ok\n1 ok\nenough\n")


def test_a_handler_of_the_script_counts_within_the_budget(here: Here, server: ScriptedServer) -> None:
    script = ASKS.replace("model.invoke(", "model.with_config(callbacks=[handler]).invoke(").replace(
        "model = ",
        "from langchain_apeiros import ApeirosHandler\nhandler = ApeirosHandler(budget=5)\nmodel = ",
    )
    ended = here.run(script, "5", before=("--budget", "0.25", "--session", "around"))
    assert (ended.returncode, server.request_count) == (3, 2)
    assert here.spent("around") == Decimal("0.2010")
    assert "budget of $0.25 for session around" in ended.stderr


def test_the_sum_as_json(here: Here) -> None:
    ended = here.run(ASKS, "5", before=("--budget", "0.25", "--json", "--session", "mine"))
    data = json.loads(ended.stderr.splitlines()[-1])
    assert (data["session_id"], data["cost"], data["budget"]) == ("mine", "0.2010", "0.25")
    assert (data["calls"], data["over_budget"], data["exit_code"]) == (2, True, 3)
    assert [one["type"] for one in data["findings"]] == ["budget_exceeded"]


def test_a_budget_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("print('it ran')")
    url = f"sqlite:///{tmp_path}/ledger.db"
    ended = CliRunner().invoke(app, ["run", "--ledger", url, "--budget=-1", str(tmp_path / "script.py")])
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "must be more than 0" in ended.stderr


class TestDoctor:
    def test_everything_holds(self, here: Here) -> None:
        found = here.apeiros("doctor", "--json")
        data = json.loads(found.stdout)
        assert (found.returncode, [one for one in data if one["holds"] is False]) == (0, [])
        names = {one["name"] for one in data if one["holds"]}
        assert names >= {"ledger", "prices", *doctor._WAYS, *doctor._MORE}

    def test_a_framework_that_calls_no_hooks_is_found_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ApeirosHandler, "on_chat_model_start", lambda *_, **__: None)
        found = {check.name: check for check in doctor.checks()}
        assert found["invoke"] == Check("invoke", False, "6 of 6 sent, 0 recorded, $0 of $0.35 spent")
        assert not any(found[name].holds for name in doctor._WAYS)

    def test_a_stream_that_reports_no_usage_is_found_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = doctor._Model._stream

        def without_usage(self: BaseChatModel, *words: object, **options: object) -> Iterator[object]:
            for chunk in stream(self, *words, **options):
                chunk.message.usage_metadata = None
                yield chunk

        monkeypatch.setattr(doctor._Model, "_stream", without_usage)
        found = {check.name: check.holds for check in doctor.checks()}
        assert (found["stream"], found["astream"], found["invoke"]) == (False, False, True)

    def test_what_does_not_hold_is_said_and_ends_with_1(self, monkeypatch: pytest.MonkeyPatch) -> None:
        bad = Check("invoke", False, "6 of 6 sent")
        absent = Check("agent", None, "not looked at: langchain is not installed")
        monkeypatch.setattr(doctor, "checks", lambda: iter([bad, absent]))
        result = CliRunner().invoke(app, ["doctor"])
        assert result.exit_code == 1
        assert "  FAILS  invoke               6 of 6 sent\n" in result.stdout
        assert "  -      agent                not looked at: langchain is not installed\n" in result.stdout
