"""Which encoding counts a model's text, and by how much a model's own tokenizer differs from it."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["NEWEST", "Family", "claude_version", "family_of"]

NEWEST: tuple[int, int] = (99, 0)
"""A version for names that say none."""


class Family(NamedTuple):
    """How the text of a model is counted."""

    encoding: str
    scale: float
    """Tokens of the model for one of the encoding: a prior, corrected by what the provider reports."""
    own: bool
    """The encoding is the model's own, so that a count of text is exact."""


# Words in a model's name, else in a provider's, in the order they are looked for. Where a ratio is not 1 it
# is a prior: measured on English, Markdown, code and JSON where a tokenizer is public, on recorded usage
# where not (Claude to 4.6: 1.00 to 1.15; Claude 4.8: 1.42; Gemini: 1.00 to 1.07), and then taken high.
_SCALES = (
    (re.compile(r"gemini|gemma|palm|google|vertex"), 1.05),
    (re.compile(r"mi[sx]tral|codestral|ministral|magistral|devstral|pixtral|voxtral"), 1.15),
    (re.compile(r"llama|deepseek"), 1.1),
    (re.compile(r"grok|xai|qwen|nova|titan|command|cohere|kimi|glm|minimax|phi|voyage"), 1.15),
)
_CLAUDE_OLD, _CLAUDE_NEW, _NEW_TOKENIZER = 1.2, 1.5, (4, 7)
_CLAUDE_VERSION = re.compile(r"claude[-_. ]?(?:[a-z]+[-_. ])*?v?(\d+)(?:[-_.](\d{1,2}))?(?!\d)")
_OPENAI = re.compile(
    r"(?:^|[/:.@ -])(?:gpt-?\d|gpt-(?:oss|audio|realtime)|chatgpt|o[1-9](?:$|[-:@.])|codex|davinci|babbage|"
    r"computer-use|text-embedding-(?:ada|3))"
)
_CL100K = re.compile(r"gpt-?(?:3\.?5|4(?![.o\d]))|text-embedding-(?:ada|3)|davinci-002|babbage-002")


def family_of(provider: str, model: str) -> Family:
    """The family of a model, from its name, or from its provider's where the name says nothing.

    Args:
        provider: as the framework names it, such as ``"openai"`` or ``"google_genai"``; may be empty.
        model: as the framework names it, such as ``"us.anthropic.claude-sonnet-4-5-20250929-v1:0"``.

    Example:
        >>> family_of("openai", "gpt-4o-mini"), family_of("bedrock", "anthropic.claude-opus-4-7").scale
        (Family(encoding='o200k_base', scale=1.0, own=True), 1.5)
    """
    name = model.lower()
    if "claude" in name:
        return Family("o200k_base", _claude(name), own=False)
    if _OPENAI.search(name):
        return Family("cl100k_base" if _CL100K.search(name) else "o200k_base", 1.0, own=True)
    for where in (name, provider.lower()):
        if "anthropic" in where:
            return Family("o200k_base", _CLAUDE_NEW, own=False)
        for words, scale in _SCALES:
            if words.search(where):
                return Family("o200k_base", scale, own=False)
    return Family("o200k_base", 1.0, own=False)


def _claude(name: str) -> float:
    """Opus 4.7 brought a tokenizer that makes up to 1.35 times the tokens of the one before."""
    version: tuple[int, int] = claude_version(name) or NEWEST
    return _CLAUDE_OLD if version < _NEW_TOKENIZER else _CLAUDE_NEW


def claude_version(name: str) -> tuple[int, int] | None:
    """The version in a Claude model's name in small letters; None where it says none.

    Example:
        >>> claude_version("us.anthropic.claude-sonnet-4-5-20250929-v1:0")
        (4, 5)
        >>> claude_version("claude-3-opus-latest")
        (3, 0)
    """
    found = _CLAUDE_VERSION.search(name)
    return (int(found[1]), int(found[2] or 0)) if found else None
