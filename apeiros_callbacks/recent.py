"""A mapping that forgets: state that is kept for each run or conversation must not grow without end."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

__all__ = ["Recent"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Keeps the values that were used last, at most `most` of them.

    Safe across threads, and when the garbage collector calls in the middle of a step: there is no lock to
    wait for, and each step is a few operations of a dict that nothing can split, in any order. For that the
    keys must be of built-in types: numbers, strings, and tuples of them.

    Example:
        >>> names = Recent[int, str](most=2)
        >>> for i, name in enumerate("abc"):
        ...     names.set(i, name)
        >>> names.get(0), names.get(2)
        (None, 'c')
    """

    def __init__(self, most: int = 256) -> None:
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, if it is remembered."""
        value = self._values.get(key)
        if value is not None:
            try:  # noqa: SIM105 - here and below: a context manager has its price on the path of every call
                self._values.move_to_end(key)
            except KeyError:  # forgotten meanwhile
                pass
        return value

    def get_or_make(self, key: K, make: Callable[[], V]) -> V:
        """The value, made when it is not remembered."""
        value = self.get(key)
        if value is None:
            value = self._values.setdefault(key, make())
            if len(self._values) > self._most:
                self._forget()
        return value

    def set(self, key: K, value: V) -> None:
        """Remember a value."""
        self._values[key] = value
        try:  # noqa: SIM105
            self._values.move_to_end(key)
        except KeyError:  # forgotten meanwhile
            pass
        if len(self._values) > self._most:
            self._forget()

    def pop(self, key: K) -> V | None:
        """Forget a value and give it."""
        return self._values.pop(key, None)

    def items(self) -> list[tuple[K, V]]:
        """All that is remembered."""
        return list(self._values.items())

    def values(self) -> list[V]:
        """All that is remembered, without its keys."""
        return list(self._values.values())

    def clear(self) -> None:
        """Forget all."""
        self._values.clear()

    def __len__(self) -> int:
        return len(self._values)

    def _forget(self) -> None:
        with suppress(KeyError):  # another thread was quicker
            self._values.popitem(last=False)
