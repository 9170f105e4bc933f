"""The ``apeiros`` command: one file for each of its commands.

app.py       all of them, in the order in which ``apeiros --help`` lists them
asked.py     the options that several have, and the ledger that is asked for
output.py    text of at most 80 columns, JSON, and errors of one line

Exit codes: 1 where what was asked for cannot be had, 2 where it was asked for wrongly, 3 where a budget is
passed.
"""

from __future__ import annotations

from apeiros_callbacks.commands.app import app, main

__all__ = ["app", "main"]
