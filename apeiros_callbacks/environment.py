"""What the environment says: ``APEIROS_…``, where this user's data are, and whether an event loop runs."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from apeiros_callbacks.checked import flag
from apeiros_callbacks.errors import ConfigError

__all__ = ["data_folder", "enforced", "in_event_loop", "ledger_url"]

logger = logging.getLogger("apeiros_callbacks")

_NO = frozenset({"0", "false", "no", "off"})
_YES = frozenset({"", "1", "true", "yes", "on"})


def data_folder() -> Path:
    """The folder for this user's data: ``APEIROS_HOME``, or what the system has for it."""
    given = os.environ.get("APEIROS_HOME")
    if given:
        return Path(given).expanduser().absolute()
    import platformdirs  # not needed to import this package

    return platformdirs.user_data_path("apeiros", appauthor=False)


def ledger_url(given: str | None) -> str:
    """The ledger to open: the one given, that of ``APEIROS_LEDGER``, or memory."""
    return given if given is not None else os.environ.get("APEIROS_LEDGER") or "memory:"


def enforced(enforce: bool) -> bool:
    """Whether budgets are enforced; ``APEIROS_ENFORCE=0`` ends it for every session.

    Raises:
        ConfigError: the setting or the variable says neither yes nor no.
    """
    said = os.environ.get("APEIROS_ENFORCE", "").strip().lower()
    if said in _NO:
        logger.warning("APEIROS_ENFORCE=%s: budgets are watched, not enforced", said)
        return False
    if said not in _YES:
        raise ConfigError(f"APEIROS_ENFORCE must be 0 or 1, got {said!r}")
    return flag(enforce, "enforce")


def in_event_loop() -> bool:
    """Whether this is inside a running event loop, which must not wait."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
