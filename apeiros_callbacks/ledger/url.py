"""What a ledger's URL may say."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from urllib.parse import parse_qsl, quote, unquote

from apeiros_callbacks.errors import ConfigError

__all__ = ["MEMORY", "PostgresUrl", "SqliteUrl", "Synchronous", "parse_url", "sqlite_url"]

MEMORY: Literal["memory:"] = "memory:"

Synchronous: TypeAlias = Literal["NORMAL", "FULL"]

_WRITE = (
    "Write 'memory:' for this process only, 'sqlite:///ledger.db' for a file, or "
    "'postgresql://user@host/database' for a server"
)
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteUrl:
    """A ledger in a file.

    Example:
        >>> parse_url("sqlite:////srv/ledger.db?synchronous=full")
        SqliteUrl(path='/srv/ledger.db', synchronous='FULL', timeout=5.0, lease=60.0)
    """

    path: str
    synchronous: Synchronous = "NORMAL"
    """``NORMAL`` keeps every flushed entry when the process dies, ``FULL`` also when the power fails."""
    timeout: float = 5.0
    """How long to wait for another program that has locked the file, in seconds."""
    lease: float = 60.0
    """For how long a process is lent a part of a shared cap before it must renew that, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresUrl:
    """A ledger on a PostgreSQL server.

    Example:
        >>> parse_url("postgresql://app:secret@db.local/costs?sslmode=require&lease=30").shown
        'postgresql://app@db.local/costs?sslmode=require'
    """

    conninfo: str = field(repr=False)
    """The URL as the driver reads it, with the password."""
    shown: str
    """The same without the password."""
    timeout: float = 5.0
    """How long to wait for the server, in seconds."""
    lease: float = 60.0
    """As of a file."""
    defaults: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)
    """What the driver is told where the URL does not."""


def parse_url(url: object) -> Literal["memory:"] | SqliteUrl | PostgresUrl:
    """Read a ledger's URL.

    Raises:
        ConfigError: there is no such ledger; says what to write. Never repeats a password.

    Example:
        >>> parse_url("sqlite:///team/ledger.db").path
        'team/ledger.db'
    """
    if not isinstance(url, str):
        raise ConfigError(f"a ledger is a string, got {type(url).__name__}. {_WRITE}.")
    if url == MEMORY:
        return MEMORY
    if not url.strip():
        raise ConfigError(f"a ledger must not be empty. {_WRITE}.")
    scheme, colon, rest = url.partition(":")
    if not colon or _DRIVE.match(url) or "/" in scheme or "\\" in scheme:
        raise ConfigError(f"{url!r} is a path, not the URL of a ledger. Write {sqlite_url(url)!r}.")
    match scheme.lower():
        case "sqlite":
            return _sqlite(url, rest)
        case "memory":
            raise ConfigError(f"{url!r} is not a ledger. Write 'memory:'.")
        case "postgresql" | "postgres":
            return _postgres(rest)
        case other:
            # The rest may hold a password.
            raise ConfigError(f"there is no ledger for {other + ':'!r}. {_WRITE}.")


def sqlite_url(path: str) -> str:
    """The URL of a file.

    Example:
        >>> sqlite_url("/srv/50% done.db")
        'sqlite:////srv/50%25 done.db'
    """
    return "sqlite:///" + path.replace("%", quote("%")).replace("?", quote("?"))


def _sqlite(url: str, rest: str) -> SqliteUrl:
    where, _, query = rest.partition("?")
    if not where.startswith("///"):
        raise ConfigError(
            f"{url!r} needs three slashes before the path, and a fourth when it is absolute. "
            "Write 'sqlite:///ledger.db' or 'sqlite:////srv/ledger.db'."
        )
    path = unquote(where[3:])
    if path in {MEMORY, ":memory:"}:
        raise ConfigError(f"{url!r} is not a file. Write 'memory:'.")
    if not path.strip() or "\0" in path or path.endswith(("/", "\\")):
        raise ConfigError(f"{url!r} names no file. Write 'sqlite:///ledger.db'.")
    if path.startswith("~"):
        raise ConfigError(f"{url!r} has a '~', which is not expanded. Write the whole path.")
    options = _options(url, query)
    return SqliteUrl(
        path=path,
        synchronous=_synchronous(options.get("synchronous", "NORMAL")),
        timeout=_seconds("timeout", options.get("timeout", "5")),
        lease=_seconds("lease", options.get("lease", "60")),
    )


def _postgres(rest: str) -> PostgresUrl:
    where, _, query = rest.partition("?")
    if not where.startswith("//"):
        raise ConfigError("a ledger in PostgreSQL is written 'postgresql://user@host/database'.")
    own: dict[str, str] = {}
    theirs: dict[str, str] = {}
    for pair in query.split("&") if query else []:
        name, _, value = pair.partition("=")
        if name in {"timeout", "lease"}:
            own[name] = value
        else:
            theirs[name] = pair
    timeout = _seconds("timeout", own.get("timeout", "5"))
    # A server that is gone without a word is noticed in this time, on a connection in use or not.
    milliseconds = str(max(1, round(timeout * 1000)))
    defaults = {
        "connect_timeout": str(max(2, math.ceil(timeout))),
        "tcp_user_timeout": milliseconds,
        "keepalives_idle": "10",
        "keepalives_interval": "2",
        "keepalives_count": "3",
        "application_name": "apeiros",
    }
    user, at, host = where[2:].rpartition("@")
    safe = "//" + (user.partition(":")[0] + at + host)
    return PostgresUrl(
        conninfo=f"postgresql:{where}{_query(theirs.values())}",
        shown=f"postgresql:{safe}{_query(pair for name, pair in theirs.items() if 'password' not in name)}",
        timeout=timeout,
        lease=_seconds("lease", own.get("lease", "60")),
        defaults={name: value for name, value in defaults.items() if name not in theirs},
    )


def _query(pairs: Iterable[str]) -> str:
    text = "&".join(pairs)
    return f"?{text}" if text else ""


def _options(url: str, query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in found:
            raise ConfigError(f"{name!r} stands twice in {url!r}. Keep one of them.")
        if name not in {"synchronous", "timeout", "lease"}:
            raise ConfigError(
                f"{name!r} in {url!r} is not an option of a ledger. "
                "There are '?synchronous=FULL' or NORMAL, and '?timeout=5' and '?lease=60' in seconds."
            )
        found[name] = value
    return found


def _synchronous(value: str) -> Synchronous:
    match value.upper():
        case "FULL":
            return "FULL"
        case "NORMAL":
            return "NORMAL"
        case _:
            raise ConfigError(f"synchronous must be FULL or NORMAL, got {value!r}")


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    # SQLite counts milliseconds in 32 bits.
    if not 0 < seconds <= 86_400:
        raise ConfigError(f"{name} must be a number of seconds above 0, such as {name}=5, got {value!r}")
    return seconds
