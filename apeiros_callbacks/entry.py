"""One immutable ledger line, and how certain it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

from apeiros_callbacks.usage import Usage

__all__ = ["Entry", "EntryKind", "PriceCertainty", "UsageCertainty"]

EntryKind: TypeAlias = Literal["llm", "tool", "embedding", "rerank", "correction"]

UsageCertainty: TypeAlias = Literal["reported", "estimated", "assumed", "unresolved"]
"""Where the tokens come from.

``reported`` by the provider; ``estimated`` by counting what was sent and received; ``assumed`` from a
rule, such as no tokens for a call that the provider answered with an error; ``unresolved`` when a call
was sent and its end was never seen.
"""

PriceCertainty: TypeAlias = Literal["listed", "override", "assumed", "partial", "unpriced", "free"]
"""Where the amount comes from.

``listed`` in the price data; ``override`` by the user; ``assumed`` from the requested model, or from
the ceiling the user gave; ``partial`` when a bucket had no rate of its own; ``unpriced`` when nothing
is known and the amount is None; ``free`` for local models, and tools without a price.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the ledger. It is never changed; a correction is a new line.

    ``(id, attempt)`` is unique in a ledger. The sum of `amount` over a session's entries is what the
    session spent: a ``correction`` carries the right usage in full and the *difference* in dollars.
    """

    id: str
    """The framework's run id; of a correction, an id of its own."""
    attempt: int = 1
    """1 for the first start of that run id, 2 when the same id was started again after its end."""
    kind: EntryKind
    corrects: str | None = None
    """`key` of the entry that a correction amends."""
    session_id: str
    customer_id: str | None = None
    agent: str | None = None
    """The agent that made the call."""
    step: int | None = None
    """The framework's step number, where it has one."""
    provider: str = ""
    model: str = ""
    """The model that answered; the requested one where the answer does not say. A tool's name for a tool."""
    requested_model: str = ""
    usage: Usage = field(default_factory=Usage)
    amount: Decimal | None
    """US dollars, exact. None when unknown, never a guess of 0."""
    usage_certainty: UsageCertainty
    price_certainty: PriceCertainty
    cached: bool = False
    """The answer came from the framework's own cache and cost nothing."""
    unit_prices: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    """US dollars per million tokens by bucket, as used for `amount`."""
    price_source: str = ""
    """What the prices are from, with its version."""
    started_at: datetime
    ended_at: datetime
    routed_from: str | None = None
    """The model that the agent prefers, where a router took a cheaper one."""
    routed_to: str | None = None
    """The model that it took."""
    routed_why: str | None = None
    """Why."""
    error: str | None = None
    """What ended the call, when it was not an answer. Never the text of a prompt or an answer."""

    @property
    def key(self) -> str:
        """``id#attempt``, unique in a ledger."""
        return f"{self.id}#{self.attempt}"
