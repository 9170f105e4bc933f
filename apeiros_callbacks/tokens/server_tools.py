"""What a tool that the provider runs, or describes itself, adds to the input of a request that offers it."""

from __future__ import annotations

__all__ = ["server_tool_tokens"]

# By how the tool's type begins. Bash, text editor and computer: Anthropic's pages of these tools. The rest is
# typical of recorded calls in which the tool was used once: what it finds is input too, and a search that
# goes on may find ten times that.
_TOKENS = (
    ("bash", 245),
    ("text_editor", 700),
    ("computer", 1200),
    ("code_execution", 4200),
    ("code_interpreter", 1400),
    ("tool_search", 600),
    ("web_fetch", 6000),
    ("web_search", 7500),
    ("file_search", 900),
    ("mcp", 2500),
    ("image_generation", 500),
    ("openrouter:web_search", 2200),
    ("google_search", 120),
    ("url_context", 1000),
    ("", 300),
)


def server_tool_tokens(kind: str) -> int:
    """Tokens for a tool by its type, such as ``"web_search_20250305"``; 300 for one that is not known.

    Example:
        >>> server_tool_tokens("text_editor_20250728")
        700
    """
    name = kind.lower()
    return next(tokens for start, tokens in _TOKENS if name.startswith(start))
