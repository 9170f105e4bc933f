"""What every ledger does, whatever it is kept in."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apeiros_callbacks.entry import Entry
from apeiros_callbacks.errors import LedgerUnavailable
from apeiros_callbacks.ledger import Ledger, open_ledger
from apeiros_callbacks.money import from_nano
from apeiros_callbacks.usage import Usage
from tests.contract.entries import FULL, NOON, entry
from tests.contract.servers import Server

SCOPE = ("session:3f2a",)


@pytest.fixture(params=["memory", "sqlite", "sqlite-full", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return {
        "memory": "memory:",
        "sqlite": f"sqlite:///{tmp_path}/ledger.db",
        "sqlite-full": f"sqlite:///{tmp_path}/ledger.db?synchronous=FULL&timeout=3",
    }[request.param]


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with closing(open_ledger(url)) as opened:
        yield opened


def test_it_is_a_ledger(ledger: Ledger, url: str) -> None:
    assert isinstance(ledger, Ledger)
    assert ledger.url == url
    assert ledger.failure is None
    assert ledger.pending == 0
    assert ledger.entries() == []


def test_every_field_comes_back_exactly(ledger: Ledger) -> None:
    for field in fields(Entry):
        assert getattr(FULL, field.name) != getattr(entry(), field.name), f"{field.name} is not tested"
    for field in fields(Usage):
        assert getattr(FULL.usage, field.name), f"{field.name} is not tested"

    ledger.append(FULL, SCOPE)

    (found,) = ledger.entries()
    assert found == FULL
    assert str(found.amount) == "1.25E-8"
    assert {bucket: str(price) for bucket, price in found.unit_prices.items()} == {
        "input": "2.50",
        "cache_read": "1.25E-7",
        'a "bucket"': "0",
    }
    assert list(found.unit_prices) == list(FULL.unit_prices)
    assert found.cached is True
    assert found.ended_at.utcoffset() is not None


@pytest.mark.parametrize(
    "amount",
    [
        None,
        Decimal(0),
        Decimal("0.00"),
        Decimal("-0.35"),
        Decimal("0.0000000125"),
        Decimal("0.1234567890123456789012345678901234567890"),
        from_nano(2**63 - 1),
        from_nano(-(2**63)),
    ],
    ids=str,
)
def test_an_amount_comes_back_to_the_last_digit(ledger: Ledger, amount: Decimal | None) -> None:
    ledger.append(entry(amount=amount), SCOPE)
    (found,) = ledger.entries()
    assert str(found.amount) == str(amount)


def test_what_is_not_known_stays_unknown(ledger: Ledger) -> None:
    nothing = Entry(
        id="r1",
        kind="tool",
        session_id="3f2a",
        amount=None,
        usage_certainty="unresolved",
        price_certainty="unpriced",
        started_at=NOON,
        ended_at=NOON,
    )
    ledger.append(nothing, SCOPE)
    assert ledger.entries() == [nothing]


@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=4, max_size=4),
    amount=st.none() | st.decimals(-(10**8), 10**8, allow_nan=False),
    tokens=st.integers(0, 10**12),
    step=st.none() | st.integers(-(2**63), 2**63 - 1),
    started=st.datetimes(
        datetime(1970, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
        datetime(2200, 1, 1),  # noqa: DTZ001
        timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    ),
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_an_entry_holds(
    server: Server, texts: list[str], amount: Decimal, tokens: int, step: int, started: object
) -> None:
    odd = entry(
        texts[0],
        agent=texts[1],
        error=texts[2],
        amount=amount,
        step=step,
        started_at=started,
        usage=Usage(input_tokens=tokens),
        unit_prices={texts[2]: amount or Decimal(1)},
    )
    with tempfile.TemporaryDirectory() as folder:
        urls = ["memory:", f"sqlite:///{folder}/ledger.db"]
        if not any("\0" in text for text in texts):  # PostgreSQL holds none in a text
            urls.append(server.one_database)
        for url in urls:
            with closing(open_ledger(url)) as ledger:
                server.empty(url)
                ledger.append(odd, (texts[3], texts[0]))
                assert ledger.entries() == [odd]
                assert ledger.entries(texts[3]) == [odd]
                assert ledger.entries("none of " + "".join(texts)) == []


def test_entries_come_in_the_order_they_were_appended(ledger: Ledger) -> None:
    appended = [entry(f"r{99 - number}") for number in range(100)]
    for one in appended:
        ledger.append(one, SCOPE)
    assert ledger.entries() == appended
    assert ledger.entries("session:3f2a") == appended


def test_a_scope_has_its_own_entries(ledger: Ledger) -> None:
    first, second, third = entry("r1"), entry("r2", session_id="b"), entry("r3")
    ledger.append(first, ("session:3f2a", "customer:acme:2026-11"))
    ledger.append(second, ("session:b", "customer:acme:2026-11"))
    ledger.append(third, ())

    assert ledger.entries("session:3f2a") == [first]
    assert ledger.entries("session:b") == [second]
    assert ledger.entries("customer:acme:2026-11") == [first, second]
    assert ledger.entries("customer:acme") == []
    assert ledger.entries() == [first, second, third]


def test_an_entry_comes_once_however_often_it_is_appended(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.append(entry("r1"), SCOPE)
    ledger.flush()
    ledger.append(entry("r1", amount=Decimal(999)), SCOPE)

    assert ledger.entries() == [entry("r1")]
    assert ledger.entries("session:3f2a") == [entry("r1")]


def test_another_attempt_is_another_entry(ledger: Ledger) -> None:
    attempts = [entry("r1", attempt=number) for number in (1, 2, 3)]
    for one in attempts:
        ledger.append(one, SCOPE)
    assert ledger.entries() == attempts


def test_a_second_session_adds_its_scope_to_the_entry_that_is_there(ledger: Ledger) -> None:
    inner, later = entry("r1"), entry("r2", session_id="b")
    ledger.append(inner, ("session:3f2a",))
    ledger.append(later, ("session:b",))
    ledger.append(replace(inner, session_id="b"), ("session:b",))

    assert ledger.entries() == [inner, later]
    assert ledger.entries("session:b") == [inner, later]
    assert ledger.entries("session:3f2a") == [inner]


def test_a_correction_is_a_line_of_its_own(ledger: Ledger) -> None:
    guessed = entry("r1", usage_certainty="estimated", amount=Decimal("0.01"))
    right = entry("c1", kind="correction", corrects=guessed.key, amount=Decimal("-0.0032"))
    ledger.append(guessed, SCOPE)
    ledger.append(right, SCOPE)
    assert ledger.entries() == [guessed, right]


def test_twenty_threads(ledger: Ledger) -> None:
    start = threading.Barrier(20)

    def run(thread: int) -> None:
        start.wait()
        for number in range(200):
            ledger.append(entry(f"{thread}-{number}"), (f"session:{thread}", "everything"))
            ledger.append(entry(f"shared-{number}"), (f"session:{thread}",))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.flush(60)

    assert len(ledger.entries()) == 20 * 200 + 200
    assert len(ledger.entries("everything")) == 20 * 200
    for thread_number in range(20):
        own = [
            one.id for one in ledger.entries(f"session:{thread_number}") if not one.id.startswith("shared")
        ]
        assert own == [f"{thread_number}-{number}" for number in range(200)]
        assert len(ledger.entries(f"session:{thread_number}")) == 400
    assert ledger.pending == 0


def test_an_entry_may_be_appended_inside_another_append(ledger: Ledger) -> None:
    """As the garbage collector does, when it closes an abandoned stream: anywhere, on any thread."""

    class Interrupted(tuple[str, ...]):
        __slots__ = ()

        def __iter__(self) -> Iterator[str]:
            ledger.append(entry("abandoned"), SCOPE)
            return super().__iter__()

    ledger.append(entry("r1"), Interrupted(SCOPE))
    ledger.flush()  # SQLite's ledger looks at the scopes on its own thread, which is interrupted then

    assert {one.id for one in ledger.entries("session:3f2a")} == {"r1", "abandoned"}


def test_flush_leaves_nothing_pending(ledger: Ledger) -> None:
    for number in range(1_000):
        ledger.append(entry(f"r{number}"), SCOPE)
    ledger.flush()
    assert ledger.pending == 0
    ledger.flush(0.5)


def test_close_keeps_what_was_appended(url: str) -> None:
    ledger = open_ledger(url)
    ledger.append(entry("r1"), SCOPE)
    ledger.close()
    ledger.close()
    with closing(open_ledger(url)) as again:
        assert again.entries() == ([] if url == "memory:" else [entry("r1")])


def test_a_closed_ledger_says_so(ledger: Ledger, url: str) -> None:
    ledger.close()
    for use in (ledger.flush, ledger.entries, lambda: ledger.append(entry(), SCOPE)):
        with pytest.raises(LedgerUnavailable, match=r"is closed. Open it again with open_ledger\('"):
            use()
    assert ledger.url == url
    assert ledger.pending == 0


def test_two_memory_ledgers_share_nothing() -> None:
    one, other = open_ledger("memory:"), open_ledger("memory:")
    one.append(entry(), SCOPE)
    assert other.entries() == []


def test_two_that_open_one_file_share_it(tmp_path: Path) -> None:
    url = f"sqlite:///{quote(str(tmp_path))}/ledger.db"
    with closing(open_ledger(url)) as one, closing(open_ledger(url)) as other:
        one.append(entry("r1"), ("session:a",))
        other.append(entry("r1"), ("session:b",))
        one.close()
        other.append(entry("r2"), ("session:b",))
        assert [found.id for found in other.entries()] == ["r1", "r2"]
        assert other.entries("session:a") == [entry("r1")]
