"""A choice of model that LangChain forgets is warned of."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from langchain_core.runnables import ConfigurableField
from pydantic import BaseModel

from langchain_apeiros.alternatives import LostChoiceWarning, watch
from tests.langchain.clients import openai


class Answer(BaseModel):
    """An answer."""

    text: str


def look(place: str) -> str:
    """Look somewhere."""
    return place


def alternatives(serve: Any) -> Any:
    server = serve()
    dear, cheap = openai(server), openai(server, "gpt-4o-mini")
    return dear.configurable_alternatives(ConfigurableField("tier"), default_key="dear", cheap=cheap)


@pytest.mark.parametrize(("name", "given"), [("bind_tools", [look]), ("with_structured_output", Answer)])
def test_what_is_bound_to_alternatives_warns(serve: Any, name: str, given: Any) -> None:
    watch()
    either = alternatives(serve)
    fields = openai(serve()).configurable_fields(model_name=ConfigurableField("model"))
    for model in (either, fields):
        with pytest.warns(
            LostChoiceWarning, match=rf"with_downgrade\(model, \[cheaper\], handler\).{name}"
        ) as told:
            getattr(model, name)(given)
        assert [warning.filename for warning in told] == [__file__], "once, and where it was written"


def test_what_keeps_the_choice_does_not_warn(serve: Any) -> None:
    either = alternatives(serve)
    cheap: Any = {"configurable": {"tier": "cheap"}}
    with warnings.catch_warnings():
        warnings.simplefilter("error", LostChoiceWarning)
        assert hasattr(either, "bind_tools")
        either.invoke("hello", cheap)
        chosen = either.with_config(cheap).bind_tools([look])
        assert chosen.bound.model_name == "gpt-4o-mini"
        openai(serve()).bind_tools([look])
