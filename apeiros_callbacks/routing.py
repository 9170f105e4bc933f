"""Which model is next: a ladder of models from dear to cheap, and when to step down.

A router, such as LangChain's ``with_downgrade``, tries the rungs in their order. The session looks at each
try before it is sent, and raises `ModelDowngrade` for one that should not be taken; the router goes on to
the next. The last rung is held to the budget like any call.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from apeiros_callbacks.errors import ConfigError

__all__ = ["Ladder", "Rung", "RungModel"]

M = TypeVar("M")


class Ladder(Generic[M]):
    """Models from dear to cheap, and the shares of the budget at which to step down.

    Args:
        *models: two or more; an adapter says what a model is, for LangChain a chat model or its
            ``"provider:name"``.
        at: one share less than there are models, each in (0, 1] and none below the one before: the second
            model is taken once that much of the tightest budget in dollars is spent, and so on. Otherwise
            0.8 for two models, and evenly from 0.5 to 0.8 for more. Below its share a rung is left all the
            same when its next call does not fit into the budget.

    Raises:
        ConfigError: there are too few models, or the shares do not fit them.

    Example:
        >>> ladder = Ladder("gpt-4o", "gpt-4o-mini", "gpt-4.1-nano", at=(0.5, 0.8))
        >>> ladder.rung_at(0.6)
        1
    """

    def __init__(self, *models: M, at: Sequence[float] | None = None) -> None:
        if len(models) < 2:
            raise ConfigError(f"a Ladder needs two models or more, from dear to cheap; got {len(models)}")
        self.models = models
        if at is not None and not isinstance(at, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"at must be a list of shares such as [0.5, 0.8], got {at!r}")
        self.at = _default(len(models) - 1) if at is None else tuple(at)
        if len(self.at) != len(models) - 1:
            raise ConfigError(
                f"a Ladder of {len(models)} models steps down {len(models) - 1} times: at= has {len(self.at)}"
            )
        for share in self.at:
            if not _is_share(share):
                raise ConfigError(f"a share of the budget must be above 0 and at most 1, got {share!r}")
        if list(self.at) != sorted(self.at):
            raise ConfigError(f"the shares of a Ladder must not go down, got at={self.at}")

    def rung_at(self, share: float) -> int:
        """The rung to take when that share of the budget is spent."""
        return bisect_right(self.at, share)

    def __repr__(self) -> str:
        return f"Ladder({', '.join(map(repr, self.models))}, at={self.at})"


class RungModel(NamedTuple):
    """A model of a ladder, as far as it must be known before it takes a call over."""

    provider: str
    model: str
    takes_tools: bool = True


class Rung(NamedTuple):
    """Where on a ladder a call is. Adapters put it on a `Call` that a router can send elsewhere."""

    at: tuple[float, ...]
    """The shares at which the ladder steps down."""
    place: int
    """0 for the dearest."""
    preferred: str
    """The name of the dearest model."""
    below: tuple[RungModel, ...] = ()
    """The cheaper models. None of them: nothing is known of them, and the router finds out."""
    takes_tools: bool = True
    """Whether the model of this rung can call tools."""

    @property
    def is_last(self) -> bool:
        """There is nowhere to step down to."""
        return self.place >= len(self.at)

    def is_left_at(self, share: float) -> bool:
        """Whether the ladder has stepped down from here when that share of the budget is spent."""
        return bisect_right(self.at, share) > self.place


def _is_share(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 < value <= 1


def _default(steps: int) -> tuple[float, ...]:
    if steps == 1:
        return (0.8,)
    return tuple(round(0.5 + 0.3 * step / (steps - 1), 4) for step in range(steps))
