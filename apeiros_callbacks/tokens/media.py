"""Tokens of images, sound, video and documents: documented formulas, and defaults that lean high.

An estimate, used before a call is sent. The length of the base64 text has nothing to do with it.
"""

from __future__ import annotations

from math import ceil

from apeiros_callbacks.tokens.families import NEWEST, claude_version

__all__ = ["media_tokens"]

# What is assumed of a medium whose size is not known. An image of a screen or a phone is scaled down to about
# this size before it is read; a minute of sound or video; five pages.
UNKNOWN_IMAGE = (1536, 1024)
UNKNOWN_SECONDS = 60.0
UNKNOWN_PAGES = 5
# Of encoded media: speech at 96 kbit/s, video at 1 Mbit/s, a page of text with a few pictures. Less than is
# usual, so that the length comes out long rather than short.
AUDIO_BYTES_A_SECOND = 12_000
VIDEO_BYTES_A_SECOND = 125_000
PAGE_BYTES = 30_000
PAGE_TEXT_TOKENS = 1000


def media_tokens(
    kind: str,
    *,
    provider: str = "",
    model: str = "",
    detail: str | None = None,
    width: int | None = None,
    height: int | None = None,
    size_bytes: int | None = None,
    seconds: float | None = None,
    pages: int | None = None,
    fps: float | None = None,
) -> int:
    """The input tokens of one image, sound, video or document, estimated.

    Sources; Claude and Gemini were also checked against recorded usage of real media:

    - OpenAI, "Images and vision", tiles: the image is fitted into 2048 x 2048, its short side into 768, and
      costs 85 and 170 for each tile of 512 (gpt-4o, gpt-4.1, gpt-4.5), 2,833 and 5,667 (gpt-4o-mini), 75 and
      150 (o1, o3) or 70 and 140 (gpt-5, gpt-5.1); ``detail="low"`` is the first number. Patches of 32 x 32
      for the others: at most 1,536 of them, times 1.2 to 2.46, and from gpt-5.4 at most 10,000, or 2,500
      with ``detail="high"``. For gpt-5-mini and later the guide's multipliers are higher than 1.2 and 1.5,
      which is what users measure and what is taken. "File inputs": of a document the text and an image of
      each page.
      "Managing costs": a token for 100 ms of sound that is read.
    - Anthropic, "Vision": one token for each 28 x 28 pixels, after fitting the long side into 1,568 and the
      image into 1,568 tokens; from Claude 4.7 into 2,576 and 4,784. "PDF support": 1,500 to 3,000 tokens a
      page for the text, and an image; one-page documents were billed 2,200 to 3,250.
    - Google, "Understand and count tokens" and "Media resolution": to Gemini 2.5, 258 for an image up to
      384 x 384, else for each tile; from Gemini 3, 1,120, or 280 with ``detail="low"``, 560 with
      ``"medium"``, 2,240 with ``"ultra_high"``. A second of sound 32, of video about 300, or 100 with
      ``detail="low"`` and from Gemini 3, the sound of 32 and the frames of 258, 66 and 70. A page 258 by the
      document; 560 is taken, as billed by Gemini 3.
    - Mistral reads the text of a document, and bills no image of it: 1,000 tokens a page are taken.

    Any other provider is taken for one of the dearer of these.

    Args:
        kind: ``"image"``, ``"audio"`` or ``"video"``; anything else is a document such as a PDF.
        provider: as the framework names it.
        model: as the framework names it. Worth giving: an image is 33 times dearer for gpt-4o-mini than for
            gpt-4o. When empty, gpt-4o or the newest Claude or Gemini is taken.
        detail: the provider's own word for the resolution.
        width: of an image, in pixels; see `image_size`.
        height: of an image, in pixels.
        size_bytes: of the medium itself, not of its base64 text: it tells the length of sound and video and
            the pages of a document where they are not given.
        seconds: of sound or video.
        pages: of a document.
        fps: frames of a video that are read in a second, where the request says so; 1 without.

    Example:
        >>> media_tokens("image", provider="openai", model="gpt-4o", width=1024, height=1024)
        765
        >>> media_tokens("file", provider="anthropic", pages=3)
        9000
    """
    house = _house(provider, model)
    if kind == "image":
        size = (width, height) if width and height and width > 0 and height > 0 else UNKNOWN_IMAGE
        return _image(house, model.lower(), *size, detail=detail)
    if kind == "audio":
        length = _amount(seconds, size_bytes, AUDIO_BYTES_A_SECOND, UNKNOWN_SECONDS)
        return ceil(length * (10 if house == "openai" else 32))
    if kind == "video":
        length = _amount(seconds, size_bytes, VIDEO_BYTES_A_SECOND, UNKNOWN_SECONDS)
        new = house == "google" and not _gemini_before_3(model.lower())
        if fps is not None and fps > 0:
            return ceil(length * (32 + fps * (70 if new else 66 if detail == "low" else 258)))
        return ceil(length * (100 if new or detail == "low" else 300))
    count = ceil(_amount(pages, size_bytes, PAGE_BYTES, UNKNOWN_PAGES))
    if house == "openai":
        return count * (PAGE_TEXT_TOKENS + _image(house, model.lower(), *UNKNOWN_IMAGE, detail=detail))
    if house == "mistral":
        return count * PAGE_TEXT_TOKENS
    return count * (560 if house == "google" else 3000)


def _amount(given: float | None, size_bytes: int | None, bytes_each: int, unknown: float) -> float:
    if given is not None and given > 0:
        return given
    return size_bytes / bytes_each if size_bytes is not None and size_bytes > 0 else unknown


def _house(provider: str, model: str) -> str:
    """Whose formula applies. The model decides where it can: a cloud serves the models of several houses."""
    for where in (model.lower(), provider.lower()):
        if "claude" in where or "anthropic" in where:
            return "anthropic"
        if "gemini" in where or "google" in where or "vertex" in where:
            return "google"
        if "mistral" in where:
            return "mistral"
        if (
            "gpt" in where
            or "openai" in where
            or where in {"azure", "o1", "o3"}
            or where[:3] in {"o1-", "o3-", "o4-"}
        ):
            return "openai"
    return ""


def _image(house: str, model: str, width: int, height: int, *, detail: str | None) -> int:
    if house == "openai":
        return _openai_image(model, width, height, detail)
    if house == "google":
        return _google_image(model, width, height, detail)
    version: tuple[int, int] = claude_version(model) or NEWEST
    edge, most = (2576, 4784) if house == "anthropic" and version >= (4, 7) else (1568, 1600)
    scale = min(1.0, edge / max(width, height))
    return min(most, ceil(width * scale / 28) * ceil(height * scale / 28))


# By the start of the model's name, the longest first: the base and the tokens of a tile.
_TILES = {
    "gpt-4o-mini": (2833, 5667),
    "gpt-4.1": (85, 170),
    "gpt-4": (85, 170),
    "gpt-5.1": (70, 140),
    "gpt-5": (70, 140),
    "o1": (75, 150),
    "o3": (75, 150),
    "chatgpt-4o": (85, 170),
}
# The multiplier and the most patches.
_PATCHES = {
    "gpt-4.1-mini": (1.62, 1536),
    "gpt-4.1-nano": (2.46, 1536),
    "o4-mini": (1.72, 1536),
    "gpt-5-mini": (1.2, 1536),
    "gpt-5-nano": (1.5, 1536),
    "gpt-5.2": (1.2, 1536),
    "gpt-5.3": (1.2, 1536),
}
_LATER = (1.2, 10_000)
_BY_LENGTH = sorted({*_TILES, *_PATCHES}, key=len, reverse=True)


def _openai_image(model: str, width: int, height: int, detail: str | None) -> int:
    name = model.rpartition("/")[2].removeprefix("openai.").removeprefix("ft:")
    start = next((start for start in _BY_LENGTH if name.startswith(start)), "")
    if start in {"gpt-5", "gpt-5.1"} and name[len(start) : len(start) + 1] in {".", *"0123456789"}:
        start = ""  # gpt-5.4, and whatever gpt-5.10 may be
    if start in _TILES or not name:
        base, tile = _TILES.get(start, (85, 170))
        if detail == "low":
            return base
        scale = min(1.0, 2048 / max(width, height))
        scale *= min(1.0, 768 / (min(width, height) * scale))
        return base + tile * ceil(round(width * scale, 6) / 512) * ceil(round(height * scale, 6) / 512)
    each, most = _PATCHES.get(start, _LATER)
    if start not in _PATCHES and detail == "high":
        most = 2500
    return ceil(min(most, ceil(width / 32) * ceil(height / 32)) * each)


def _google_image(model: str, width: int, height: int, detail: str | None) -> int:
    if not _gemini_before_3(model):
        return {"low": 280, "medium": 560, "ultra_high": 2240}.get(detail or "", 1120)
    if max(width, height) <= 384 or detail == "low":
        return 258
    tile = min(768.0, max(256.0, min(width, height) / 1.5))
    return 258 * ceil(width / tile) * ceil(height / tile)


def _gemini_before_3(model: str) -> bool:
    return "gemini-1" in model or "gemini-2" in model
