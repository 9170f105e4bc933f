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
    unresolved: int = 0
    """Calls that were sent and whose end or price could not be made out."""
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

    def counting(self, entry: Entry) -> Health:
        """This health with one more entry."""
        if entry.kind == "correction":
            return replace(self, corrected=self.corrected + 1)
        if entry.usage_certainty == "reported" and entry.price_certainty in _SOUND:
            return self
        return replace(
            self,
            usage_estimated=self.usage_estimated + (entry.usage_certainty == "estimated"),
            unresolved=self.unresolved + (entry.usage_certainty == "unresolved"),
            price_assumed=self.price_assumed + (entry.price_certainty == "assumed"),
            price_partial=self.price_partial + (entry.price_certainty == "partial"),
            unpriced=self.unpriced + (entry.price_certainty == "unpriced"),
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


def total(entries: Iterable[Entry]) -> Totals:
    """Add entries up. A correction replaces the tokens of the entry it corrects.

    Example:
        >>> total([]).cost
        Decimal('0')
    """
    lines = list(entries)
    corrected = {line.corrects for line in lines if line.corrects is not None}
    counted = [line.usage for line in lines if line.key not in corrected]
    return Totals(
        cost=sum((line.amount for line in lines if line.amount is not None), Decimal(0)),
        calls=sum(1 for line in lines if line.kind == "llm" and not line.cached),
        tools=sum(1 for line in lines if line.kind == "tool"),
        input_tokens=sum(usage.input_tokens for usage in counted),
        output_tokens=sum(usage.output_tokens for usage in counted),
        cache_read_tokens=sum(usage.cache_read_tokens for usage in counted),
        unpriced=sum(1 for line in lines if line.amount is None),
    )


def roll_up(entries: Sequence[Entry], by: GroupBy) -> Mapping[str, Totals]:
    """Totals by a field of the entries, the dearest first; entries without one are under ``"-"``."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(str(getattr(entry, by) or "-"), []).append(entry)
    totals = {name: total(lines) for name, lines in groups.items()}
    return dict(sorted(totals.items(), key=lambda item: item[1].cost, reverse=True))
