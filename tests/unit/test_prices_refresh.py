"""Refreshed price data: fetched only when asked for, checked, stored whole, used by every later process."""

from __future__ import annotations

import json
import re
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from apeiros_callbacks.commands import app
from apeiros_callbacks.prices import PriceBook, catalog, refresh, stored, warm
from apeiros_callbacks.usage import Usage
from tests.unit.price_server import ANSWER, Server, text

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
TODAY = r"refreshed \d{4}-\d\d-\d\d"


def listed(**changes: Any) -> list[dict[str, Any]]:
    """A price list of two models: gpt-4o at twice its price, with these changes, and one that is new."""
    models = [
        {
            "id": "gpt-4o",
            "match": {"equals": "gpt-4o"},
            "prices": {"input_mtok": 5.1, "output_mtok": 20},
        },
        {"id": "gpt-new", "match": {"regex": "^gpt-new$"}, "prices": {"input_mtok": 1, "output_mtok": 2}},
    ]
    models[0] |= changes
    extractors = [{"root": "usage", "mappings": [{"path": "n", "dest": "a_count_of_next_year"}]}]
    return [
        {
            "id": "openai",
            "name": "OpenAI",
            "api_pattern": r"https://api\.openai\.com",
            "model_match": {"starts_with": "gpt-"},
            "extractors": extractors,
            "models": models,
        }
    ]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("APEIROS_HOME", str(folder))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("APEIROS_PRICES", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(catalog, "_loaded", None)
    return folder


@pytest.fixture
def server() -> Iterator[Server]:
    it = Server()
    it.answer = text(json.dumps(listed()))
    try:
        yield it
    finally:
        it.close()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """As in a later process: the price data are not loaded yet."""
    return lambda: monkeypatch.setattr(catalog, "_loaded", None)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["prices", *words])


def charged(model: str = "gpt-4o") -> tuple[str, str] | None:
    rates = PriceBook().rates("openai", model, AT)
    charge = None if rates is None else rates.charge(Usage(input_tokens=1_000_000))
    return None if charge is None else (str(charge.amount), charge.source)


class TestGood:
    def test_it_is_used_by_every_later_process(self, server: Server, later: Callable[[], None]) -> None:
        result = run("--refresh", "--url", server.url)
        assert result.exit_code == 0, result.output
        assert "2 models of 1 providers" in result.stdout
        assert re.search(r": 1 changed price, 1 added, [\d,]{4,} removed\.", result.stdout)
        assert (charged() or "")[0] == "2.5"  # this process goes on as it began
        later()
        amount, source = charged() or ("", "")
        assert amount == "5.1"
        assert re.fullmatch(rf"genai-prices {TODAY} openai/gpt-4o", source)
        assert charged("gpt-new") is not None
        assert charged("gpt-4.1") is None

    def test_what_changed_is_json(self, server: Server, home: Path) -> None:
        data = json.loads(run("--refresh", "--url", server.url, "--json").stdout)
        assert (data["models"], data["repriced"], data["added"], data["url"]) == (2, 1, 1, server.url)
        assert [json.loads(run("--bundled", "--json").stdout) for _ in range(2)] == [
            {"removed": True},
            {"removed": False},
        ]

    def test_the_file_is_whole_and_for_this_user_only(self, server: Server, home: Path) -> None:
        run("--refresh", "--url", server.url)
        (file,) = home.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        kept = json.loads(file.read_text("utf-8"))
        assert kept["providers"] == listed()
        fetched = datetime.fromisoformat(kept["fetched_at"])
        assert abs((datetime.now(UTC) - fetched).total_seconds()) < 60

    def test_a_second_refresh_counts_against_the_first(
        self, server: Server, later: Callable[[], None]
    ) -> None:
        run("--refresh", "--url", server.url)
        later()
        result = run("--refresh", "--url", server.url)
        assert re.search(rf"Against the prices {TODAY}: 0 changed price, 0 added, 0 removed", result.stdout)
        later()
        server.answer = text(json.dumps(listed(prices={"input_mtok": 5.10, "output_mtok": 20.5})))
        assert ": 1 changed price, 0 added, 0 removed" in run("--refresh", "--url", server.url).stdout

    def test_its_age_is_shown(
        self, server: Server, later: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run("--refresh", "--url", server.url.replace("://", "://user:secret@") + "?token=secret")
        later()
        found = json.loads(run("gpt-4o", "--json").stdout)
        assert (found["data"]["from"], found["data"]["url"]) == ("refreshed", server.url)
        assert found["data"]["fetched_at"].endswith("+00:00")
        words = " ".join(run("gpt-4o").stdout.split())
        assert re.search(rf"data {TODAY} \d\d:\d\d UTC from http://127", words)
        assert "may be newer" not in words
        monkeypatch.setattr("apeiros_callbacks.prices.sheet.version", lambda name: "9.9")
        assert "became 9.9, which may be newer" in " ".join(run("gpt-4o").stdout.split())

    def test_back_to_the_bundled_data(self, server: Server, home: Path, later: Callable[[], None]) -> None:
        assert "Already in use: the prices bundled with" in run("--bundled").stdout
        run("--refresh", "--url", server.url)
        assert "Back to the prices bundled with" in run("--bundled").stdout
        assert list(home.iterdir()) == []
        later()
        assert (charged() or "")[0] == "2.5"

    def test_nothing_of_genai_prices_own_state_changes(self, server: Server) -> None:
        from genai_prices import data_snapshot

        run("--refresh", "--url", server.url)
        assert server.asked == 1
        assert data_snapshot._custom_snapshot is None
        assert not [thread for thread in threading.enumerate() if "genai" in thread.name]

    def test_a_part_of_the_list_is_enough(self, server: Server, later: Callable[[], None]) -> None:
        run("--refresh", "--url", server.url)
        later()
        assert PriceBook().rates("", "no-such-model", AT) is None
        assert "gpt-4o?" in PriceBook().suggest("", "gpt-4oo")
        assert catalog.catalog().at("https://api.openai.com/v1") == "openai"

    def test_it_is_loaded_off_the_thread_that_asks(
        self, server: Server, later: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run("--refresh", "--url", server.url)
        later()
        readers: list[str] = []
        read = stored.read

        def noted() -> stored.Refreshed | None:
            readers.append(threading.current_thread().name)
            return read()

        monkeypatch.setattr(stored, "read", noted)
        warm(wait=False)
        assert (charged() or "")[0] == "5.1"
        assert readers == ["apeiros-prices"]


class TestBad:
    @pytest.mark.parametrize(
        ("answer", "named"),
        [
            (text("gone", 404), "answered 404 Not Found"),
            (text("moved", 500), "answered 500"),
            (text("<html>hello</html>"), "did not answer with JSON"),
            (text(b"\xff\xfe\x00"), "did not answer with JSON"),
            (text("[" * 100_000), "did not answer with JSON"),
            (text(""), "did not answer with JSON"),
            (text("[]"), "an empty list"),
            (text('{"providers": []}'), "not a list of providers but a dict"),
            (text('[{"id": "openai"}]'), "genai-prices cannot read it"),
            (text("[1]"), "genai-prices cannot read it"),
            (text(json.dumps(listed(match={"regex": "["}))), "the pattern '['"),
            (text(json.dumps(listed(prices={"input_mtok": -1}))), "input_mtok -1, which cannot be a price"),
        ],
    )
    @pytest.mark.parametrize("refreshed", [False, True])
    def test_nothing_changes(
        self,
        answer: ANSWER,
        named: str,
        refreshed: bool,
        server: Server,
        home: Path,
        later: Callable[[], None],
    ) -> None:
        if refreshed:
            assert run("--refresh", "--url", server.url).exit_code == 0
            later()
        kept = {file: file.read_bytes() for file in home.iterdir()} if refreshed else {}
        server.answer = answer
        result = run("--refresh", "--url", server.url)
        assert (result.exit_code, result.stdout) == (1, "")
        assert named in result.stderr
        assert "The prices in use before still are." in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert (
            {file: file.read_bytes() for file in home.iterdir()} == kept if refreshed else not home.exists()
        )
        later()
        assert (charged() or "")[0] == ("5.1" if refreshed else "2.5")

    def test_no_network(self, server: Server, home: Path) -> None:
        url = server.url
        server.http.server_close()
        result = run("--refresh", "--url", url)
        assert result.exit_code == 1
        assert "cannot be reached" in result.stderr
        assert not home.exists()

    def test_a_server_that_does_not_answer(self, server: Server, home: Path) -> None:
        def silent(to: BaseHTTPRequestHandler) -> None:
            server.closing.wait(5)

        server.answer = silent
        with pytest.raises(refresh.RefreshFailed, match=r"did not answer within 0\.2 seconds"):
            refresh.refresh(server.url, timeout=0.2)
        assert not home.exists()

    def test_a_server_that_never_ends(self, server: Server, home: Path) -> None:
        def drip(to: BaseHTTPRequestHandler) -> None:
            to.send_response(200)
            to.end_headers()
            for _ in range(100):
                if not server.closing.wait(0.02):
                    to.wfile.write(b" ")

        server.answer = drip
        with pytest.raises(refresh.RefreshFailed, match=r"no whole answer within 0\.2 seconds"):
            refresh.refresh(server.url, timeout=0.2)
        assert not home.exists()

    def test_more_than_a_price_list_can_be(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(refresh, "_MOST_BYTES", 10)
        with pytest.raises(refresh.RefreshFailed, match="sent more than"):
            refresh.refresh(server.url)

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "data.json", "http://", "http://[", "ftp://x/y"])
    def test_an_address_that_is_none(self, url: str, home: Path) -> None:
        result = run("--refresh", "--url", url)
        assert result.exit_code == 1
        assert "--url must be an address" in result.stderr
        assert not home.exists()

    def test_a_folder_that_cannot_be_written(self, server: Server, home: Path) -> None:
        home.write_text("a file")
        result = run("--refresh", "--url", server.url)
        assert result.exit_code == 1
        assert "cannot be stored" in result.stderr

    def test_a_write_that_fails_leaves_what_was_there(
        self, server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run("--refresh", "--url", server.url)
        before = stored.path().read_bytes()

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        assert "No space left" in run("--refresh", "--url", server.url).stderr
        assert [file.read_bytes() for file in home.iterdir()] == [before]


def test_prices_stay_exact(server: Server, later: Callable[[], None]) -> None:
    server.answer = text(json.dumps(listed()).replace("5.1", "0.10000000000000000001"))
    assert run("--refresh", "--url", server.url).exit_code == 0
    later()
    rates = PriceBook().rates("openai", "gpt-4o", AT)
    assert rates is not None
    assert rates.charge(Usage()).unit_prices["input"] == Decimal("0.10000000000000000001")
