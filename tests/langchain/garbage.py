"""Calls that end when what made them is collected."""

from __future__ import annotations

import gc
import time

from langchain_apeiros import ApeirosHandler


def collect(handler: ApeirosHandler) -> None:
    """Collect garbage until no call is open, but not for ever.

    Once is not enough: while another thread is collecting, ``gc.collect()`` does nothing.
    """
    for _ in range(200):
        gc.collect()
        if not handler.session.open_holds:
            return
        time.sleep(0.01)
