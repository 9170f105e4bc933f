"""What a provider writes around the messages of a request: delimiters, system prompts of its own.

A text's tokens are not all that a call is billed for. Every message has a role and its delimiters, a
request has a beginning and an end, and tools come with instructions. For an estimate only: a bound has its
own numbers.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from apeiros_callbacks.tokens.families import NEWEST, claude_version

__all__ = ["Template", "template_of"]


class Template(NamedTuple):
    """Tokens beside the text, in the model's own tokens."""

    style: str = "json"
    """How tool schemas are written: see `schema_text`."""
    request: int = 3
    message: int = 4
    call: int = 8
    """A tool call in a message, beside its name and arguments."""
    result: int = 4
    """A tool's answer, beside its text."""
    tools: int = 100
    """Once, where there are tools: what to do with them, mostly."""
    forced: int | None = None
    """The same where the request demands that one is called, if it is another."""
    tool: int = 0
    """Each tool, beside its schema."""
    answer: int | None = 20
    """Once, beside the schema that the answer is to have; None where that is not counted at all."""
    thinking: int = 0
    """Once, where the request asks for thinking."""
    signature: float = 0.0
    """A character of the base64 in which thoughts are sent back."""
    forgets: bool = False
    """What was thought before the last question is not read again."""
    chat_tools: int = 0
    """Once more, where tools are given in the form of chat completions."""


# Each number without a source was fitted on recorded calls.
#
# OpenAI: a message is 3 and its role 1, and the end is 3, by the cookbook ("How to count tokens with
# tiktoken"); tools are a TypeScript namespace, by the published harmony format. gpt-oss has harmony's system
# message.
_OPENAI = Template("typescript", call=6, result=4, tools=12, answer=12)
_GPT_5 = _OPENAI._replace(chat_tools=82)
_GPT_OSS = _OPENAI._replace(request=64, tools=35)
# Google counts no delimiters, and of tools what they say; Gemini 3 on Vertex AI nothing more.
_GEMINI_2 = Template("strings", request=0, message=0, call=0, result=0, tools=0, answer=None)
_GEMINI_2_5 = _GEMINI_2._replace(style="lean", tool=3)
_GEMINI = _GEMINI_2._replace(style="lean", signature=0.2, forgets=True)
# The published chat templates. Llama 3.1 and later begin with two dates.
_LLAMA = Template(request=5, message=5)
_LLAMA_3 = _LLAMA._replace(request=30)
_LLAMA_4 = _LLAMA._replace(request=8, call=22, result=10, tools=635)
_MISTRAL = Template(request=1, message=2, tools=6)
_QWEN = Template(request=4, message=5, tools=110)
_DEEPSEEK = Template(request=3, message=3, tools=210)
_DEEPSEEK_4 = _DEEPSEEK._replace(request=80)
_GLM = Template(request=6, message=4)
_OTHER = Template()

# Anthropic, "Tool use": the system prompt for tools, with a tool_choice of auto or none, and of any or tool,
# from the first version that has it. What came after is taken for the last that is listed.
_CLAUDE = Template(request=4, message=4, call=34, result=21, answer=130, thinking=28)
_CLAUDE_TOOLS = (
    ((5, 0), 354, 474),
    ((4, 8), 290, 410),
    ((4, 7), 675, 804),
    ((4, 6), 497, 589),
    ((4, 5), 496, 588),
    ((4, 0), 313, 315),
    ((3, 7), 346, 313),
    ((3, 5), 264, 355),
    ((0, 0), 530, 340),
)

# By words in a model's name, else in a provider's, in the order they are looked for.
_TEMPLATES = (
    (re.compile(r"gemini-(?:1|2[.-]0)"), _GEMINI_2),
    (re.compile(r"gemini-2"), _GEMINI_2_5),
    (re.compile(r"gemini"), _GEMINI),
    (re.compile(r"gpt-?oss"), _GPT_OSS),
    (re.compile(r"llama-?4"), _LLAMA_4),
    (re.compile(r"llama-?3(?:\.|-[1-9](?:-|$))"), _LLAMA_3),
    (re.compile(r"llama-?\d"), _LLAMA),
    (re.compile(r"mi[sx]tral|codestral|devstral|magistral|pixtral|voxtral"), _MISTRAL),
    (re.compile(r"qwen|qwq"), _QWEN),
    (re.compile(r"deepseek-?v?4"), _DEEPSEEK_4),
    (re.compile(r"deepseek"), _DEEPSEEK),
    (re.compile(r"glm"), _GLM),
    (re.compile(r"gpt|openai|azure|codex|(?:^|[/.])o[1-9]"), _OPENAI),
    (re.compile(r"google|vertex"), _GEMINI),
)


@lru_cache(maxsize=1024)
def template_of(provider: str, model: str) -> Template:
    """What a model's provider writes around the messages.

    Args:
        provider: as the framework names it; may be empty.
        model: as the framework names it.

    Example:
        >>> template_of("openai", "gpt-4o").message, template_of("anthropic", "claude-sonnet-4-5").tools
        (4, 496)
    """
    name = model.lower()
    if "claude" in name:
        return _claude(name)
    for where in (name, provider.lower()):
        if "anthropic" in where:
            return _claude(name)
        for words, template in _TEMPLATES:
            if words.search(where):
                return _as_served(template, provider.lower(), name)
    return _OTHER


def _as_served(template: Template, provider: str, name: str) -> Template:
    """The same model's template differs by who serves it."""
    if template is _OPENAI and provider == "openai" and _GPT_5_NAME.search(name):
        return _GPT_5
    return _GEMINI_2 if template is _GEMINI and "vertex" in provider else template


_GPT_5_NAME = re.compile(r"^gpt-5(?:-mini|-nano)?(?:-20\d\d|$)")


def _claude(name: str) -> Template:
    version: tuple[int, int] = claude_version(name) or NEWEST
    _, tools, forced = next(row for row in _CLAUDE_TOOLS if version >= row[0])
    # "Extended thinking": kept from Opus 4.5 and Sonnet 4.6 on, dropped before.
    forgets = version < (4, 5) or (version == (4, 5) and "opus" not in name)
    return _CLAUDE._replace(tools=tools, forced=forced, forgets=forgets)
