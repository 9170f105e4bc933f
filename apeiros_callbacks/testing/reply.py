"""What the scripted server answers, in words of no provider."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import cast

from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.usage import Usage

__all__ = ["Reply", "ToolCall", "check_headers", "check_status"]

# A word with the white space before it, as models' own tokens have it.
_WORD = re.compile(r"\s*\S+|\s+")
# Short enough that the arguments of most tool calls come in several pieces, as they do from a provider.
_ARGUMENTS_PIECE = re.compile(r".{1,12}", re.DOTALL)
_ONE_DAY = 86_400
_STATUSES = frozenset((*range(200, 300), *range(400, 600)))  # clients of JSON APIs see no others


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the scripted model wants called.

    Raises:
        ConfigError: it has no name, or arguments that are not JSON.

    Example:
        >>> ToolCall("search", {"query": "weather"}).arguments_json
        '{"query":"weather"}'
    """

    name: str
    arguments: Mapping[str, object] = field(default_factory=dict[str, object])
    id: str | None = None
    """None: an id that is unique on the server, in the provider's style."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("a ToolCall needs the name of a tool, got ''")
        _check_json_object(self.arguments, f"arguments of {self.name!r}")

    @property
    def arguments_json(self) -> str:
        """The arguments as JSON text."""
        return json.dumps(self.arguments, separators=(",", ":"))

    @property
    def pieces(self) -> list[str]:
        """The arguments in the pieces in which they are streamed."""
        return _ARGUMENTS_PIECE.findall(self.arguments_json)


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted answer. It suits every API that the server speaks, streamed or not.

    Tokens are counted as in `Usage`: `input_tokens` includes what is read from and written into the
    cache, `output_tokens` includes reasoning. Each API gets them by its own convention. To answer with a
    `Usage` at hand, write ``Reply("hello", **usage.as_dict())``.

    At most one of `cut_after`, `stall_after` and `fail_after` may be set. They count chunks: pieces of
    text or of a tool call's arguments. After 0 of them only the opening events were sent. An answer that
    is not streamed has no chunks: it is cut or stalled before it began, or fails with status 500.

    Raises:
        ConfigError: a setting is out of its range, or contradicts another.
        InvalidUsage: the token counts cannot be.

    Example:
        >>> Reply("Paris is sunny.", input_tokens=1200, output_tokens=380).chunks
        ['Paris', ' is', ' sunny.']
        >>> Reply(status=429, error="slow down", headers={"retry-after": "1"}).status
        429
    """

    text: str | Sequence[str] = ""
    """The answer. Streamed word by word, or in the given chunks when it is a list."""
    tool_calls: Sequence[ToolCall] = ()
    _: KW_ONLY
    input_tokens: int = 10
    output_tokens: int = 5
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    """Only OpenAI's chat completions and Google report audio apart, here and in `output_audio_tokens`."""
    output_audio_tokens: int = 0
    tool_use_tokens: int = 0
    """Google only: the part of the input that is results of tools that Google itself ran."""
    usage: bool = True
    """False: report no usage at all, as some proxies do."""
    usage_body: Mapping[str, object] | None = None
    """Sent as it is in place of the usage object, to try a mis-shaped one. In an Anthropic stream it
    replaces the final usage, that of ``message_delta``, and not the input of ``message_start``. In a
    Google stream the last event has it, and the others have no usage."""
    model: str | None = None
    """The model that says it answered. None: the requested one. Bedrock does not tell."""
    finish_reason: str | None = None
    """As the provider spells it: ``"length"`` (OpenAI), ``"max_output_tokens"`` (OpenAI's responses),
    ``"max_tokens"`` (Anthropic, Bedrock), ``"MAX_TOKENS"`` (Google). None: that of an ordinary end, or of
    tool calls where there are any."""
    service_tier: str | None = None
    """None: the provider's ordinary tier."""
    status: int = 200
    """HTTP status. 400 and above: an error body in the provider's shape."""
    error: str = ""
    """The error's message, for a `status` of 400 and above or for `fail_after`."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """More headers of the answer, such as ``retry-after``."""
    delay: float = 0.0
    """Seconds before the first byte."""
    chunk_delay: float = 0.0
    """Seconds between two chunks of a stream."""
    cut_after: int | None = None
    """Close the connection after so many chunks, as a failing network does."""
    stall_after: int | None = None
    """Go silent after so many chunks, until the client hangs up, as a provider that hangs does."""
    fail_after: int | None = None
    """Send an error event after so many chunks, as an overloaded provider does."""

    def __post_init__(self) -> None:
        _ = self.tokens  # raises what Usage has to say about the counts
        self._check_content()
        self._check_ending()

    def _check_content(self) -> None:
        if not isinstance(self.text, str) and not _holds_only(self.text, str):
            raise ConfigError(f"text must be a str or a list of str, got {self.text!r}")
        if not _holds_only(self.tool_calls, ToolCall):
            raise ConfigError(f"tool_calls must be a list of ToolCall, got {self.tool_calls!r}")
        if self.usage_body is not None:
            if not self.usage:
                raise ConfigError("usage=False reports no usage, so there is no place for usage_body")
            _check_json_object(self.usage_body, "usage_body")
        check_headers(self.headers)
        uncached = self.input_tokens - self.cache_read_tokens - self.cache_write_tokens
        if not 0 <= self.tool_use_tokens <= uncached:
            raise ConfigError(
                f"tool_use_tokens must be part of the {uncached} input tokens beside the cache, "
                f"got {self.tool_use_tokens!r}"
            )

    def _check_ending(self) -> None:
        check_status(self.status)
        for name in ("delay", "chunk_delay"):
            seconds = getattr(self, name)
            if not 0 <= seconds <= _ONE_DAY:
                raise ConfigError(f"{name} must be 0 to {_ONE_DAY} seconds, got {seconds!r}")
        breaks = {
            name: count
            for name in ("cut_after", "stall_after", "fail_after")
            if (count := getattr(self, name)) is not None
        }
        for name, count in breaks.items():
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise ConfigError(f"{name} must be a whole number of chunks, 0 or more, got {count!r}")
        if len(breaks) > 1:
            raise ConfigError(f"an answer breaks in one way only, got {' and '.join(breaks)}")
        if self.error and self.status < 400 and self.fail_after is None:
            raise ConfigError(
                f"error={self.error!r} needs a status of 400 or above, or fail_after: status is {self.status}"
            )

    @property
    def tokens(self) -> Usage:
        """What this answer costs in tokens, whether it reports them or not."""
        return Usage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cache_read_tokens=self.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens,
            cache_write_1h_tokens=self.cache_write_1h_tokens,
            reasoning_tokens=self.reasoning_tokens,
            input_audio_tokens=self.input_audio_tokens,
            output_audio_tokens=self.output_audio_tokens,
        )

    @property
    def full_text(self) -> str:
        """The text in one piece."""
        return self.text if isinstance(self.text, str) else "".join(self.text)

    @property
    def chunks(self) -> list[str]:
        """The text in the pieces in which it is streamed."""
        return _WORD.findall(self.text) if isinstance(self.text, str) else list(self.text)


def check_status(status: int) -> None:
    """Raise a `ConfigError` for a status that is no answer."""
    if status not in _STATUSES:
        raise ConfigError(f"status must be within 200-299 or 400-599, got {status!r}")


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise a `ConfigError` for a header that would not be one line."""
    for name, value in headers.items():
        if not (f"{name}{value}".isprintable() and f"{name}{value}".isascii()):
            raise ConfigError(f"header {name!r} must be one line of ASCII text, got {value!r}")


def _holds_only(value: object, kind: type) -> bool:
    """Whether it is a list or tuple of nothing else."""
    return isinstance(value, list | tuple) and all(
        isinstance(item, kind) for item in cast("Sequence[object]", value)
    )


def _check_json_object(value: object, what: str) -> None:
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what} must be an object of plain JSON data: {error}") from None
    if not text.startswith("{"):
        raise ConfigError(f"{what} must be an object of plain JSON data, got {value!r}")
