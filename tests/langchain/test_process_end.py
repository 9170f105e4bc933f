"""A process that ends in the middle of calls: it ends, and what they may have cost is in the ledger."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from apeiros_callbacks import open_ledger

PROGRAM = """
import sys, threading
from apeiros_callbacks.testing import Reply, ScriptedServer
from langchain_openai import ChatOpenAI
from langchain_apeiros import ApeirosHandler

handler = ApeirosHandler(budget=1, ledger=sys.argv[1])
server = ScriptedServer([Reply(["one", "two"], delay=int(sys.argv[3]), chunk_delay=3600)]).start()
model = ChatOpenAI(model="gpt-4o", base_url=server.openai_url, api_key="test", max_retries=0)
config = {"callbacks": [handler]}
if sys.argv[2] == "stream":
    stream = model.stream("hi", config)
    while next(stream).content != "one":
        pass
else:
    threading.Thread(target=model.invoke, args=("hi", config), daemon=True).start()
    server.wait_for_requests()
"""


@pytest.mark.parametrize(
    ("how", "delay", "certainty"), [("stream", 0, "estimated"), ("invoke", 3600, "unresolved")]
)
def test_a_call_that_is_open_when_the_process_ends_is_in_the_ledger(
    tmp_path: Path, how: str, delay: int, certainty: str
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    # The time is a guard against a process that does not end.
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, url, how, str(delay)], timeout=120, capture_output=True, check=True
    )
    [entry] = open_ledger(url).entries()
    assert (entry.usage_certainty, entry.error) == (certainty, "process ended")
    assert entry.amount
    assert b"Traceback" not in ended.stderr
