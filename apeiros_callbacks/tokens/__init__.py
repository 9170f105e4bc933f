"""Counting tokens without the network: text by an encoding on the machine or by estimate, and media.

    counter     text_counter and its TokenCounter; byte_bound for strict budgets
    encodings   the real encodings, from files that are already here; warm
    approximate the estimate where no file is here; costs are its tables
    families    which encoding a model is counted with, and its scale
    media       images, sound, video and documents; image_header reads an image's size
    documents   the text and the pages of a file
    templates   what a provider writes around the messages; schemas how it writes tools; server_tools its own

Counts are for what happens before a provider answers, or when it reports nothing. What it reports wins.
"""

from apeiros_callbacks.tokens.approximate import approximate_tokens
from apeiros_callbacks.tokens.counter import TokenCounter, byte_bound, text_counter
from apeiros_callbacks.tokens.documents import inline_text, pdf_pages
from apeiros_callbacks.tokens.encodings import warm
from apeiros_callbacks.tokens.image_header import image_size
from apeiros_callbacks.tokens.media import media_tokens
from apeiros_callbacks.tokens.schemas import ToolSchema, answer_schema_text, schema_text
from apeiros_callbacks.tokens.server_tools import server_tool_tokens
from apeiros_callbacks.tokens.templates import Template, template_of

__all__ = [
    "Template",
    "TokenCounter",
    "ToolSchema",
    "answer_schema_text",
    "approximate_tokens",
    "byte_bound",
    "image_size",
    "inline_text",
    "media_tokens",
    "pdf_pages",
    "schema_text",
    "server_tool_tokens",
    "template_of",
    "text_counter",
    "warm",
]
