"""Counting tokens without the network: text by an encoding on the machine or by estimate, and media.

    counter     text_counter and its TokenCounter; byte_bound for strict budgets
    encodings   the real encodings, from files that are already here; warm
    approximate the estimate where no file is here; costs are its tables
    families    which encoding a model is counted with, and its scale
    media       images, sound, video and documents; image_header reads an image's size

Counts are for what happens before a provider answers, or when it reports nothing. What it reports wins.
"""

from apeiros_callbacks.tokens.approximate import approximate_tokens
from apeiros_callbacks.tokens.counter import TokenCounter, byte_bound, text_counter
from apeiros_callbacks.tokens.encodings import warm
from apeiros_callbacks.tokens.image_header import image_size
from apeiros_callbacks.tokens.media import media_tokens

__all__ = [
    "TokenCounter",
    "approximate_tokens",
    "byte_bound",
    "image_size",
    "media_tokens",
    "text_counter",
    "warm",
]
