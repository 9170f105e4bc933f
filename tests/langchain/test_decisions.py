"""Decision models start and end as chains do; they are held, refused and recorded as the calls they are."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from decimal import Decimal
from typing import Any

import pytest

from apeiros_callbacks import BudgetExceeded, Price
from apeiros_callbacks.testing import Reply, ScriptedServer
from langchain_apeiros import ApeirosHandler

decisions: Any = pytest.importorskip(
    "langchain_core.decisions", reason="this langchain-core has no decision models; 1.8.2 has"
)

PER_TOKEN = {"*": Price(input=1_000, output=1_000)}
REQUEST = {"state": "Production is down.", "questions": {"urgent": decisions.Noul(instructions="Urgent?")}}


class Decider(decisions.BaseDecisionModel):  # type: ignore[misc]
    """Asks a chat model's endpoint, and hands on what it reports of its usage."""

    url: str
    silent: bool = False

    @property
    def _provider(self) -> str:
        return "openai"

    def _classify(self, state: Any, questions: Any) -> Any:
        body = json.dumps({"model": self.model, "messages": [{"role": "user", "content": str(state)}]})
        request = urllib.request.Request(f"{self.url}/chat/completions", data=body.encode())  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            usage = json.load(answer)["usage"]
        reported = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
        return decisions.ClassifierResponse(
            model=self.model,
            answers={"urgent": {"type": "noul", "noul": 0.9}},
            usage={} if self.silent else reported,
        )


def decide(server: ScriptedServer, handler: ApeirosHandler, how: str, **options: Any) -> Any:
    model = Decider(model="decider-1", url=server.openai_url, **options)
    config = {"callbacks": [handler]}
    if how == "invoke":
        return model.invoke(REQUEST, config)
    return asyncio.run(model.ainvoke(REQUEST, config))


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_decision_is_recorded_once_and_the_next_is_refused(serve: Any, how: str) -> None:
    server = serve(Reply("yes", input_tokens=600, output_tokens=20))
    handler = ApeirosHandler(budget=3, prices=PER_TOKEN)
    assert decide(server, handler, how).answers["urgent"].noul == 0.9
    handler.session.raise_budget(to=0.63)  # a cent is left
    with pytest.raises(BudgetExceeded):
        decide(server, handler, how)
    [entry] = handler.session.entries()
    assert (entry.kind, entry.provider, entry.model) == ("llm", "openai", "decider-1")
    assert (entry.usage.input_tokens, entry.usage.output_tokens) == (600, 20)
    assert (entry.amount, entry.usage_certainty) == (Decimal("0.62"), "reported")
    assert (server.request_count, handler.session.open_holds) == (1, 0)


def test_a_decision_that_fails_costs_nothing(serve: Any) -> None:
    handler = ApeirosHandler(budget=5, prices=PER_TOKEN)
    with pytest.raises(Exception, match="500"):
        decide(serve(Reply(status=500, error="no")), handler, "invoke")
    [entry] = handler.session.entries()
    assert (entry.amount, entry.usage_certainty, handler.session.open_holds) == (0, "assumed", 0)


def test_a_decision_without_usage_is_counted_and_marked(serve: Any) -> None:
    handler = ApeirosHandler(budget=5, prices=PER_TOKEN)
    decide(serve(Reply("yes")), handler, "invoke", silent=True)
    [entry] = handler.session.entries()
    assert entry.usage_certainty == "estimated"
    assert entry.usage.input_tokens > 10
    assert entry.amount == handler.session.spent > 0
