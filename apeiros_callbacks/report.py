"""Roll-ups of entries: pure functions and the small types they give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal, TypeAlias

from apeiros_callbacks.entry import Entry

__all__ = ["GroupBy", "Health", "Totals", "roll_up", "total"]

GroupBy: TypeAlias = Literal["agent", "model", "provider", "kind", "session_id"]


@dataclass(frozen=True, slots=True)
class Health:
    """How much of a session is known. All zeros and None is a clean bill."""

    open: int = 0
    """Calls and tools that started and did not end yet."""
    usage_estimated: int = 0
    """Calls whose usage the provider did not report; it was counted."""
    failed: int = 0
    """Calls that the provider answered with an error; taken to be free."""
    end_inferred: int = 0
    """Calls that were seen to start and not to end: their task was cancelled, or ended without a word. They
    count among `usage_estimated`, unless they had not been sent."""
    unresolved: int = 0
    """Calls that were seen to start and whose end, or price, could not be made out."""
    price_assumed: int = 0
    """Calls priced by a rule: the requested model's price, or the assumed one."""
    price_partial: int = 0
    """Calls with something that is billed and has no rate of its own, or did not reach us; their
    `Entry.price_source` names it."""
    unpriced: int = 0
    """Calls whose price is not known; they count as nothing against a budget."""
    corrected: int = 0
    """Entries that a later end corrected."""
    failures: int = 0
    """Times that this package itself failed; the first is in the log."""
    ledger_failure: str | None = None
    """Why entries cannot be written now; they are kept and tried again."""
    alerts_waiting: int = 0
    """Alerts that did not arrive yet."""
    alert_failure: str | None = None
    """Why alerts do not arrive; they are kept and tried again."""

    def counting(self, entry: Entry) -> Health:
        """This health with one more entry."""
        if entry.usage_certainty == "reported" and entry.price_certainty in _SOUND:
            return self
        return self._plus(entry, 1)

    def correcting(self, wrong: Entry, right: Entry) -> Health:
        """This health with an entry whose end was inferred, and is now known."""
        known = self._plus(wrong, -1)._plus(right, 1)
        inferred = self.end_inferred - (wrong.usage_certainty != "unresolved")
        return replace(known, corrected=self.corrected + 1, end_inferred=inferred)

    def _plus(self, entry: Entry, one: int) -> Health:
        usage, price = entry.usage_certainty, entry.price_certainty
        return replace(
            self,
            usage_estimated=self.usage_estimated + one * (usage == "estimated"),
            failed=self.failed + one * (usage == "assumed"),
            unresolved=self.unresolved + one * (usage == "unresolved"),
            price_assumed=self.price_assumed + one * (price == "assumed"),
            price_partial=self.price_partial + one * (price == "partial"),
            unpriced=self.unpriced + one * (price == "unpriced"),
        )


_SOUND = frozenset({"listed", "override", "free"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over some entries."""

    cost: Decimal
    """US dollars, of the entries whose amount is known."""
    calls: int
    """LLM calls, answers from a cache not counted."""
    tools: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    unpriced: int
    """Entries whose amount is not known."""
    usage_estimated: int
    """Calls whose usage was not reported by the provider."""
    price_uncertain: int
    """Calls whose price is partial or assumed."""
    failed: int
    """Calls that the provider answered with an error; taken to be free."""
    unresolved: int
    """Calls that were seen to start and not to end, and calls whose pricing failed."""


def total(entries: Iterable[Entry]) -> Totals:
    """Add entries up. A correction replaces the entry it corrects, but for its dollars, which add up.

    Example:
        >>> total([]).cost
        Decimal('0')
    """
    lines = list(entries)
    corrected = {line.corrects for line in lines if line.corrects is not None}
    right = [line for line in lines if line.key not in corrected]
    counted = [line.usage for line in right]
    return Totals(
        cost=sum((line.amount for line in lines if line.amount is not None), Decimal(0)),
        calls=sum(1 for line in lines if line.kind == "llm" and not line.cached),
        tools=sum(1 for line in lines if line.kind == "tool"),
        input_tokens=sum(usage.input_tokens for usage in counted),
        output_tokens=sum(usage.output_tokens for usage in counted),
        cache_read_tokens=sum(usage.cache_read_tokens for usage in counted),
        unpriced=sum(1 for line in right if line.amount is None),
        usage_estimated=sum(1 for line in right if line.usage_certainty == "estimated"),
        price_uncertain=sum(1 for line in right if line.price_certainty in {"partial", "assumed"}),
        failed=sum(1 for line in right if line.usage_certainty == "assumed"),
        unresolved=sum(1 for line in right if line.usage_certainty == "unresolved"),
    )


def roll_up(entries: Sequence[Entry], by: GroupBy) -> Mapping[str, Totals]:
    """Totals by a field of the entries, the dearest first; entries without one are under ``"-"``."""
    groups: dict[str, list[Entry]] = {}
    kinds = {entry.key: entry.kind for entry in entries}
    for entry in entries:
        name = kinds.get(entry.corrects or "", entry.kind) if by == "kind" else getattr(entry, by)
        groups.setdefault(str(name or "-"), []).append(entry)
    totals = {name: total(lines) for name, lines in groups.items()}
    return dict(sorted(totals.items(), key=lambda item: item[1].cost, reverse=True))
