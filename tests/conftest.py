"""What all tests share: none of them sees a developer's own settings or data."""

from __future__ import annotations

import os
import tempfile

# Before anything is imported: the price data are loaded once for the process.
os.environ["APEIROS_HOME"] = tempfile.mkdtemp(prefix="apeiros-tests-")
for name in ("APEIROS_LEDGER", "APEIROS_ENFORCE", "APEIROS_PRICES"):
    os.environ.pop(name, None)
