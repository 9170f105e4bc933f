"""``apeiros prices``: what a person sees of a price, and the prices of one's own in a file."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from apeiros_callbacks.commands import app
from apeiros_callbacks.prices import PriceBook, catalog, sheet
from apeiros_callbacks.usage import Usage

NOON = "2026-11-23T12:00"
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
AGE = sheet.DataAge("0.2.3", 2330, date(2026, 11, 9), file_date=date(2026, 11, 10))


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APEIROS_HOME", str(tmp_path / "home"))
    for name in ("APEIROS_PRICES", "COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(catalog, "_loaded", None)


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "data_age", lambda today: AGE)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["prices", *words])


def shown(*words: str) -> str:
    """What is printed, up to the provider's pages and comments; of any version of the data."""
    result = run(*words, "--at", NOON)
    assert result.exit_code == 0, result.output
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert max(map(len, lines)) <= 80
    kept = [line for line in lines if not line.startswith(" " * 14 + "http")]
    end = next((i for i, line in enumerate(kept) if line.startswith(("check at", "notes"))), None)
    return "\n".join(kept[:end]).replace(version("genai-prices"), "0.2.3")


def as_json(*words: str) -> dict[str, Any]:
    result = run(*words, "--json", "--at", NOON)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    file = tmp_path / "prices.json"
    file.write_text(text, "utf-8")
    monkeypatch.setenv("APEIROS_PRICES", str(file))
    return file


@pytest.mark.usefixtures("aged")
class TestText:
    def test_a_plain_price(self) -> None:
        assert (
            shown("gpt-4o")
            == """\
openai gpt-4o
USD per
million tokens             price
input                       2.50
cache read                  1.25
cache write, 5 min      as input
cache write, 1 h        as input
output                     10.00
reasoning              as output
USD for a web search        0.01
USD for a file search     0.0025
certainty       listed, the provider's list price
source          genai-prices 0.2.3 openai/gpt-4o
override        no: APEIROS_PRICES names no file
data            bundled with genai-prices 0.2.3; its file is dated 2026-11-10,
                the newest price in them is from 2026-11-09
context window  128,000 tokens
other prices    --tier batch, fast, priority"""
        )

    def test_cache_writes_of_two_kinds(self) -> None:
        assert (
            shown("claude-sonnet-4-6")
            == """\
anthropic claude-sonnet-4-6
USD per
million tokens            price
input                      3.00
cache read                 0.30
cache write, 5 min         3.75
cache write, 1 h           6.00
output                    15.00
reasoning             as output
USD for a web search       0.01
certainty       listed, the provider's list price
source          genai-prices 0.2.3 anthropic/claude-sonnet-4-6
override        no: APEIROS_PRICES names no file
data            bundled with genai-prices 0.2.3; its file is dated 2026-11-10,
                the newest price in them is from 2026-11-09
in force        since 2026-03-13
context window  1,000,000 tokens
other prices    --tier batch"""
        )

    def test_a_long_context_costs_more(self) -> None:
        assert (
            shown("gemini-2.5-pro")
            == """\
google gemini-2.5-pro
USD per               input up to  input above
million tokens            200,000      200,000
input                        1.25         2.50
cache read                  0.125         0.25
cache write, 5 min       as input     as input
cache write, 1 h         as input     as input
output                      10.00        15.00
reasoning               as output    as output
USD for a web search        0.035        0.035
certainty     listed, the provider's list price
source        genai-prices 0.2.3 google/gemini-2.5-pro
override      no: APEIROS_PRICES names no file
data          bundled with genai-prices 0.2.3; its file is dated 2026-11-10, the
              newest price in them is from 2026-11-09
other prices  --tier batch"""
        )

    def test_the_time_of_day(self) -> None:
        assert (
            shown("deepseek-chat")
            == """\
deepseek deepseek-chat
USD per             00:30-16:30 UTC
million tokens             at 12:00  16:30-00:30 UTC
input                          0.27            0.135
cache read                     0.07            0.035
cache write, 5 min         as input         as input
cache write, 1 h           as input         as input
output                         1.10             0.55
reasoning                 as output        as output
certainty       assumed, listed for a name that may not stand for this any more,
                or not at this provider
source          genai-prices 0.2.3 deepseek/deepseek-chat
override        no: APEIROS_PRICES names no file
data            bundled with genai-prices 0.2.3; its file is dated 2026-11-10,
                the newest price in them is from 2026-11-09
context window  64,000 tokens"""
        )

    def test_a_price_of_your_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = own(tmp_path, monkeypatch, '{"openai:gpt-4o": {"input": "2.25", "output": 9}}')
        text = shown("gpt-4o", "--provider", "openai")
        assert re.search(r"^input +2\.25\n(.*\n)*output +9\.00$", text, re.MULTILINE)
        assert "certainty       override, your own price\n" in text
        assert re.sub(r"\s+", "", f"override yes, from {file}") in re.sub(r"\s+", "", text)
        assert "listed          input 2.50, cache_read 1.25, output 10.00" in text

    def test_a_tool_and_a_model_of_this_machine(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own(tmp_path, monkeypatch, '{"tool:search": {"call": "0.01"}}')
        assert re.search(r"^USD for a call +0\.01$", shown("tool:search"), re.MULTILINE)
        assert "million tokens" not in shown("tool:search")
        assert "certainty  free, nothing is charged" in shown("llama3", "--provider", "ollama")
        assert run("tool:other").exit_code == 2

    def test_another_tier(self) -> None:
        assert re.search(r"^input +1\.25$", shown("gpt-4o", "--tier", "Batch"), re.MULTILINE)
        assert re.search(r"^input +2\.50$", shown("gpt-4o", "--tier", "standard"), re.MULTILINE)

    @pytest.mark.parametrize("form", [(), ("--json",)])
    def test_a_tier_that_is_not_listed(self, form: tuple[str, ...]) -> None:
        result = run("gpt-4o", "--tier", "nosuch", "--at", NOON, *form)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == (
            "openai:gpt-4o has no price for the tier 'nosuch'. There is batch, fast, priority; "
            "leave out --tier for the standard price.\n"
            "A call that asks for service_tier:nosuch is charged the standard price, marked partial.\n"
        )
        assert "No tier is listed for it" in run("claude-3-haiku", "--tier", "nosuch").stderr

    def test_a_word_that_is_no_service_tier(self) -> None:
        fast = as_json("claude-opus-4-8", "--tier", "fast")
        assert fast["context"] == {"speed": "fast"}
        assert (fast["certainty"], fast["missing"]) == ("listed", [])
        assert Decimal(fast["prices"]["input"]) > Decimal(as_json("claude-opus-4-8")["prices"]["input"])

    def test_no_model_shows_which_list_is_in_use(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert "2,330 models" in run().stdout
        assert "APEIROS_PRICES names no file" in run().stdout
        own(tmp_path, monkeypatch, '{"m": {"input": 1}}')
        assert re.search(r"prices of your own +1 in ", run().stdout)

    def test_colours_are_left_out_when_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm-256color")
        assert "\x1b[31m" in run("gpt-99").stderr
        monkeypatch.setenv("NO_COLOR", "1")
        assert "\x1b[31m" not in run("gpt-99").stderr


class TestUnknown:
    def test_it_says_what_to_do(self) -> None:
        result = run("claude-sonet-4-6")
        assert (result.exit_code, result.stdout) == (2, "")
        assert (
            result.stderr
            == """\
No price is known for 'claude-sonet-4-6': did you mean claude-sonnet-4-6?
Declare it, in USD per million tokens, where the handler is made:
  prices={"claude-sonet-4-6": Price(input=..., output=...)}
or in the JSON file that APEIROS_PRICES names:
  {"claude-sonet-4-6": {"input": "...", "output": "..."}}
"""
        )

    def test_json_keeps_its_stream_clean(self) -> None:
        result = run("gpt-99", "--json")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "gpt-99" in result.stderr

    def test_a_name_cannot_steer_the_terminal(self) -> None:
        result = run("[red]\x1b]0;x\x07m")
        assert result.exit_code == 2
        assert "[red]" in result.stderr
        assert "\x1b" not in result.stderr

    def test_two_orders_at_once(self) -> None:
        for words in (["gpt-4o", "--refresh"], ["--refresh", "--bundled"], ["--url", "http://x"]):
            assert run(*words).exit_code == 2

    def test_a_file_of_prices_that_cannot_be_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = own(tmp_path, monkeypatch, '{"m": {"input": -1}}')
        result = run("gpt-4o")
        assert (result.exit_code, result.stdout) == (2, "")
        assert str(file) in result.stderr


class TestJson:
    def test_amounts_are_text_and_are_what_is_charged(self) -> None:
        found = as_json("gemini-2.5-pro")
        low, high = found["windows"][0]["steps"]
        assert (low["above_input_tokens"], high["above_input_tokens"]) == (0, 200_000)
        rates = PriceBook().rates("google", "gemini-2.5-pro", AT)
        assert rates is not None
        for step, tokens in ((low, 200_000), (high, 200_001)):
            charged = rates.charge(Usage(input_tokens=tokens)).unit_prices
            assert {bucket: Decimal(rate) for bucket, rate in step["prices"].items()} == charged
        assert all(isinstance(rate, str) for rate in high["prices"].values())
        assert found["charged_as"]["cache_write_1h"] == "input"

    def test_hours_are_in_utc_and_one_of_them_is_now(self) -> None:
        windows = as_json("deepseek-v4-flash")["windows"]
        assert [window["utc"] for window in windows] == [
            [["01:00", "04:00"], ["06:00", "10:00"]],
            [["04:00", "06:00"], ["10:00", "01:00"]],
        ]
        assert [window["now"] for window in windows] == [False, True]
        early = json.loads(run("deepseek-v4-flash", "--json", "--at", "2026-11-23T02:00").stdout)
        assert [window["now"] for window in early["windows"]] == [True, False]
        assert early["prices"]["input"] == "0.3"

    def test_the_data_s_age_is_honest(self) -> None:
        data = as_json("gpt-4o")["data"]
        assert (data["from"], data["genai_prices"]) == ("bundled", version("genai-prices"))
        assert data["fetched_at"] is None
        assert date(2026, 11, 1) < date.fromisoformat(data["newest_price"]) <= datetime.now(UTC).date()
        assert as_json()["models"] == data["models"] > 2000

    def test_a_price_that_will_change(self) -> None:
        before = json.loads(run("claude-sonnet-4-6", "--json", "--at", "2026-03-12").stdout)
        assert (before["since"], before["until"]) == (None, "2026-03-13")
        assert as_json("claude-sonnet-4-6")["since"] == "2026-03-13"

    def test_an_override_names_its_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = own(tmp_path, monkeypatch, '{"gpt-4o": {"input": 2, "output": 9.1}}')
        found = as_json("gpt-4o")
        assert (found["override"], found["certainty"]) == (str(file), "override")
        assert found["prices"] == {"input": "2", "output": "9.1"}
        assert found["listed"]["input"] == "2.5"
