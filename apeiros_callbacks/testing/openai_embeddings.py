"""OpenAI's embeddings API."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Mapping
from typing import Any

from apeiros_callbacks.testing.openai_chat import OPENAI_CHAT
from apeiros_callbacks.testing.reply import Reply
from apeiros_callbacks.testing.request import Request
from apeiros_callbacks.testing.wire import WireFormat, dump

__all__ = ["OPENAI_EMBEDDINGS"]

_DIMENSIONS: Mapping[str, int] = {"text-embedding-3-large": 3072}
_OTHERS = 1536


def _answer(reply: Reply, request: Request) -> dict[str, object]:
    """A vector for each input: of length one, the same for the same input. The reply's text is not used."""
    model = reply.model or request.model
    wanted = request.body.get("dimensions")
    size = wanted if isinstance(wanted, int) and wanted > 0 else _DIMENSIONS.get(model, _OTHERS)
    packed = request.body.get("encoding_format") == "base64"
    vectors = [_vector(item, size) for item in _inputs(request)]
    body: dict[str, object] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if packed else vector}
            for index, vector in enumerate(vectors)
        ],
        "model": model,
    }
    if reply.usage:
        counts = {"prompt_tokens": reply.input_tokens, "total_tokens": reply.input_tokens}
        body["usage"] = reply.usage_body if reply.usage_body is not None else counts
    return body


def _inputs(request: Request) -> list[object]:
    """The input is one text or a list of them; a text may also be a list of the numbers of its tokens."""
    found: Any = request.body.get("input", "")
    if isinstance(found, list) and not (found and isinstance(found[0], int)):
        return list(found)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return [found]


def _vector(item: object, size: int) -> list[float]:
    random = hashlib.shake_128(dump(item).encode()).digest(2 * size)
    numbers = [number - 32_767.5 for number in struct.unpack(f"<{size}H", random)]
    length = math.hypot(*numbers)
    return [number / length for number in numbers]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _never(_path: str, _body: Mapping[str, object]) -> bool:
    return False


OPENAI_EMBEDDINGS = WireFormat(
    api="openai-embeddings",
    endpoints=("/embeddings",),
    answer=_answer,
    failure=OPENAI_CHAT.failure,
    wants_stream=_never,
)
