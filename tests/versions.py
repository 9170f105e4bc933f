"""Print the versions of what the tests run against: which ones ran is part of the result."""

from __future__ import annotations

import importlib.metadata
import platform

PACKAGES = (
    "langchain-core", "langchain", "langgraph", "langchain-openai", "langchain-anthropic", "openai",
    "llama-index-core", "llama-index-llms-openai", "llama-index-llms-anthropic", "anthropic", "pydantic",
    "tiktoken", "genai-prices",
)  # fmt: skip


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


print(
    f"Python {platform.python_version()}",
    *(f"{package} {version(package)}" for package in PACKAGES),
    sep=", ",
)
