"""What each command shows of a team's ledger, in a terminal of 80 columns."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from apeiros_callbacks.caps import Cap
from apeiros_callbacks.ledger import open_ledger
from tests.commands.conftest import Apeiros

TODAY = """\
Today, 2026-11-25: $0.7370 spent, and $0.0008 yesterday
11 calls, 268,800 tokens, 3 sessions

model              calls   tokens     cost
gpt-4o                 5  168,600  $0.3860
claude-sonnet-4-5      6  100,200  $0.3510

customer acme: $0.3015 of $250.00 in 2026-11, alert reached
customer globex: $0.0503 of $0.05 in 2026-11, cap reached

session nightly-report
  critical: budget_exceeded: budget of $0.50 for session nightly-report: $0.3860
    spent; this call to gpt-4o needs about $0.1705. It was not sent. Raise it
    with session.raise_budget(to=…).
session nightly-report
  notice: retry_loop ×2: the same prompt runs 4 times in a row. About $0.1810 of
    it wasted.
"""

SESSIONS = """\
session         last          calls   tokens     cost  findings
chat-globex-18  12:05             3    8,100  $0.0495
chat-acme-18    12:02             3   92,100  $0.3015
nightly-report  09:04             5  168,600  $0.3860         2
chat-globex-17  Nov 24 09:02      3    3,440  $0.0008
"""

SHOW = """\
session nightly-report: $0.3860 spent, 5 calls, 168,600 tokens
2026-11-25 09:00:00 to 09:04:25

time      #  agent       model         in  cached  out     cost    spent
09:00:00  1  planner     gpt-4o     8,000       0  400  $0.0240  $0.0240
09:01:00  2  researcher  ↳ search                                $0.0240
09:01:05  3  researcher  gpt-4o    40,000   8,000   50  $0.0905  $0.1145
09:02:05  4  researcher  gpt-4o    40,000   8,000   50  $0.0905  $0.2050
  notice: retry_loop ×2: the same prompt runs 4 times in a row. About $0.1810 of
    it wasted.
09:03:05  5  researcher  gpt-4o    40,000   8,000   50  $0.0905  $0.2955
09:04:05  6  researcher  gpt-4o    40,000   8,000   50  $0.0905  $0.3860
  critical: budget_exceeded: budget of $0.50 for session nightly-report: $0.3860
    spent; this call to gpt-4o needs about $0.1705. It was not sent. Raise it
    with session.raise_budget(to=…).
"""

FINDINGS = """\
09:05  session nightly-report
  critical: budget_exceeded: budget of $0.50 for session nightly-report: $0.3860
    spent; this call to gpt-4o needs about $0.1705. It was not sent. Raise it
    with session.raise_budget(to=…).
09:04  session nightly-report
  notice: retry_loop ×2: the same prompt runs 4 times in a row. About $0.1810 of
    it wasted.
"""

CUSTOMERS = """\
customer  period     spent      cap      left  calls  tokens   margin  status
acme      2026-11  $0.3015  $250.00   $249.70      3  92,100  $298.70  alert
globex    2026-11  $0.0503    $0.05  -$0.0003      6  11,540           capped
"""

TAIL = """\
time      session         model                      in     out       cost
12:02:00  chat-acme-18    claude-sonnet-4-5      30,000     700    $0.1005
12:03:00  chat-globex-18  claude-sonnet-4-5       2,000     700    $0.0165
12:04:00  chat-globex-18  claude-sonnet-4-5       2,000     700    $0.0165
12:05:00  chat-globex-18  claude-sonnet-4-5       2,000     700    $0.0165
"""

BUDGETS = """\
customer            limit  alert at    spent  period   time zone  status
acme      $250.00 a month     $0.20  $0.3015  2026-11  UTC        alert
globex      $0.05 a month            $0.0503  2026-11  UTC        capped
"""


@pytest.fixture(autouse=True)
def caps(ledger: str) -> None:
    with closing(open_ledger(ledger)) as opened:
        opened.set_cap(Cap("customer:acme", usd=250, alert_at=Decimal("0.20"), plan_price=299))
        opened.set_cap(Cap("customer:globex", usd=Decimal("0.05")))


def shown(apeiros: Apeiros, *words: str) -> str:
    result = apeiros(*words)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert max(map(len, result.stdout.splitlines())) <= 80
    return result.stdout


def as_json(apeiros: Apeiros, *words: str) -> Any:
    result = apeiros(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], TODAY),
        (["sessions"], SESSIONS),
        (["show", "nightly-report"], SHOW),
        (["show", "nightly"], SHOW),
        (["findings"], FINDINGS),
        (["customers"], CUSTOMERS),
        (["tail", "--no-follow", "--last", "4"], TAIL),
        (["budget", "list"], BUDGETS),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_what_is_shown(apeiros: Apeiros, words: Sequence[str], expected: str) -> None:
    assert shown(apeiros, *words) == expected


def test_the_readme_shows_what_is_shown(apeiros: Apeiros) -> None:
    root = Path(__file__).parents[2]
    pages = "".join((root / page).read_text("utf-8") for page in ("README.md", "docs/command.md"))
    examples = re.findall(r"<!-- apeiros ?([^>]*?) -->\n```text\n(.*?)```", pages, re.DOTALL)
    assert len(examples) == 2
    for words, printed in examples:
        assert shown(apeiros, *words.split()) == printed


class TestJson:
    def test_today(self, apeiros: Apeiros) -> None:
        data = as_json(apeiros)
        assert (data["cost"], data["cost_yesterday"]) == ("0.737", "0.000786")
        assert (data["calls"], data["tokens"], data["sessions"]) == (11, 268_800, 3)
        assert [one["model"] for one in data["models"]] == ["gpt-4o", "claude-sonnet-4-5"]
        assert [one["status"] for one in data["customers"]] == ["alert", "capped"]
        assert [one["type"] for one in data["findings"]] == ["retry_loop", "budget_exceeded"]

    def test_sessions(self, apeiros: Apeiros) -> None:
        first, *_ = as_json(apeiros, "sessions", "--last", "2")
        assert first == {
            "session_id": "chat-globex-18",
            "first_at": "2026-11-25T12:03:00+00:00",
            "last_at": "2026-11-25T12:05:20+00:00",
            "calls": 3,
            "tokens": 8_100,
            "entries": 3,
            "cost": "0.0495",
            "findings": 0,
        }

    def test_show(self, apeiros: Apeiros) -> None:
        data = as_json(apeiros, "show", "nightly-report", "--last", "2")
        assert (data["earlier_entries"], data["cost"]) == (4, "0.386")
        line = data["lines"][-1]
        assert (line["agent"], line["amount"], line["unit_prices"]["input"]) == (
            "researcher",
            "0.0905",
            "2.5",
        )
        assert line["usage"]["cache_read_tokens"] == 8_000
        assert [(one["type"], one["count"], one["wasted"]) for one in data["findings"]] == [
            ("retry_loop", 2, "0.1810"),
            ("budget_exceeded", 1, "0"),
        ]

    def test_findings(self, apeiros: Apeiros) -> None:
        assert [one["session_id"] for one in as_json(apeiros, "findings", "--type", "retry_loop")] == [
            "nightly-report"
        ]
        assert as_json(apeiros, "findings", "--session", "chat-acme-18") == []

    def test_customers_and_budgets(self, apeiros: Apeiros) -> None:
        acme, globex = as_json(apeiros, "customers")
        assert as_json(apeiros, "budget", "list") == [acme, globex]
        assert (acme["spent"], acme["cap"], acme["left"], acme["plan_price"]) == (
            "0.3015", "250", "249.6985", "299",
        )  # fmt: skip
        assert (globex["period"], globex["timezone"], globex["status"]) == ("2026-11", "UTC", "capped")

    def test_tail(self, apeiros: Apeiros) -> None:
        lines = apeiros("tail", "--no-follow", "--last", "2", "--json").stdout.splitlines()
        assert [json.loads(line)["session_id"] for line in lines] == ["chat-globex-18"] * 2

    @pytest.mark.parametrize("most", [14, 15, 16, 29, 1_000])
    def test_a_tail_that_is_longer_than_what_there_is(self, apeiros: Apeiros, most: int) -> None:
        lines = apeiros("tail", "--no-follow", "-n", str(most), "--json").stdout.splitlines()
        told = [json.loads(line) for line in lines]
        assert sum("amount" in line for line in told) == min(most, 15)
        assert [line["finding"]["type"] for line in told if "finding" in line] == [
            "retry_loop",
            "budget_exceeded",
        ]


class TestSome:
    def test_sessions_since_a_time(self, apeiros: Apeiros) -> None:
        assert len(as_json(apeiros, "sessions", "--since", "today")) == 3
        assert len(as_json(apeiros, "sessions", "--since", "2h")) == 2
        assert shown(apeiros, "sessions", "--since", "2026-11-25T13:00") == "No session called since then.\n"

    def test_more_than_are_listed(self, apeiros: Apeiros) -> None:
        assert shown(apeiros, "sessions", "-n", "1").endswith("\n3 more: apeiros sessions --last 4\n")
        assert "The last 2 lines; all: apeiros show nightly-report --last 6" in shown(
            apeiros, "show", "nightly-report", "-n", "2"
        )

    def test_the_running_sum_goes_on(self, apeiros: Apeiros) -> None:
        lines = shown(apeiros, "show", "nightly-report", "-n", "2").splitlines()
        (line,) = (line for line in lines if line.startswith("09:03"))
        assert line.split() == [
            "09:03:05",
            "5",
            "researcher",
            "gpt-4o",
            "40,000",
            "8,000",
            "50",
            "$0.0905",
            "$0.2955",
        ]


class TestBudget:
    def test_what_is_not_given_stays(self, apeiros: Apeiros, ledger: str) -> None:
        shown(apeiros, "budget", "set", "acme", "--weekly", "$60.5", "--timezone", "Europe/Berlin")
        shown(apeiros, "budget", "set", "acme", "--alert-at", "50")
        with closing(open_ledger(ledger)) as opened:
            assert opened.caps()["customer:acme"] == Cap(
                "customer:acme",
                usd=Decimal("60.5"),
                alert_at=50,
                period="week",
                timezone="Europe/Berlin",
                plan_price=299,
            )
        shown(apeiros, "budget", "set", "acme", "--no-limit")
        (acme,) = (one for one in as_json(apeiros, "budget", "list") if one["customer_id"] == "acme")
        assert (acme["cap"], acme["alert_at"], acme["plan_price"]) == (None, "50", "299")

    def test_a_check_ends_with_3_where_a_limit_is_reached(self, apeiros: Apeiros) -> None:
        assert apeiros("budget", "list", "--check").exit_code == 3
        assert apeiros("budget", "set", "globex", "--monthly", "1").exit_code == 0
        assert apeiros("budget", "list", "--check", "--json").exit_code == 0

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--monthly", "1", "--daily", "1"], "Give one of --monthly, --weekly, --daily and --no-limit."),
            (["--monthly", "much"], "'much' is no amount of US dollars; write 250 or 0.50"),
            (["--monthly=-1"], "'-1' is no amount of US dollars"),
            (["--monthly", "nan"], "'nan' is no amount of US dollars"),
            (["--timezone", "Mars/Olympus"], "there is no time zone 'Mars/Olympus'"),
        ],
    )
    def test_what_cannot_be(self, apeiros: Apeiros, words: Sequence[str], said: str) -> None:
        result = apeiros("budget", "set", "acme", *words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1


class TestExport:
    def test_csv(self, apeiros: Apeiros) -> None:
        header, *rows = apeiros("export").stdout.splitlines()
        assert header.startswith("id,attempt,kind,corrects,session_id,customer_id,agent,")
        assert len(rows) == 15
        row = dict(zip(header.split(","), rows[-1].split(","), strict=True))
        assert (row["session_id"], row["amount"], row["output_tokens"]) == ("chat-globex-18", "0.0165", "700")

    def test_json_and_lines_of_json(self, apeiros: Apeiros) -> None:
        whole = json.loads(apeiros("export", "--json").stdout)
        lines = [json.loads(line) for line in apeiros("export", "--format", "jsonl").stdout.splitlines()]
        assert whole == lines
        assert sum(Decimal(one["amount"]) for one in whole) == Decimal("0.737786")

    def test_some_of_it(self, apeiros: Apeiros) -> None:
        assert len(as_json(apeiros, "export", "--customer", "globex")) == 6
        assert len(as_json(apeiros, "export", "--session", "chat-globex-17")) == 3
        assert len(as_json(apeiros, "export", "--since", "2026-11-25", "--until", "2026-11-25T12:00")) == 6
        assert apeiros("export", "--customer", "a", "--session", "b").exit_code == 2

    def test_a_file_is_whole_or_is_not_there(self, apeiros: Apeiros, tmp_path: Path) -> None:
        file = tmp_path / "out.json"
        assert apeiros("export", "--json", "--output", str(file)).stdout == ""
        assert len(json.loads(file.read_text("utf-8"))) == 15
        result = apeiros("export", "--output", str(tmp_path / "no" / "out.csv"))
        assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
        assert {one.name for one in tmp_path.iterdir()} >= {"out.json"}
        assert not list(tmp_path.glob("*.part"))


class TestUpkeep:
    def test_a_ledger_that_is_consistent(self, apeiros: Apeiros, ledger: str) -> None:
        assert apeiros("check").stdout == f"{ledger} is consistent\n"
        data = {"ledger": ledger, "consistent": True, "problems": [], "unresolved": 0, "lost": []}
        assert as_json(apeiros, "check") == as_json(apeiros, "repair") == data

    def test_one_that_contradicts_itself(self, apeiros: Apeiros, ledger: str, tmp_path: Path) -> None:
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
            connection.execute("UPDATE scope_total SET spent = 1 WHERE scope = 'customer:acme'")
            connection.commit()
        found = apeiros("check", "--json")
        assert (found.exit_code, json.loads(found.stdout)["consistent"]) == (1, False)
        said = f'{ledger} contradicts itself in 1 place. "apeiros repair" rebuilds its counters.\n'
        assert found.stderr == said
        assert as_json(apeiros, "repair")["consistent"]
        assert apeiros("check").exit_code == 0

    def test_a_correction(self, apeiros: Apeiros) -> None:
        made = as_json(apeiros, "correct", "call-4#1", "--amount", "$0.05", "--why", "the bill")["correction"]
        assert (made["amount"], made["corrects"], made["price_source"]) == ("0.026", "call-4#1", "the bill")
        assert as_json(apeiros, "correct", "call-4#1", "--amount", "0.05") == {"correction": None}
        assert "± gpt-4o" in shown(apeiros, "show", "nightly-report")
        unknown = apeiros("correct", "call-400#1", "--amount", "1")
        assert (unknown.exit_code, unknown.stdout) == (1, "")
        assert "there is no entry 'call-400#1'" in unknown.stderr

    def test_prices_of_today(self, apeiros: Apeiros) -> None:
        assert as_json(apeiros, "reprice", "--since", "2026-11") == {"corrected": 0, "change": "0"}

    def test_what_is_removed_still_counts(self, apeiros: Apeiros) -> None:
        assert as_json(apeiros, "prune", "--before", "2026-11-26") == {"removed": 15}
        assert as_json(apeiros, "sessions")[2]["cost"] == "0.386"
        assert "6 earlier lines were pruned; they are counted" in shown(apeiros, "show", "nightly-report")
        assert apeiros("prune", "--before", "2027-01").exit_code == 2
        wrong = apeiros("prune", "--before", "soon")
        assert (wrong.exit_code, wrong.stdout) == (2, "")
        assert len(wrong.stderr.splitlines()) == 1
