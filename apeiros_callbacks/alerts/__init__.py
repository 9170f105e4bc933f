"""Telling somebody that a budget or a cap is nearly reached, or is.

alert.py          `Alert`: what is told, in words and as JSON
destinations.py   whom to tell: `Slack`, `Webhook`, any function
outbox.py         sends from a thread of its own, and tries again
board.py          who is told of what in one ledger, once across all its processes
notices.py        what a session notices

An alert is sent at `alert_at` and at the cap, once for each budget of a session and for each period of a
customer. Nothing here makes a call wait.
"""

from __future__ import annotations

from apeiros_callbacks.alerts.alert import Alert, Level
from apeiros_callbacks.alerts.destinations import AlertTo, Slack, Webhook

__all__ = ["Alert", "AlertTo", "Level", "Slack", "Webhook"]
