"""The names that people import, pinned; and the examples in the documentation of the code."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import apeiros_callbacks

PUBLIC = {
    "Alert",
    "ApeirosAgent",
    "ApeirosError",
    "Budget",
    "BudgetExceeded",
    "Cap",
    "ConfigError",
    "Detector",
    "Entry",
    "Finding",
    "Ladder",
    "LedgerDown",
    "LedgerError",
    "Price",
    "Refused",
    "Session",
    "Slack",
    "StoppedByFinding",
    "Unbounded",
    "UnknownCustomer",
    "UnknownPrice",
    "Usage",
    "Webhook",
    "customer_report",
    "end_session",
    "get_state",
    "instrument",
    "meter",
    "open_ledger",
    "set_customer",
    "start_session",
    "uninstrument",
    "wrap",
}
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(apeiros_callbacks.__path__, "apeiros_callbacks.")
    if not module.name.endswith("__main__")
)


def test_the_public_names() -> None:
    assert set(apeiros_callbacks.__all__) == PUBLIC
    assert all(getattr(apeiros_callbacks, name).__doc__ for name in PUBLIC)


@pytest.mark.parametrize("name", MODULES)
def test_exported_names_exist(name: str) -> None:
    module = importlib.import_module(name)
    for exported in getattr(module, "__all__", ()):
        assert hasattr(module, exported), exported


@pytest.mark.parametrize(
    "name", [name for name in MODULES if not name.startswith("apeiros_callbacks.testing")]
)
def test_examples_in_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_the_handler_is_where_its_framework_is() -> None:
    with pytest.raises(ImportError, match=r'pip install "apeiros-callbacks\[langchain\]"'):
        _ = apeiros_callbacks.ApeirosHandler


def test_importing_the_core_imports_no_framework_and_no_price_data() -> None:
    code = (
        "import sys, apeiros_callbacks; "
        "heavy = {'langchain_core', 'llama_index', 'genai_prices', 'tiktoken', 'rich', 'typer'}; "
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
