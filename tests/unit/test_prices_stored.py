"""Refreshed price data on disk: checked whenever they are read, and never half used."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from apeiros_callbacks.commands import app
from apeiros_callbacks.prices import PriceBook, catalog, stored
from apeiros_callbacks.usage import Usage

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
MODEL: dict[str, Any] = {
    "id": "gpt-4o",
    "match": {"equals": "gpt-4o"},
    "prices": {"input_mtok": 5.1, "output_mtok": 20},
}
PROVIDER: dict[str, Any] = {"id": "openai", "name": "OpenAI", "api_pattern": "https", "models": [MODEL]}
LIST = [PROVIDER]


def with_model(**changes: Any) -> list[dict[str, Any]]:
    return [PROVIDER | {"models": [MODEL | changes]}]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("APEIROS_HOME", str(folder))
    monkeypatch.setattr(catalog, "_loaded", None)
    return folder


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """As in a later process: the price data are not loaded yet."""
    return lambda: monkeypatch.setattr(catalog, "_loaded", None)


def charged(model: str = "gpt-4o") -> tuple[str, str] | None:
    rates = PriceBook().rates("openai", model, AT)
    charge = None if rates is None else rates.charge(Usage(input_tokens=1_000_000))
    return None if charge is None else (str(charge.amount), charge.source)


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ([PROVIDER | {"models": []}], "it lists no model"),
        (with_model(match={}), "genai-prices cannot read it"),
        (with_model(prices=[]), "openai/gpt-4o has no prices"),
        (with_model(prices={"input_mtok": 10**10}), "which cannot be a price"),
        (with_model(prices={"input_mtok": "1e-99"}), "which cannot be a price"),
        (with_model(prices={"input_mtok": "NaN"}), "genai-prices cannot read it"),
        (with_model(prices=[{"prices": {"input_mtok": -1}}]), "input_mtok -1, which cannot be a price"),
        (
            with_model(prices={"input_mtok": {"base": -1, "tiers": []}}),
            "input_mtok -1, which cannot be a price",
        ),
        (
            with_model(prices={"input_mtok": {"base": 1, "tiers": [{"start": 9, "price": -2}]}}),
            "input_mtok -2, which cannot be a price",
        ),
        (
            with_model(price_variants=[{"when": {"a": "b"}, "prices": {"output_mtok": -3}}]),
            "output_mtok -3, which cannot be a price",
        ),
    ],
)
def test_what_cannot_be_a_price_list(raw: object, named: str) -> None:
    with pytest.raises(stored.BadPriceData, match=named):
        stored.build(raw)


@pytest.mark.parametrize(
    "raw", [[PROVIDER | {"api_pattern": "("}], with_model(match={"or": [{"regex": "["}]})]
)
def test_a_pattern_that_is_none(raw: object) -> None:
    stored.check_patterns(LIST)
    with pytest.raises(stored.BadPriceData, match="the pattern"):
        stored.check_patterns(raw)


def test_newer_data_do_not_warn() -> None:
    extractor = {"root": "usage", "mappings": [{"path": "n", "dest": "a_count_of_next_year"}]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert stored.build([PROVIDER | {"extractors": [extractor]}])[0].extractors is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"",
        lambda whole: b"[]",
        lambda whole: b"\xff\x00",
        lambda whole: whole.replace(b'"fetched_at"', b'"fetched"'),
        lambda whole: whole.replace(b"+00:00", b""),
        lambda whole: whole.replace(b"5.1", b"-5.1"),
        lambda whole: whole.replace(b'"models"', b'"model"'),
    ],
)
def test_it_is_ignored_with_one_warning(
    damage: Callable[[bytes], bytes],
    later: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = stored.write(json.dumps(LIST), AT, "http://x/y", "0")
    assert (charged() or "")[0] == "5.1"
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert file.read_bytes() != whole
    later()
    with caplog.at_level(logging.WARNING):
        assert (charged() or "")[0] == "2.5"
        assert (charged("gpt-4o-mini") or "")[0] == "0.15"
    (warning,) = caplog.records
    assert warning.name == "apeiros_callbacks"
    assert str(file) in warning.getMessage()
    assert "apeiros prices --bundled" in warning.getMessage()


def test_a_file_that_cannot_be_read(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    stored.path().mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        assert (charged() or "")[0] == "2.5"
    assert len(caplog.records) == 1


def test_without_a_file_there_is_nothing_to_say(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "apeiros_callbacks"):
        assert stored.read() is None
    assert caplog.records == []


def test_hours_that_meet_at_one_price_are_one_and_a_comment_cannot_steer_a_terminal() -> None:
    hours = [("06:00:00Z", "08:00:00Z"), ("08:00:00Z", "10:00:00Z")]
    prices: list[dict[str, Any]] = [{"prices": {"input_mtok": 1, "output_mtok": 2}}]
    for start, end in hours:
        window = {"start_time": start, "end_time": end}
        prices.append({"constraint": window, "prices": {"input_mtok": 3, "output_mtok": 4}})
    models = with_model(prices=prices, price_comments="red \x1b[31m")
    stored.write(json.dumps(models), AT, "http://x/y", "0")
    result = CliRunner().invoke(app, ["prices", "openai:gpt-4o", "--at", "2026-11-23T09:00"])
    assert re.search(r"^million tokens +at 09:00 +10:00-06:00 UTC\s*$", result.stdout, re.MULTILINE)
    assert "06:00-10:00 UTC" in result.stdout
    assert "red" in result.stdout
    assert "\x1b" not in result.stdout
