"""Prices of one's own in the file that ``APEIROS_PRICES`` names."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from apeiros_callbacks.errors import InvalidPrice
from apeiros_callbacks.prices import Price, PriceBook
from apeiros_callbacks.prices.file import declared_prices
from apeiros_callbacks.usage import Usage

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APEIROS_PRICES", raising=False)


def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    file = tmp_path / "prices.json"
    file.write_text(text, "utf-8")
    monkeypatch.setenv("APEIROS_PRICES", str(file))
    return file


def test_numbers_and_text_are_read_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """{"m": {"input": 0.10000000000000000001, "output": "10", "cache_read": null},
               "tool:search": {"call": "0.01"}}"""
    own(tmp_path, monkeypatch, text)
    prices = declared_prices()
    assert prices["m"].given() == {"input": Decimal("0.10000000000000000001"), "output": Decimal(10)}
    assert prices["tool:search"].call == Decimal("0.01")


def test_every_rate_of_a_price_can_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {rate: str(number) for number, rate in enumerate(Price.__slots__, start=1)}
    own(tmp_path, monkeypatch, json.dumps({"m": rates}))
    assert declared_prices()["m"].given() == {rate: Decimal(number) for rate, number in rates.items()}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "JSON"),
        ("[]", "one object"),
        ("[" * 100_000, "JSON"),
        ('{"m": {"input": 1}, "m": {"input": 2}}', "'m' stands there twice"),
        ('{"m": {"input": 1, "input": 2}}', "'input' stands there twice"),
        ('{"m": 3}', '"m"'),
        ('{"m": {}}', '"m"'),
        ('{"m": {"inputs": 1}}', '"m": "inputs", which is no rate; the rates are input, output'),
        ('{"m": {"input": "-1"}}', "\"m\": 'input' of a Price"),
        ('{"m": {"input": -1}}', "\"m\": 'input' of a Price"),
        ('{"m": {"input": "cheap"}}', '"m": "input": \'cheap\''),
        ('{"m": {"input": true}}', '"m": "input": true'),
        ('{"m": {"input": NaN}}', '"m": "input"'),
        ('{"m": {"input": "Infinity"}}', '"m": "input"'),
        ('{"m": {"input": "1e999999999"}}', "\"m\": 'input' of a Price"),
        ('{" ": {"input": 1}}', "names no model"),
        ('{"tool:x": {"input": 1}}', "tool:x"),
    ],
)
def test_what_is_wrong_is_named(
    text: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = own(tmp_path, monkeypatch, text)
    with pytest.raises(InvalidPrice) as wrong:
        declared_prices()
    assert f"APEIROS_PRICES: the file {file} " in str(wrong.value)
    assert named in str(wrong.value)


def test_a_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APEIROS_PRICES", str(tmp_path / "none.json"))
    with pytest.raises(InvalidPrice, match=r"none\.json cannot be read \(No such file"):
        declared_prices()


def test_a_program_s_own_prices_win_however_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["openai:gpt-4o", "MINE", "my-b", "azure:m", "tool:search", "other", "my-a*"]
    own(tmp_path, monkeypatch, json.dumps({name: {"input": 1, "call": 1} for name in names}))
    ours = Price(input=2, call=2)
    above = ["gpt-4o", "mine", "my-*", "azure_openai:m", "tool:*"]
    merged = declared_prices(dict.fromkeys(above, ours))
    assert merged.keys() == {*above, "other"}
    book = PriceBook(merged)
    for provider, model, rate in [("openai", "gpt-4o", 2), ("", "Mine", 2), ("", "other", 1)]:
        rates = book.rates(provider, model, AT)
        assert rates is not None
        assert rates.charge(Usage()).unit_prices["input"] == rate


def test_without_a_file_nothing_is_added() -> None:
    assert declared_prices() == {}
    ours = {"m": Price(input=1)}
    assert declared_prices(ours) is ours
    with pytest.raises(InvalidPrice, match="must be a mapping"):
        PriceBook(declared_prices([]))  # type: ignore[arg-type]
