"""The real clients, pointed at a scripted server."""

from __future__ import annotations

from typing import Any

from llama_index.core.llms import LLM
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai import OpenAI, OpenAIResponses

from apeiros_callbacks.testing import ScriptedServer


def openai(server: ScriptedServer, model: str = "gpt-4o", **options: Any) -> OpenAI:
    settings = {"api_key": "test", "max_retries": 0, "api_base": server.openai_url, **options}
    return OpenAI(model=model, **settings)


def responses(server: ScriptedServer, model: str = "gpt-4o", **options: Any) -> OpenAIResponses:
    if "max_tokens" in options:
        options["max_output_tokens"] = options.pop("max_tokens")
    settings = {"api_key": "test", "max_retries": 0, "api_base": server.openai_url, **options}
    return OpenAIResponses(model=model, **settings)


def anthropic(server: ScriptedServer, model: str = "claude-sonnet-4-6", **options: Any) -> Anthropic:
    settings = {"api_key": "test", "max_retries": 0, "base_url": server.anthropic_url, **options}
    return Anthropic(model=model, **settings)


def client(name: str, server: ScriptedServer, **options: Any) -> LLM:
    return {"openai": openai, "responses": responses, "anthropic": anthropic}[name](server, **options)


def embedding(server: ScriptedServer, **options: Any) -> OpenAIEmbedding:
    settings = {"api_key": "test", "max_retries": 0, "api_base": server.openai_url, **options}
    return OpenAIEmbedding(model="text-embedding-3-small", **settings)
