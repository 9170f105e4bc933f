"""A mapping that forgets: state that is kept for each run or conversation must not grow without end."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Recent"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Keeps the values that were used last, at most `most` of them. Safe across threads.

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
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """The value, if it is remembered."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def get_or_make(self, key: K, make: Callable[[], V]) -> V:
        """The value, made when it is not remembered."""
        with self._lock:
            value = self._values.get(key)
            if value is None:
                value = self._values[key] = make()
                self._forget()
            else:
                self._values.move_to_end(key)
            return value

    def set(self, key: K, value: V) -> None:
        """Remember a value."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            self._forget()

    def pop(self, key: K) -> V | None:
        """Forget a value and give it."""
        with self._lock:
            return self._values.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._values.clear()

    def __len__(self) -> int:
        return len(self._values)

    def _forget(self) -> None:
        if len(self._values) > self._most:
            self._values.popitem(last=False)
