"""The handler needs ``langchain-core`` alone; it uses ``langchain`` and ``langgraph`` when they are there."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from langchain_openai import ChatOpenAI

from apeiros_callbacks import BudgetExceeded, Price
from apeiros_callbacks.testing import Reply
from langchain_apeiros import ApeirosHandler

ABSENT = """
import importlib.abc, sys


class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"langchain", "langgraph"}:
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Absent())
from langchain_apeiros import ApeirosHandler

print(ApeirosHandler(budget=0.50).session.remaining, "langgraph" in sys.modules)
"""


def test_the_handler_is_imported_without_langchain_and_langgraph() -> None:
    made = subprocess.run([sys.executable, "-c", ABSENT], capture_output=True, text=True, check=True)
    assert made.stdout.split() == ["0.5", "False"]


@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_a_refusal_needs_no_graph(serve: Any, how: str) -> None:
    server = serve(Reply("hi", input_tokens=100, output_tokens=10))
    handler = ApeirosHandler(budget=3_000, prices={"*": Price(input=1_000_000, output=1_000_000)})
    model = ChatOpenAI(model="gpt-4o", base_url=server.openai_url, api_key="test", stream_usage=True)
    run = (
        (lambda: model.invoke("hi", {"callbacks": [handler]}))
        if how == "invoke"
        else (lambda: list(model.stream("hi", {"callbacks": [handler]})))
    )
    run()
    handler.session.raise_budget(to=150)
    with pytest.raises(BudgetExceeded):
        run()
    assert (server.request_count, handler.session.spent, handler.session.open_holds) == (1, 110, 0)
