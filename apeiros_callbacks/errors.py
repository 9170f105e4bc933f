"""Every error this package raises on purpose.

    ApeirosError
    ├── ConfigError                 a setting is wrong; also a ValueError
    │   ├── InvalidBudget
    │   └── InvalidPrice
    ├── NoSession                   there is no session that is started and not ended
    ├── InvalidUsage                token counts that cannot be; also a ValueError
    ├── Refused                     a call was not sent, nothing was spent
    │   ├── BudgetExceeded          it is expected to pass a budget
    │   ├── Unbounded               a strict budget is set and the call declares no maximum
    │   ├── UnknownPrice            a budget is set and nobody knows what the call costs
    │   ├── ModelDowngrade          a router should take a cheaper model; it never leaves the router
    │   ├── UnknownCustomer         nobody says whom the call is for
    │   ├── LedgerDown              the ledger of a shared cap cannot be asked; also a LedgerUnavailable
    │   ├── StoppedByFinding        a detector's finding is set to "raise"
    │   └── GateFailed              the check itself failed while a budget is set
    └── LedgerError
        ├── LedgerUnavailable       cannot be opened, read or written now
        ├── LedgerCorrupt           the file is not a ledger, or is damaged
        └── LedgerTooNew            written by a newer version of this package

`BudgetExceeded` is a plain `Exception`: `except Exception` catches it, and frameworks that treat
`RuntimeError` or `ValueError` in a special way leave it alone.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apeiros_callbacks.detectors import Finding

__all__ = [
    "ApeirosError",
    "BudgetExceeded",
    "ConfigError",
    "GateFailed",
    "InvalidBudget",
    "InvalidPrice",
    "InvalidUsage",
    "LedgerCorrupt",
    "LedgerDown",
    "LedgerError",
    "LedgerTooNew",
    "LedgerUnavailable",
    "ModelDowngrade",
    "NoSession",
    "Refused",
    "StoppedByFinding",
    "Unbounded",
    "UnknownCustomer",
    "UnknownPrice",
    "show_amount",
]


class ApeirosError(Exception):
    """The root of this package's errors."""


class ConfigError(ApeirosError, ValueError):
    """A setting is wrong. Raised before any call is made."""


class InvalidBudget(ConfigError):
    """A budget is not a positive, finite amount."""


class InvalidPrice(ConfigError):
    """A price is not a finite amount of zero or more, or names no bucket."""


class NoSession(ApeirosError):
    """There is no session that is started and not ended, here or where this thread or task came from."""


class InvalidUsage(ApeirosError, ValueError):
    """Token counts that cannot be: negative, not whole, or a part larger than its whole."""


class Refused(ApeirosError):
    """A call was not sent. Nothing was spent on it and nothing is held for it.

    Raised as one of its subclasses; catch this one to catch every refusal.
    """

    def __repr__(self) -> str:
        # LangChain logs the repr of every error a handler raises.
        return f"{type(self).__name__}({str(self)!r})"

    was_sent = False
    """True of a refusal that was only noted, where budgets are watched and not enforced."""

    @property
    def _sent(self) -> str:
        return "It was sent, because budgets are not enforced." if self.was_sent else "It was not sent."


class BudgetExceeded(Refused):
    """A call is expected to pass a budget, or a stream reached it.

    Attributes:
        scope: which budget, for instance ``"session 3f2a"`` or ``"agent researcher"``.
        unit: what the budget counts: ``"usd"``, ``"calls"`` or ``"tokens"``.
        limit: the budget, in that unit.
        spent: what was spent before this call, in that unit.
        held: what calls that are still open may yet spend, in that unit.
        needed: what this call was expected to cost, in that unit.
        model: the model that was asked for.
        mid_stream: True when a stream was cut, False when nothing was sent.
        ledger_scope: which budget, as ledgers name it: ``"session:3f2a"``, ``"customer:acme/2026-11"``.

    Example:
        >>> try:
        ...     raise BudgetExceeded("session s1", "usd", Decimal("0.50"), Decimal("0.35"),
        ...                          Decimal(0), Decimal("0.36"), model="gpt-4o")
        ... except BudgetExceeded as stop:
        ...     stop.limit - stop.spent
        Decimal('0.15')
    """

    def __init__(
        self,
        scope: str,
        unit: str,
        limit: Decimal,
        spent: Decimal,
        held: Decimal,
        needed: Decimal,
        *,
        model: str = "",
        mid_stream: bool = False,
        advice: str = "",
    ) -> None:
        self.scope = scope
        self.unit = unit
        self.limit = limit
        self.spent = spent
        self.held = held
        self.needed = needed
        self.model = model
        self.mid_stream = mid_stream
        self.ledger_scope = ""
        self.advice = advice
        # Every argument, so that the error survives pickling between processes.
        super().__init__(scope, unit, limit, spent, held, needed)

    def __reduce__(self) -> tuple[object, ...]:
        return (
            _rebuild_budget_exceeded,
            (self.args, self.model, self.mid_stream, self.advice, self.ledger_scope),
        )

    def __str__(self) -> str:
        what = f" to {self.model}" if self.model else ""
        limit = show_amount(self.limit, self.unit)
        spent = (
            f"{show_amount(self.spent, self.unit)} spent"
            if self.unit == "usd"
            else f"{self.spent:,} of {limit} used"
        )
        held = f" and {show_amount(self.held, self.unit)} held by open calls" if self.held else ""
        text = f"budget of {limit} for {self.scope}: {spent}{held}; "
        if self.mid_stream:
            done = "was not cut" if self.was_sent else "was cut"
            text += f"the stream{what} reached the limit and {done}."
        elif self.unit == "calls":
            text += f"this call{what} would be one more. {self._sent}"
        else:
            text += f"this call{what} needs about {show_amount(self.needed, self.unit)}. {self._sent}"
        return f"{text} {self.advice}".rstrip()


def _rebuild_budget_exceeded(
    args: tuple[str, str, Decimal, Decimal, Decimal, Decimal],
    model: str,
    mid_stream: bool,
    advice: str,
    ledger_scope: str,
) -> BudgetExceeded:
    rebuilt = BudgetExceeded(*args, model=model, mid_stream=mid_stream, advice=advice)
    rebuilt.ledger_scope = ledger_scope
    return rebuilt


def show_amount(value: Decimal, unit: str) -> str:
    """An amount as a person reads it: dollars to the cent, further only as far as it says something."""
    if unit != "usd":
        return f"{value:,} {unit.removesuffix('s') if value == 1 else unit}"
    digits = 4 if value == 0 else min(9, max(4, 1 - value.adjusted()))
    whole, _, part = f"{value:,.{digits}f}".partition(".")
    part = part.rstrip("0")
    return f"${whole}.{part.ljust(2 if len(part) <= 2 else 4, '0')}"


class UnknownPrice(Refused):
    """A budget is set and the price of the model is not known.

    Attributes:
        provider: the provider as the framework names it.
        model: the model that was asked for.
    """

    def __init__(self, provider: str, model: str, why: str = "") -> None:
        self.provider = provider
        self.model = model
        self.why = why
        super().__init__(provider, model, why)

    def __str__(self) -> str:
        name = f"{self.provider}:{self.model}" if self.provider else self.model
        because = f" ({self.why})" if self.why else ""
        return (
            f"no price is known for {name!r}{because}, so a budget cannot be kept. {self._sent} "
            f'Set prices={{"{self.model}": Price(input=…, output=…)}} in USD per million tokens, '
            f'or models={{"{self.model}": "openai:gpt-4o"}} when it is another name of a listed model.'
        )


class ModelDowngrade(Refused):
    """A router should take a cheaper model for this call. It never leaves the router.

    Attributes:
        model: the model that should not be taken.
        why: why not.
    """

    def __init__(self, model: str, why: str) -> None:
        self.model = model
        self.why = why
        super().__init__(model, why)

    def __str__(self) -> str:
        return f"a cheaper model than {self.model} should be taken: {self.why}"


class UnknownCustomer(Refused):
    """The function that says whom a call is for failed, or gave no name.

    Attributes:
        why: what it did.
    """

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)

    def __str__(self) -> str:
        return (
            f"the customer= function {self.why}, so it is not known whose money this call spends. "
            f"{self._sent} Let it give a name for every call, for instance from the run's metadata."
        )


class Unbounded(Refused):
    """A strict budget is set and nothing bounds what the call can cost.

    Attributes:
        model: the model that was asked for.
        beyond: what makes the provider read more than is sent; empty when the answer has no maximum.
    """

    def __init__(self, model: str, beyond: str = "") -> None:
        self.model = model
        self.beyond = beyond
        super().__init__(model, beyond)

    def __str__(self) -> str:
        if self.beyond:
            return (
                f"a strict budget needs a bound, and this call to {self.model} has {self.beyond}: what the "
                f"provider reads for it is not known here. {self._sent} Leave it out, or leave out "
                "strict=True."
            )
        return (
            f"a strict budget needs a bound, and this call to {self.model} declares no maximum for its "
            "answer. It was not sent. Set max_tokens on the model, or leave out strict=True."
        )


class StoppedByFinding(Refused):
    """A detector found something whose action is ``"raise"``.

    Attributes:
        finding: what was found.
    """

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(finding)

    def __str__(self) -> str:
        return (
            f"{self.finding.type}: {self.finding.message} It was not sent. "
            f'To go on, set on={{"{self.finding.type}": "warn"}}.'
        )


class GateFailed(Refused):
    """The check before sending failed while a budget is set, so the call was not sent.

    Attributes:
        cause: what went wrong.
    """

    def __init__(self, cause: BaseException) -> None:
        self.cause = cause
        super().__init__(cause)

    def __str__(self) -> str:
        return (
            f"the budget could not be checked ({type(self.cause).__name__}: {self.cause}). "
            "The call was not sent. Set enforce=False to go on without a limit."
        )


class LedgerError(ApeirosError):
    """Something is wrong with a ledger."""


class LedgerUnavailable(LedgerError):
    """The ledger cannot be opened, read or written now."""


class LedgerCorrupt(LedgerError):
    """The file is not a ledger, or is damaged. It is left as it was found."""


class LedgerTooNew(LedgerError):
    """The ledger was written by a newer version of this package. It is left as it was found."""


class LedgerDown(Refused, LedgerUnavailable):
    """A cap that processes share applies to the call, and the ledger that keeps it cannot be asked.

    Attributes:
        scope: whose cap, for instance ``"customer acme in 2026-11"``.
        why: what is wrong with the ledger.
    """

    def __init__(self, scope: str, why: str) -> None:
        self.scope = scope
        self.why = why
        super().__init__(scope, why)

    def __str__(self) -> str:
        whose = f"the cap of {self.scope}" if self.scope else "whether a cap applies"
        return (
            f"{whose} cannot be checked: {self.why} {self._sent} "
            'Set on_ledger_down="allow" to go on by what this process knows.'
        )
