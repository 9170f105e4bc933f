"""Many processes spend for many customers while their months end: every amount exact, every alert once.

``APEIROS_LONG=1`` takes 8 processes and 50 customers, and more calls.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from apeiros_callbacks import meter, open_ledger
from apeiros_callbacks.customers import set_customer
from apeiros_callbacks.money import from_nano, to_nano
from tests.contract.processes import ROOT
from tests.race.customer_process import COSTS, name_of, zone_of
from tests.unit.alert_server import AlertServer

LONG = bool(os.environ.get("APEIROS_LONG"))
PROCESSES, CUSTOMERS, CALLS = (8, 50, 3_000) if LONG else (3, 8, 150)

# In each month a customer asks for about twice of what it may spend.
_ASKED = PROCESSES * CALLS / CUSTOMERS / 2 * sum(COSTS) / len(COSTS)
CAP, ALERT_AT = int(_ASKED / 2), int(_ASKED / 3)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return f"sqlite:///{tmp_path}/ledger.db"


def test_every_amount_is_exact_and_every_alert_is_sent_once(url: str) -> None:
    with closing(open_ledger(url)) as ledger, AlertServer() as endpoint:
        for number in range(CUSTOMERS):
            set_customer(
                name_of(number),
                monthly=from_nano(CAP),
                alert_at=from_nano(ALERT_AT),
                timezone=zone_of(number),
                ledger=ledger,
            )
        ended = everybody_spends(url, endpoint.url)
        posts = [post.json for post in endpoint.posts]

        spent: Counter[str] = Counter()
        for one in ended:
            spent.update(one["spent"])
        kept = {
            one.scope.removeprefix("customer:"): to_nano(one.amount)
            for one in ledger.totals("customer:")
            if one.scope.count("/")
        }
        assert kept == spent
        assert len(kept) == 2 * CUSTOMERS
        assert max(kept.values()) <= CAP
        for number in range(CUSTOMERS):
            for month in ("2026-10", "2026-11"):
                metered = meter(name_of(number), month, ledger=ledger)["spend"]
                assert metered == float(from_nano(spent[f"{name_of(number)}/{month}"]))

    told = Counter((post["data"]["scope"].removeprefix("customer:"), post["type"]) for post in posts)
    assert set(told.values()) == {1}
    reached = {scope for scope, nano in kept.items() if nano >= ALERT_AT}
    assert {scope for scope, level in told if level == "budget.alert_at"} == reached
    capped = {scope for scope, level in told if level == "budget.cap"}
    # Nobody is refused while the dearest call would fit.
    assert {scope for scope, nano in kept.items() if nano == CAP} <= capped
    assert all(kept[scope] > CAP - max(COSTS) for scope in capped)
    refused = sum(one["refused"] for one in ended)
    assert refused > 0
    assert capped
    print(
        f"\n{url.partition(':')[0]}: {PROCESSES} processes, {CUSTOMERS} customers, "
        f"{sum(kept.values()) / 1e9:.4f} of {2 * CUSTOMERS * CAP / 1e9:.4f} USD spent, "
        f"{refused} calls refused, {len(posts)} alerts"
    )


def everybody_spends(url: str, endpoint: str) -> list[dict[str, Any]]:
    module = [sys.executable, "-m", "tests.race.customer_process", url, endpoint]
    running = [
        subprocess.Popen(
            [*module, str(number), str(CALLS), str(CUSTOMERS)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    ended: list[dict[str, Any]] = []
    try:
        for process in running:
            out, complaints = process.communicate(timeout=600)
            assert process.returncode == 0, complaints
            assert "lost with the end" not in complaints
            ended.append(json.loads(out))
    finally:
        for process in running:
            process.kill()
            process.communicate()
    return ended
