"""The package says plainly that it has no handler."""

import importlib

import pytest

pytest.importorskip("llama_index.core", reason="this environment has no LlamaIndex")


def test_the_missing_handler_is_explained() -> None:
    package = importlib.import_module("llama_index.callbacks.apeiros")
    with pytest.raises(ImportError, match="no ApeirosHandler for LlamaIndex yet"):
        getattr(package, "ApeirosHandler")  # noqa: B009 - an attribute that is not there
