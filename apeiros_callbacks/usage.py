"""What a provider reported for one call: tokens by bucket, and searches that are billed apart."""

from __future__ import annotations

from dataclasses import dataclass, fields

from apeiros_callbacks.errors import InvalidUsage

__all__ = ["Usage"]

# More tokens than any context window or day of output: a larger number is a broken body, not a bill.
MOST_TOKENS = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call. Parts are counted within their whole, never beside it.

    Searches that the provider ran for the call are no tokens and no part of any: they are billed apart.

    Raises:
        InvalidUsage: a count is not a whole number of zero or more, or a part exceeds its whole.

    Example:
        >>> Usage(input_tokens=1200, output_tokens=380, cache_read_tokens=1000).total_tokens
        1580
    """

    input_tokens: int = 0
    """All tokens read, those from and into the cache included."""
    output_tokens: int = 0
    """All tokens written, reasoning included."""
    cache_read_tokens: int = 0
    """The part of the input that was read from the provider's cache."""
    cache_write_tokens: int = 0
    """The part of the input that was written into the provider's cache, for any time to live."""
    cache_write_1h_tokens: int = 0
    """The part of `cache_write_tokens` that is kept for an hour."""
    reasoning_tokens: int = 0
    """The part of the output that is reasoning."""
    input_audio_tokens: int = 0
    """The part of the input that is audio."""
    output_audio_tokens: int = 0
    """The part of the output that is audio."""
    web_searches: int = 0
    """Web searches that the provider ran and bills apart: requests, queries or grounded answers, by what
    it charges for."""
    file_searches: int = 0
    """Searches of the provider's own file stores."""

    def __post_init__(self) -> None:
        if (
            self.input_tokens.__class__ is int
            and self.output_tokens.__class__ is int
            and 0 <= self.input_tokens <= MOST_TOKENS
            and 0 <= self.output_tokens <= MOST_TOKENS
            and 0
            == self.cache_read_tokens
            == self.cache_write_tokens
            == self.cache_write_1h_tokens
            == self.reasoning_tokens
            == self.input_audio_tokens
            == self.output_audio_tokens
            == self.web_searches
            == self.file_searches
        ):
            return  # the ordinary call, on the path of every call: nothing more to look at
        self._check()

    def _check(self) -> None:
        for name in _COUNTS:
            count = getattr(self, name)
            if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST_TOKENS:
                unit = "tokens" if name.endswith("_tokens") else "searches"
                raise InvalidUsage(f"{name} must be a whole number of {unit}, 0 or more, got {count!r}")
        for part, whole in (
            ("cache_write_1h_tokens", self.cache_write_tokens),
            ("reasoning_tokens", self.output_tokens),
            ("input_audio_tokens", self.input_tokens),
            ("output_audio_tokens", self.output_tokens),
        ):
            if getattr(self, part) > whole:
                raise InvalidUsage(
                    f"{part}={getattr(self, part)!r} is more than the {whole} tokens it is a part of"
                )
        if self.cache_read_tokens + self.cache_write_tokens > self.input_tokens:
            raise InvalidUsage(
                f"cache_read_tokens={self.cache_read_tokens!r} and "
                f"cache_write_tokens={self.cache_write_tokens!r} "
                f"are more than input_tokens={self.input_tokens!r}, which must include them"
            )

    @property
    def total_tokens(self) -> int:
        """Tokens read and written."""
        return self.input_tokens + self.output_tokens

    def as_dict(self) -> dict[str, int]:
        """The buckets that are not zero, as plain data; input and output are always there."""
        found = {name: int(getattr(self, name)) for name in _COUNTS}
        return {k: n for k, n in found.items() if n or k in {"input_tokens", "output_tokens"}}


_COUNTS = tuple(field.name for field in fields(Usage))
