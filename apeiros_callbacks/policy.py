"""What follows from a finding: finding → action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from apeiros_callbacks.detectors import DETECTOR_TYPES, Finding
from apeiros_callbacks.errors import ConfigError

__all__ = ["Action", "Policy"]

Action: TypeAlias = Literal["ignore", "warn", "raise"]
"""``ignore``: not even listed. ``warn``: listed and logged. ``raise``: listed, and the call that shows it,
or the next one when it shows only afterwards, is refused."""


class Policy:
    """Chooses the action for each type of finding.

    Args:
        on: actions by finding type, for instance ``{"retry_loop": "raise"}``.
        exceeded: the action for ``budget_exceeded`` where `on` has none.

    Raises:
        ConfigError: a type or an action does not exist.
    """

    def __init__(self, on: Mapping[str, str] | None = None, *, exceeded: Action = "raise") -> None:
        self._actions: dict[str, Action] = {"budget_exceeded": exceeded}
        for kind, action in (on or {}).items():
            if kind not in DETECTOR_TYPES:
                raise ConfigError(f"on={{{kind!r}: …}}: findings are {', '.join(DETECTOR_TYPES)}")
            self._actions[kind] = _action(kind, action)

    def action(self, finding_type: str) -> Action:
        """What to do about a finding of that type; ``warn`` unless set."""
        return self._actions.get(finding_type, "warn")

    def refuses(self, finding: Finding) -> bool:
        """Whether a call is refused over this finding."""
        return self.action(finding.type) == "raise"


def _action(kind: str, value: object) -> Action:
    for action in get_args(Action):
        if value == action:
            return action  # type: ignore[no-any-return]
    raise ConfigError(f"on={{{kind!r}: {value!r}}}: actions are {', '.join(get_args(Action))}")
