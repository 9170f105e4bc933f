"""The real clients, pointed at a scripted server."""

from __future__ import annotations

from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI

from apeiros_callbacks.testing import ScriptedServer


def openai(server: ScriptedServer, model: str = "gpt-4o", **options: Any) -> ChatOpenAI:
    settings = {"api_key": "test", "max_retries": 0, "base_url": server.openai_url, **options}
    return ChatOpenAI(model=model, **settings)


def anthropic(server: ScriptedServer, model: str = "claude-sonnet-4-6", **options: Any) -> ChatAnthropic:
    settings = {"api_key": "test", "max_retries": 0, "base_url": server.anthropic_url, **options}
    return ChatAnthropic(model=model, **settings)


def client(name: str, server: ScriptedServer, **options: Any) -> BaseChatModel:
    return {"openai": openai, "anthropic": anthropic}[name](server, **options)
