"""The examples in the docstrings do what they say."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["", ".recorded", ".reply", ".server"])
def test_examples(name):
    if not name:
        pytest.importorskip("langchain_openai")
    result = doctest.testmod(importlib.import_module(f"apeiros_callbacks.testing{name}"))
    assert result.attempted
    assert not result.failed
