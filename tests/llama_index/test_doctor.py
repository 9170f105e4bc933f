"""``apeiros doctor`` and ``apeiros run`` with LlamaIndex."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from apeiros_callbacks.testing import Reply, ScriptedServer
from llama_index.callbacks.apeiros import doctor
from llama_index.callbacks.apeiros.guard import Guard

ASKS = """
from llama_index.llms.openai import OpenAI
model = OpenAI(model="gpt-4o", max_retries=0)
for number in range(5):
    print(number, model.complete(f"{number} " + "word " * 40_000).text)
"""


def test_everything_holds() -> None:
    found = {check.name: check for check in doctor.checks()}
    assert [check for check in found.values() if not check.holds] == []
    assert set(found) == {*doctor._WAYS, *doctor._MORE}
    assert "llama-index-core" in doctor.versions()


def test_a_framework_that_asks_no_guard_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def passes(*_: object) -> None:
        pass

    monkeypatch.setattr(Guard, "acquire", lambda *_: None)
    monkeypatch.setattr(Guard, "async_acquire", passes)
    found = {check.name: check for check in doctor.checks()}
    assert found["chat"].said == "6 of 6 sent, 6 recorded, $0.6030 of $0.35 spent"
    assert not any(found[name].holds for name in doctor._WAYS)
    assert found["instrument()"].holds


def test_a_client_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_index.llms.openai", None)
    found = next(doctor.checks())
    assert (found.name, found.holds) == ("chat", None)
    assert "llama_index.llms.openai is not installed" in found.said


def test_a_script_is_held_within_its_budget(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(ASKS)
    with ScriptedServer([Reply("ok", input_tokens=40_000, output_tokens=50)]) as server:
        environment = {
            **os.environ,
            "APEIROS_LEDGER": f"sqlite:///{tmp_path}/ledger.db",
            "OPENAI_API_BASE": server.openai_url,
            "OPENAI_API_KEY": "test",
        }
        ended = subprocess.run(
            [sys.executable, "-m", "apeiros_callbacks", "run", "--budget", "0.25", tmp_path / "script.py"],
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
            check=False,
        )
        assert server.request_count == 2
    assert (ended.returncode, ended.stdout) == (3, "0 ok\n1 ok\n"), ended.stderr
    assert "$0.2010 of $0.2500 spent, 2 calls" in ended.stderr
    assert "Traceback" not in ended.stderr
