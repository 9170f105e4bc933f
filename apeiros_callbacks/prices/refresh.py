"""Newer price data, when a person asks for them: never at import and never by themselves.

Nothing of genai-prices' own state is touched: its updater would start a thread and replace the prices of
everything else in the process.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from apeiros_callbacks.errors import ApeirosError
from apeiros_callbacks.prices import stored
from apeiros_callbacks.prices.catalog import catalog

if TYPE_CHECKING:
    from genai_prices.types import Provider

__all__ = ["Changes", "RefreshFailed", "refresh"]

TIMEOUT: Final = 30.0
"""Seconds for the whole download."""
_MOST_BYTES: Final = 64 * 1024 * 1024  # forty times today's list


class RefreshFailed(ApeirosError):
    """The price data could not be refreshed; the ones in use before still are."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a refresh brought, in numbers of models, against what was in use before."""

    repriced: int
    added: int
    removed: int
    models: int
    """So many are listed now."""
    providers: int
    fetched_at: datetime
    url: str
    before: str
    """What was in use before: a version of genai-prices, or ``refreshed 2026-11-01``."""


def refresh(url: str | None = None, *, timeout: float = TIMEOUT) -> Changes:
    """Download price data, check them and keep them for every later process.

    This process goes on with the data it has.

    Args:
        url: where genai-prices' JSON is; where genai-prices itself would get it, unless given.
        timeout: seconds for the whole download.

    Raises:
        RefreshFailed: they cannot be fetched, are no price data, or cannot be stored. Nothing has changed.
    """
    from genai_prices import __version__
    from genai_prices.update_prices import DEFAULT_UPDATE_URL

    url = url or DEFAULT_UPDATE_URL
    shown = _shown(url)
    text = _download(url, shown, timeout)
    try:
        payload = text.decode("utf-8-sig")
        raw = json.loads(payload, parse_float=Decimal)
    except (ValueError, RecursionError) as problem:
        raise _failed(f"{shown} did not answer with JSON ({problem})") from problem
    try:
        stored.check_patterns(raw)
        providers = stored.build(raw)
    except (stored.BadPriceData, RecursionError) as problem:
        raise _failed(f"what {shown} answered is no price data: {problem}") from problem
    now = datetime.now(UTC).replace(microsecond=0)
    in_use = catalog()
    changes = _changes(in_use.providers, providers, now, shown, in_use.version)
    try:
        stored.write(payload, now, shown, __version__)
    except OSError as problem:
        raise _failed(f"they cannot be stored in {stored.path()} ({problem.strerror})") from problem
    return changes


def _download(url: str, shown: str, timeout: float) -> bytes:
    import httpx2  # comes with genai-prices

    end = time.monotonic() + timeout
    parts: list[bytes] = []
    size = 0
    try:
        with httpx2.stream("GET", url, timeout=timeout, follow_redirects=True) as answer:
            if answer.status_code != HTTPStatus.OK:
                raise _failed(f"{shown} answered {answer.status_code} {answer.reason_phrase}".rstrip())
            for part in answer.iter_bytes():
                parts.append(part)
                size += len(part)
                if time.monotonic() > end:
                    raise _failed(f"{shown} sent no whole answer within {timeout:g} seconds")
                if size > _MOST_BYTES:
                    raise _failed(f"{shown} sent more than {_MOST_BYTES // 1024**2} MB")
    except httpx2.TimeoutException as problem:
        raise _failed(f"{shown} did not answer within {timeout:g} seconds") from problem
    except (httpx2.HTTPError, httpx2.InvalidURL) as problem:
        raise _failed(f"{shown} cannot be reached ({problem})") from problem
    return b"".join(parts)


def _shown(url: str) -> str:
    """The address without what may be secret in it: a user, a password, a query."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = None, None, None
    if parts is None or parts.scheme not in {"http", "https"} or not host:
        raise _failed("--url must be an address that begins with http:// or https://")
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"


def _failed(why: str) -> RefreshFailed:
    return RefreshFailed(f"the prices were not refreshed: {why}. The prices in use before still are.")


def _changes(before: list[Provider], after: list[Provider], now: datetime, url: str, version: str) -> Changes:
    old, new = _prices(before), _prices(after)
    return Changes(
        repriced=sum(1 for name in old.keys() & new.keys() if old[name] != new[name]),
        added=len(new.keys() - old.keys()),
        removed=len(old.keys() - new.keys()),
        models=len(new),
        providers=len(after),
        fetched_at=now,
        url=url,
        before=version,
    )


def _prices(providers: list[Provider]) -> dict[tuple[str, str], object]:
    return {
        (provider.id, model.id): (model.prices, list(model.price_variants or ()))
        for provider in providers
        for model in provider.models
    }
