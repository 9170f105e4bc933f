"""One of many processes that spend for the same customers, over the end of a month.

``python -m tests.race.customer_process LEDGER ENDPOINT NUMBER CALLS CUSTOMERS`` prints, as JSON, what each
customer spent here in each of its months, in nano-dollars, and how many calls were refused.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta

from apeiros_callbacks import open_ledger
from apeiros_callbacks.alerts import Webhook
from apeiros_callbacks.caps import period_of
from tests.contract.spending import session_on, spend

ZONES = ("UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Kathmandu", "Pacific/Apia")
COSTS = (1_000_003, 7_000_009, 20_000_033)
"""Nano-dollars."""
BEGIN = datetime(2026, 10, 31, 2, tzinfo=UTC)
END = datetime(2026, 11, 1, 16, tzinfo=UTC)
"""All month ends are between: of Samoa at 10:00 UTC, of California at 7:00 on the next day."""


def name_of(number: int) -> str:
    return f"customer-{number}"


def zone_of(number: int) -> str:
    return ZONES[number % len(ZONES)]


def main(url: str, endpoint: str, number: int, calls: int, customers: int) -> None:
    chance = random.Random(number)
    now = BEGIN
    spent: Counter[str] = Counter()
    refused = 0
    with closing(open_ledger(url)) as ledger:
        # A busy machine may be slow; that is no reason to refuse here.
        patient = {"ledger_timeout": 120.0, "clock": lambda: now}
        ours = session_on(ledger, COSTS, alerts=[Webhook(endpoint)], **patient)
        for call in range(calls):
            now = BEGIN + (END - BEGIN) * (call / calls) + timedelta(seconds=number)
            whose, cost = chance.randrange(customers), chance.choice(COSTS)
            if spend(ours, cost, name_of(whose)):
                spent[f"{name_of(whose)}/{period_of(now, 'month', zone_of(whose))}"] += cost
            else:
                refused += 1
    print(json.dumps({"spent": spent, "refused": refused}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
