"""Whom to tell: a Slack channel, a webhook, a function."""

from __future__ import annotations

import base64
import hashlib
import hmac
import inspect
import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from apeiros_callbacks.alerts.alert import Alert
from apeiros_callbacks.errors import ConfigError

__all__ = ["AlertTo", "Destination", "NotSent", "Slack", "Webhook", "destinations_of"]

_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what a secret begins with, not one
_sending = threading.local()


class NotSent(Exception):
    """An alert did not arrive. Says why, without an address or a secret."""


class Destination(Protocol):
    """Somebody to tell."""

    @property
    def key(self) -> str:
        """What tells one from another in whatever process; nothing secret can be read from it."""
        ...

    def send(self, alert: Alert, timeout: float) -> None:
        """Tell, or raise."""
        ...


class Slack:
    """A channel of Slack, by the address of an incoming webhook.

    Args:
        url: the webhook's address. Who knows it can post, so it is shown nowhere.

    Raises:
        ConfigError: it is no address.

    Example:
        >>> Slack("https://hooks.slack.com/services/T0/B0/x")
        Slack('https://hooks.slack.com/…')
    """

    def __init__(self, url: str) -> None:
        self._url = _address(url)
        self.key = _key("slack", url)

    def send(self, alert: Alert, timeout: float) -> None:
        """Post the alert's message."""
        text = alert.message
        for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):  # as Slack asks for
            text = text.replace(sign, entity)
        _post(self._url, _body({"text": text}), {}, timeout)

    def __repr__(self) -> str:
        return f"Slack({_shown(self._url)!r})"


class Webhook:
    """An address to which alerts are posted as JSON, signed.

    Each request has the headers of https://www.standardwebhooks.com: ``webhook-id``, which is the same
    however often the alert is sent, ``webhook-timestamp`` in seconds since 1970, and
    ``webhook-signature``: ``v1,`` and the base64 of the HMAC-SHA256 of ``id.timestamp.body``. The body is
    `Alert.as_dict`.

    Args:
        url: where to post.
        secret: what to sign with. One that begins with ``whsec_`` is base64 after that, as the standard has
            it; any other is taken as it is, in UTF-8. None does not sign.

    Raises:
        ConfigError: it is no address, or the secret is empty or no base64.

    Example:
        >>> Webhook("https://example.com/hooks/ai?token=x", secret="s3cret")
        Webhook('https://example.com/…', signed)
    """

    def __init__(self, url: str, secret: str | None = None) -> None:
        self._url = _address(url)
        self._secret = None if secret is None else _secret(secret)
        self.key = _key("webhook", url)

    def send(self, alert: Alert, timeout: float) -> None:
        """Post the alert."""
        body = _body(alert.as_dict())
        headers = {"webhook-id": alert.id, "webhook-timestamp": str(int(time.time()))}
        if self._secret is not None:
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            digest = hmac.new(self._secret, signed, hashlib.sha256).digest()
            headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
        _post(self._url, body, headers, timeout)

    def __repr__(self) -> str:
        return f"Webhook({_shown(self._url)!r}, {'not signed' if self._secret is None else 'signed'})"


class _Function:
    """A function of the user's."""

    def __init__(self, tell: Callable[[Alert], object], number: int) -> None:
        self._tell = tell
        where = getattr(tell, "__module__", type(tell).__module__)
        what = getattr(tell, "__qualname__", type(tell).__qualname__)
        # Functions of one list may have one name, as those that are written as lambda have.
        self.key = f"function:{where}.{what}" + (f"#{number}" if number else "")

    def send(self, alert: Alert, timeout: float) -> None:
        """Call it. How long it takes is its own matter."""
        self._tell(alert)

    def __repr__(self) -> str:
        return self.key.removeprefix("function:")


AlertTo: TypeAlias = Slack | Webhook | Callable[[Alert], object]
"""Whom to tell. A function is called on a thread of its own, and again if it raises. It is known by its
module and name, in whatever process: of several sessions that have one of the same name, one tells."""


def destinations_of(alerts: Collection[AlertTo]) -> tuple[Destination, ...]:
    """Read ``alerts=`` as a person writes it.

    Raises:
        ConfigError: somebody cannot be told.
    """
    if not isinstance(alerts, list | tuple | set | frozenset):
        raise ConfigError(f"alerts is a list, such as [Slack(url), print], got {alerts!r}")
    found: dict[str, Destination] = {}
    for one in alerts:
        if isinstance(one, Slack | Webhook):
            found[one.key] = one
            continue
        if not callable(one):
            raise ConfigError(f"an alert goes to Slack(url), Webhook(url) or a function, not to {one!r}")
        if inspect.iscoroutinefunction(one) or inspect.iscoroutinefunction(type(one).__call__):
            raise ConfigError(f"{one!r} must be an ordinary function: alerts are sent from a thread")
        function = _Function(one, 0)
        number = 0
        while function.key in found:
            number += 1
            function = _Function(one, number)
        found[function.key] = function
    return tuple(found.values())


def _address(url: object) -> str:
    parts = None
    if isinstance(url, str):
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:
            parts = None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError("the address of an alert must begin with https:// or http://")  # it may be secret
    return str(url)


def _secret(secret: object) -> bytes:
    if not isinstance(secret, str) or not secret:
        raise ConfigError("secret must be a text, or None for alerts that are not signed")
    if not secret.startswith(_SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except ValueError:
        raise ConfigError(f"a secret that begins with {_SECRET_PREFIX} must be base64 after that") from None


def _key(kind: str, url: str) -> str:
    return f"{kind}:{hashlib.blake2b(url.encode(), digest_size=16, person=b'apeiros-alert').hexdigest()}"


def _shown(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}/…"


def _body(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def _post(url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> None:
    import httpx2  # comes with genai-prices; imported late, because it takes long

    _quiet()
    headers = {"content-type": "application/json", **headers}
    _sending.now = True
    try:
        with (
            # Without a certificate to check, none are loaded: that takes longest.
            httpx2.Client(timeout=timeout, verify=url.startswith("https:")) as client,
            client.stream("POST", url, content=body, headers=headers) as answer,
        ):
            status, phrase = answer.status_code, answer.reason_phrase
    except httpx2.TimeoutException:
        raise NotSent(f"no answer within {timeout:g} s") from None
    except httpx2.ConnectError as why:
        raise NotSent(f"it cannot be reached ({why})") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as why:
        # Not in its own words, which may have the address in them.
        raise NotSent(f"it cannot be reached ({type(why).__name__})") from None
    finally:
        _sending.now = False
    if not 200 <= status < 300:
        raise NotSent(f"it answered {status} {phrase}".rstrip())


class _HidesAddresses(logging.Filter):
    """Drops what the HTTP client logs about our requests: the address of a webhook is a secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_sending, "now", False)


_hides = _HidesAddresses()


def _quiet() -> None:
    for name in ("httpx2", "httpcore2.http11", "httpcore2.http2", "httpcore2.connection", "httpcore2.proxy"):
        logging.getLogger(name).addFilter(_hides)  # once, however often
