"""What follows from a finding: finding → action."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, get_args

from apeiros_callbacks.checked import by_name
from apeiros_callbacks.detectors import DETECTOR_TYPES, Finding
from apeiros_callbacks.errors import ConfigError

__all__ = ["Action", "Choice", "Policy"]

Action: TypeAlias = Literal["ignore", "warn", "raise", "downgrade", "pause"]
"""``ignore``: not even listed. ``warn``: listed and logged. ``raise``: listed, and the call that shows it,
or the next one when it shows only afterwards, is refused. ``downgrade``: listed, and from then on a router
takes the next cheaper model in this run; what no router can send elsewhere goes on. ``pause``: as ``raise``,
but a person is asked first, where the framework can wait for one: LangGraph with a checkpointer."""

Choice: TypeAlias = Action | Callable[[Finding], object]
"""An action, or a function that is told of each new finding and may give the action for it. Gives it
None, the usual follows."""

_REFUSING = frozenset({"raise", "pause"})


class Policy:
    """Chooses the action for each type of finding.

    Args:
        on: actions by finding type, for instance ``{"retry_loop": "raise"}``.
        exceeded: the action for ``budget_exceeded`` where `on` has none.

    Raises:
        ConfigError: a type or an action does not exist.
    """

    def __init__(self, on: Mapping[str, Choice] | None = None, *, exceeded: Action = "raise") -> None:
        self._actions: dict[str, Action] = {"budget_exceeded": _checked(exceeded, "on_exceeded=")}
        self._told: dict[str, Callable[[Finding], object]] = {}
        for kind, choice in by_name(on, "on", '{"retry_loop": "raise"}').items():
            if kind not in DETECTOR_TYPES:
                raise ConfigError(f"on={{{kind!r}: …}}: findings are {', '.join(DETECTOR_TYPES)}")
            if callable(choice):
                self._told[kind] = choice
            else:
                self._actions[kind] = _checked(choice, f"on={{{kind!r}: …}}: ")

    def action(self, finding_type: str) -> Action:
        """What to do about a finding of that type; ``warn`` unless set."""
        return self._actions.get(finding_type, "warn")

    def told(self, finding_type: str) -> Callable[[Finding], object] | None:
        """Who is told of findings of that type."""
        return self._told.get(finding_type)

    def decide(self, finding: Finding) -> Action:
        """What to do about a finding, after its function was told.

        Raises:
            Exception: the function did, or gave what is no action.
        """
        tell = self._told.get(finding.type)
        said = None if tell is None else tell(finding)
        return self.action(finding.type) if said is None else _checked(said, f"on={{{finding.type!r}: …}}: ")

    def refuses(self, action: Action) -> bool:
        """Whether a call is refused over an action."""
        return action in _REFUSING


def _checked(value: object, what: str) -> Action:
    for action in get_args(Action):
        if value == action:
            return action  # type: ignore[no-any-return]
    actions = ", ".join(get_args(Action))
    raise ConfigError(f"{what}{value!r}: actions are {actions}, or a function of the finding")
