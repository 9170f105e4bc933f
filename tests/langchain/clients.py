"""The real clients, pointed at a scripted server."""

from __future__ import annotations

from typing import Any

import pytest
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


def google(server: ScriptedServer, model: str = "gemini-2.5-flash", **options: Any) -> BaseChatModel:
    made: Any = pytest.importorskip("langchain_google_genai", reason="no client of Google's is installed")
    settings = {"api_key": "test", "max_retries": 1, "base_url": server.google_url, **options}
    return made.ChatGoogleGenerativeAI(model=model, vertexai=False, **settings)  # 1: it tries once


def bedrock(
    server: ScriptedServer, model: str = "anthropic.claude-sonnet-4-20250514-v1:0", **options: Any
) -> BaseChatModel:
    made: Any = pytest.importorskip("langchain_aws", reason="no client of Bedrock's is installed")
    from botocore.config import Config

    patience = Config(retries={"total_max_attempts": 1}, read_timeout=options.pop("timeout", 60))
    url = options.pop("base_url", server.bedrock_url)
    keys = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return made.ChatBedrockConverse(model=model, endpoint_url=url, config=patience, **keys, **options)


def client(name: str, server: ScriptedServer, **options: Any) -> BaseChatModel:
    made = {"openai": openai, "anthropic": anthropic, "google": google, "bedrock": bedrock}
    return made[name](server, **options)
