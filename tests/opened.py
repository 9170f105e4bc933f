"""A session that keeps what it opened, so that a test can look at estimates."""

from __future__ import annotations

from typing import Any

from apeiros_callbacks import Session
from apeiros_callbacks.call import Call, OpenCall


class Opened(Session):
    """Keeps its open calls, in their order."""

    def __init__(self, budget: float = 1000, **options: Any) -> None:
        super().__init__(budget=budget, **options)
        self.calls: list[OpenCall] = []

    def open_call(self, call: Call) -> OpenCall:
        opened = super().open_call(call)
        self.calls.append(opened)
        return opened
