"""What providers write around messages, held against what they document and reported."""

from __future__ import annotations

import pytest

from apeiros_callbacks.tokens import template_of


# Anthropic, "Tool use": tokens of the system prompt, tool_choice auto or none, and any or tool.
@pytest.mark.parametrize(
    ("model", "tools", "forced"),
    [
        ("claude-opus-4-8", 290, 410),
        ("claude-opus-4-7", 675, 804),
        ("claude-opus-4-6", 497, 589),
        ("claude-sonnet-4-6", 497, 589),
        ("claude-opus-4-5-20251101", 496, 588),
        ("claude-sonnet-4-5", 496, 588),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", 496, 588),
        ("claude-opus-4-1", 313, 315),
        ("claude-sonnet-4-0", 313, 315),
        ("claude-3-5-haiku-latest", 264, 355),
        ("claude-sonnet-5", 354, 474),
    ],
)
def test_claude(model: str, tools: int, forced: int) -> None:
    template = template_of("", model)
    assert (template.tools, template.forced) == (tools, forced)
    assert template.request + template.message == 8  # "hello" is 8


def test_claude_by_its_provider_alone() -> None:
    assert template_of("anthropic", "") == template_of("anthropic", "claude-unheard-of")
    assert template_of("anthropic", "").forced == 474


@pytest.mark.parametrize(
    ("model", "forgets"),
    [
        ("claude-sonnet-4-5", True),
        ("claude-haiku-4-5", True),
        ("claude-opus-4-1", True),
        ("claude-opus-4-5", False),
        ("claude-sonnet-4-6", False),
        ("claude-opus-5", False),
    ],
)
def test_which_claude_reads_old_thoughts_again(model: str, forgets: bool) -> None:
    assert template_of("anthropic", model).forgets is forgets


# The billed input of one short message, less the o200k tokens of its text.
@pytest.mark.parametrize(
    ("provider", "model", "billed"),
    [
        ("openai", "gpt-4o", 7),
        ("azure", "my-deployment", 7),
        ("openai", "o3-mini", 6),
        ("groq", "openai/gpt-oss-120b", 71),
        ("cerebras", "gpt-oss-120b", 67),
        ("aws", "openai.gpt-oss-120b", 66),
        ("groq", "llama3-8b-8192", 9),
        ("groq", "llama-3.3-70b-versatile", 35),
        ("huggingface", "meta-llama/llama-3.1-8b-instruct", 35),
        ("mistralai", "mistral-large-latest", 3),
        ("groq", "qwen/qwen3-32b", 8),
        ("deepseek", "deepseek-v4-flash", 83),
        ("z.ai", "glm-5.3", 12),
        ("google_genai", "gemini-2.5-flash", 1),
        ("google_genai", "gemini-3.5-flash", 1),
    ],
)
def test_a_short_message(provider: str, model: str, billed: int) -> None:
    template = template_of(provider, model)
    assert template.request + template.message == pytest.approx(billed, abs=4)


def test_the_same_model_differs_by_who_serves_it() -> None:
    chat, elsewhere = template_of("openai", "gpt-5-mini"), template_of("openrouter", "openai/gpt-5-mini")
    assert chat.chat_tools == 82
    assert elsewhere.chat_tools == template_of("openai", "gpt-5.4").chat_tools == 0
    assert template_of("google_genai", "gemini-3-pro").style == "lean"
    assert template_of("google_vertexai", "gemini-3-pro").style == "strings"
    assert template_of("google_vertexai", "claude-sonnet-4-5").tools == 496


def test_who_is_not_known_is_taken_for_an_ordinary_one() -> None:
    assert template_of("", "").message == template_of("someone", "something-7b").message == 4
