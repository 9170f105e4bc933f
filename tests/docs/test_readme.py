"""What the README says is what happens."""

from __future__ import annotations

import base64
import contextlib
import hmac
import io
import re
from collections.abc import Mapping
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

pytest.importorskip("langchain_openai", reason="this environment has no LangChain")

from langchain.agents import create_agent
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langgraph.checkpoint.memory import InMemorySaver
from openai import OpenAI
from pydantic import SecretStr

import apeiros_callbacks as apeiros
from apeiros_callbacks import Alert, BudgetExceeded, Session, Slack, Webhook, open_ledger
from apeiros_callbacks.caps import Cap
from apeiros_callbacks.ledger import Ledger
from apeiros_callbacks.report import roll_up, total
from apeiros_callbacks.testing import Reply, ScriptedServer, ToolCall
from langchain_apeiros import ApeirosHandler, ApeirosMiddleware, BudgetedEmbeddings, with_downgrade
from langchain_apeiros.alternatives import LostChoiceWarning
from tests.contract.entries import until
from tests.unit.alert_server import AlertServer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = README + "".join((ROOT / "docs" / page).read_text() for page in ("customers.md", "command.md"))
"""The README, and the pages that it hands over to."""
LONG_QUESTION = "word " * 40_000
TEN_CENTS = Reply("ok", input_tokens=40_000, output_tokens=50)
"""On gpt-4o, $0.1005."""


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def python_after(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```python\n(.*?)```", PAGES, re.DOTALL)
    assert found is not None
    return found[1]


def output_after(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```text\n(.*?)```", PAGES, re.DOTALL)
    assert found is not None
    return found[1]


def anonymous(shown: str) -> str:
    """What was shown, without the random name of its session."""
    return re.sub(r"\b[0-9a-f]{12}\b", "…", shown)


def run(marker: str, names: dict[str, Any]) -> str:
    """What an example prints."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(python_after(marker), names)  # noqa: S102 - it is our own page
    return anonymous(shown.getvalue())


def chat_models(server: ScriptedServer, *names: str) -> list[ChatOpenAI]:
    return [ChatOpenAI(model=name, base_url=server.openai_url, api_key=SecretStr("test")) for name in names]


def search(word: str) -> str:
    """Search for a word."""
    return word


def test_the_example_prints_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    with ScriptedServer([Reply("ok", input_tokens=40_000, output_tokens=50)]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        with contextlib.redirect_stdout(shown):
            exec(python_blocks()[0], {"long_question": LONG_QUESTION})  # noqa: S102 - it is our own page
        assert server.request_count == 4
    assert anonymous(shown.getvalue()) == anonymous(output_after("example-output"))


def test_the_other_example_runs() -> None:
    exec(python_blocks()[1], {})  # noqa: S102


def test_a_session_is_shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"Session": Session, "ApeirosHandler": ApeirosHandler}
    exec(python_after("session"), names)  # noqa: S102
    assert names["writer"].session is names["reader"].session
    assert names["session"].id == "nightly-report"
    names["session"].ledger.close()


def test_a_cheaper_fallback_is_served() -> None:
    with ScriptedServer([Reply("ok", input_tokens=10, output_tokens=10)]) as server:
        dear, cheap = chat_models(server, "gpt-4", "gpt-4o-mini")
        handler = ApeirosHandler(budget=0.01)
        names = {"dear": dear, "cheap": cheap, "handler": handler, "BudgetExceeded": BudgetExceeded}
        exec(python_after("fallback"), names)  # noqa: S102
        assert [request.model for request in server.requests] == ["gpt-4o-mini"]
    assert [entry.model for entry in handler.session.entries()] == ["gpt-4o-mini"]


def test_a_run_goes_on_where_it_stopped() -> None:
    ran: list[str] = []

    def look_up(word: str) -> str:
        """Look a word up."""
        ran.append(word)
        return word * 100

    script = [
        Reply("", [ToolCall("look_up", {"word": "sky"})], input_tokens=100_000, output_tokens=20),
        Reply("blue", input_tokens=100_300, output_tokens=20),
    ]
    with ScriptedServer(script) as server:
        model = ChatOpenAI(model="gpt-4o", base_url=server.openai_url, api_key=SecretStr("test"))
        agent = create_agent(model, [look_up], checkpointer=InMemorySaver())
        handler = ApeirosHandler(budget=0.30)
        names = {"agent": agent, "handler": handler, "BudgetExceeded": BudgetExceeded}
        exec(python_after("resume"), names)  # noqa: S102
        assert server.request_count == 2
    result: Any = names["result"]
    assert (result["messages"][-1].content, ran) == ("blue", ["sky"])
    assert [entry.kind for entry in handler.session.entries()] == ["llm", "tool", "llm"]


def test_a_ledger_is_read_later_and_a_stream_without_usage_is_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    session = Session(id="first", ledger="sqlite:///ledger.db")
    config: Any = {"callbacks": [ApeirosHandler(session=session)]}
    with ScriptedServer([Reply("ok", input_tokens=1_000, output_tokens=10)]) as server:
        for asked in (None, True):
            model = ChatOpenAI(
                model="gpt-4o", base_url=server.openai_url, api_key=SecretStr("test"), stream_usage=asked
            )
            list(model.stream("hello", config))
    session.ledger.close()
    ledgers: list[Ledger] = []

    def opened(url: str) -> Ledger:
        ledgers.append(open_ledger(url))
        return ledgers[-1]

    names: dict[str, Any] = {"open_ledger": opened, "roll_up": roll_up}
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(python_after("ledger"), names)  # noqa: S102
    ledgers[0].close()
    assert [entry.usage_certainty for entry in names["entries"]] == ["estimated", "reported"]
    assert shown.getvalue() == f"gpt-4o 2 {session.spent}\n"


def test_a_chain_goes_on_with_a_cheaper_model() -> None:
    with ScriptedServer([TEN_CENTS]) as server:
        dear, cheap = chat_models(server, "gpt-4o", "gpt-4o-mini")
        names: dict[str, Any] = {
            "dear": dear,
            "cheap": cheap,
            "handler": ApeirosHandler(budget=0.40),
            "prompt": ChatPromptTemplate.from_messages([("user", "{question}")]),
            "questions": [f"{i} {LONG_QUESTION}" for i in range(3)],
            "StrOutputParser": StrOutputParser,
            "with_downgrade": with_downgrade,
        }
        assert run("downgrade", names) == anonymous(output_after("downgrade-output"))


def test_alternatives_forget_their_choice_where_tools_are_bound() -> None:
    with ScriptedServer([TEN_CENTS]) as server:
        dear, cheap = chat_models(server, "gpt-4o", "gpt-4o-mini")
        either: Any = dear.configurable_alternatives(
            ConfigurableField("model"), default_key="dear", cheap=cheap
        )
        with pytest.warns(LostChoiceWarning, match="with_downgrade"):
            bound = either.bind_tools([search])
        for model in (either, bound):
            model.invoke("hello", {"configurable": {"model": "cheap"}})
        assert [request.model for request in server.requests] == ["gpt-4o-mini", "gpt-4o"]


def test_agents_have_ladders_of_their_own() -> None:
    with ScriptedServer([TEN_CENTS]) as server:
        dear, cheap, cheapest = chat_models(server, "gpt-4o", "gpt-4o-mini", "gpt-4.1-nano")
        names: dict[str, Any] = {
            "dear": dear,
            "cheap": cheap,
            "cheapest": cheapest,
            "search": search,
            "create_agent": create_agent,
            "ApeirosHandler": ApeirosHandler,
            "ApeirosMiddleware": ApeirosMiddleware,
            "Ladder": apeiros.Ladder,
        }
        run("ladders", names)
        handler = names["handler"]
        for agent in (names["researcher"], names["writer"]):
            for i in range(3):
                agent.invoke({"messages": [("user", f"{i} {LONG_QUESTION}")]}, {"callbacks": [handler]})
        asked = [request.model for request in server.requests]
        assert asked == ["gpt-4o", "gpt-4o", "gpt-4o-mini", "gpt-4o", "gpt-4o", "gpt-4o"]
    assert handler.session.entries()[2].routed_why.startswith("50% of the budget of agent researcher")


def test_an_agent_ends_gracefully() -> None:
    script = [
        Reply("", [ToolCall("search", {"word": "sky"})], input_tokens=100_000, output_tokens=20),
        Reply("blue", input_tokens=100_300, output_tokens=20),
    ]
    with ScriptedServer(script) as server:
        names = {
            "model": chat_models(server, "gpt-4o")[0],
            "search": search,
            "handler": ApeirosHandler(budget=0.30),
            "create_agent": create_agent,
            "ApeirosMiddleware": ApeirosMiddleware,
        }
        # How long the tool's answer is, is counted with tiktoken's files where they are.
        said, written = (
            re.sub(r"about \$0\.250\d", "about …", text)
            for text in (run("end", names), anonymous(output_after("end-output")))
        )
        assert said == written
        assert server.request_count == 1


def test_a_person_approves_more_money() -> None:
    script = [
        Reply("", [ToolCall("search", {"word": "sky"})], input_tokens=100_000, output_tokens=20),
        Reply("blue", input_tokens=100_300, output_tokens=20),
    ]
    with ScriptedServer(script) as server:
        names = {
            "model": chat_models(server, "gpt-4o")[0],
            "search": search,
            "create_agent": create_agent,
            "ApeirosHandler": ApeirosHandler,
            "InMemorySaver": InMemorySaver,
        }
        # How long the tool's answer is, is counted with tiktoken's files where they are.
        said, written = (
            re.sub(r"about \$0\.250\d", "about …", text)
            for text in (run("approve", names), anonymous(output_after("approve-output")))
        )
        assert said == written
        assert server.request_count == 2


def test_customers_have_a_handler_together_and_threads_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with ScriptedServer([TEN_CENTS]) as server:
        model = chat_models(server, "gpt-4o")[0]
        agent = create_agent(model, [], name="researcher", checkpointer=InMemorySaver())
        names: dict[str, Any] = {
            "agent": agent,
            "ApeirosHandler": ApeirosHandler,
            "open_ledger": open_ledger,
            "total": total,
        }
        assert run("customers", names) == "0.1005\n"
        handler = names["handler"]
        question: Any = {"messages": [("user", "Look into it.")]}
        with pytest.raises(BudgetExceeded, match="agent researcher in thread 7"):
            agent.invoke(question, names["config"])
        other: Any = {"configurable": {"thread_id": "8"}, "metadata": {"customer": "globex"}}
        agent.invoke(question, names["config"] | other)
        in_metadata: Any = {"callbacks": [handler], "metadata": {"thread_id": "9", "customer": "globex"}}
        for _ in range(4):
            model.invoke("Look into it.", in_metadata)
        with pytest.raises(BudgetExceeded, match="for thread 9"):
            model.invoke("Look into it.", in_metadata)
        handler.session.raise_budget(to=0.40, agent="researcher")
    assert len(handler.session.ledger.entries("customer:globex")) == 5
    handler.session.ledger.close()


def test_customers_have_months_and_tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("APEIROS_LEDGER", f"sqlite:///{tmp_path}/ledger.db")
    with ScriptedServer([TEN_CENTS]) as server:
        names: dict[str, Any] = {
            "model": chat_models(server, "gpt-4o")[0],
            "questions": [f"{i} {LONG_QUESTION}" for i in range(5)],
            "ApeirosHandler": ApeirosHandler,
            "BudgetExceeded": BudgetExceeded,
        }
        shown = re.sub(r"\d{4}-\d\d:", "2026-11:", run("months", names))
        assert shown == output_after("months-output")
        assert server.request_count == 3
    assert run("tasks", names) == output_after("tasks-output")
    names["handler"].session.ledger.close()


def test_alerts_are_sent_and_can_be_checked() -> None:
    told: Queue[Alert] = Queue()
    with ScriptedServer([TEN_CENTS]) as server, AlertServer() as slack, AlertServer() as webhook:
        names: dict[str, Any] = {
            "model": chat_models(server, "gpt-4o")[0],
            "questions": [f"{i} {LONG_QUESTION}" for i in range(4)],
            "ApeirosHandler": ApeirosHandler,
            "Slack": Slack,
            "Webhook": Webhook,
            "slack_url": slack.url,
            "webhook_url": webhook.url,
            "secret": "s3cret",
            "tell": told.put,
        }
        run("alerts", names)
        message = told.get(timeout=30).message
        assert f"{anonymous(message)}\n" == anonymous(output_after("alerts-output"))
        until(lambda: slack.posts and webhook.posts and not names["handler"].session.health.alerts_waiting)
    assert slack.posts[0].json == {"text": message}
    post = webhook.posts[0]
    assert post.json["data"]["message"] == message
    table = PAGES.partition("A `Webhook` posts JSON")[2].partition("It is signed")[0]
    fields = " ".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE))
    assert post.json["data"].keys() == set(re.findall(r"`(\w+)`", fields))
    checks: dict[str, Any] = {"base64": base64, "hmac": hmac, "Mapping": Mapping, "secret": "s3cret"}
    run("verify", checks)
    assert checks["is_genuine"](post.headers, post.body)
    assert not checks["is_genuine"](post.headers, post.body + b" ")


def test_processes_share_a_cap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with ScriptedServer([TEN_CENTS]) as server:
        (model,) = chat_models(server, "gpt-4o")
        names = {"Cap": Cap, "open_ledger": open_ledger, "ApeirosHandler": ApeirosHandler, "model": model}
        assert run("shared-cap", names) == "0.1005\n"
        config: Any = {"callbacks": [ApeirosHandler(customer="acme", ledger="sqlite:///ledger.db")]}
        with pytest.raises(BudgetExceeded, match="customer acme in"):
            for _ in range(5):
                model.invoke("word " * 40_000, config)
        assert server.request_count == 2, "in another session, which shares the cap"
    names["ledger"].close()


def test_a_session_records_without_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer([TEN_CENTS]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        model = chat_models(server, "gpt-4o")[0]
        names = {
            "agent": create_agent(model, []),
            "messages": [{"role": "user", "content": "hello"}],
            "OpenAI": OpenAI,
        }
        try:
            assert run("ambient", names) == output_after("ambient-output")
            apeiros.start_session(budget=0.15, on_exceeded="raise")
            model.invoke(LONG_QUESTION)
            with pytest.raises(BudgetExceeded):
                model.invoke(f"{LONG_QUESTION}?")
            assert apeiros.end_session()["calls"] == 1
        finally:
            apeiros.uninstrument()


def test_embeddings_are_counted() -> None:
    with ScriptedServer([Reply("ok")]) as server:

        def client(**options: Any) -> OpenAIEmbeddings:
            # Without the length check, which downloads a tokenizer.
            key = SecretStr("test")
            return OpenAIEmbeddings(
                base_url=server.openai_url, api_key=key, check_embedding_ctx_length=False, **options
            )

        names = {
            "handler": ApeirosHandler(budget=0.50),
            "BudgetedEmbeddings": BudgetedEmbeddings,
            "InMemoryVectorStore": InMemoryVectorStore,
            "OpenAIEmbeddings": client,
        }
        printed = run("embeddings", names)
        assert server.request_count == 1
    kind, spent = printed.split()
    assert kind == "embedding"
    assert float(spent) > 0


def test_a_budget_can_be_watched() -> None:
    with ScriptedServer([TEN_CENTS]) as server:
        names = {
            "model": chat_models(server, "gpt-4o")[0],
            "questions": [f"{i} {LONG_QUESTION}" for i in range(3)],
            "ApeirosHandler": ApeirosHandler,
        }
        assert run("watch", names) == anonymous(output_after("watch-output"))
        assert server.request_count == 3


@pytest.mark.parametrize(
    "page", ["README.md", "docs/customers.md", "docs/command.md", "docs/many_machines.md"]
)
def test_links_lead_somewhere(page: str) -> None:
    here = ROOT / page
    for link in re.findall(r"\]\((?!http)([^)]+)\)", here.read_text()):
        target, _, place = link.partition("#")
        there = here.parent / target if target else here
        assert there.exists(), link
        titles = re.findall(r"^#+ (.*)", there.read_text(), re.MULTILINE) if place else []
        places = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not place or place in places, link
