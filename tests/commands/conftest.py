"""``apeiros`` as a person of this test has it: a terminal of 80 columns, in UTC, at two in the afternoon."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from apeiros_callbacks.commands import app, moments
from tests.commands import scenes

Apeiros = Callable[..., Result]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("APEIROS_LEDGER", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "APEIROS_PRICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("APEIROS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(moments, "now", lambda: scenes.NOW)
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def apeiros() -> Apeiros:
    def run(*words: str) -> Result:
        return CliRunner().invoke(app, list(words))

    return run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger that is made once; tests copy it."""
    file = tmp_path_factory.mktemp("scene") / "ledger.db"
    scenes.make(f"sqlite:///{file}")
    return file


@pytest.fixture
def ledger(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a team's ledger, which the environment names."""
    file = tmp_path / "ledger.db"
    file.write_bytes(made.read_bytes())
    url = f"sqlite:///{file}"
    monkeypatch.setenv("APEIROS_LEDGER", url)
    return url
