"""HTTP/1.1 over one socket: as much of it as clients of JSON APIs use."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from http import HTTPStatus
from threading import Event
from typing import NamedTuple

__all__ = ["LAST_FRAME", "Connection", "Incoming", "MalformedRequestError", "framed", "head"]

_LONGEST_LINE = 64 * 1024
_MOST_HEADERS = 200


class MalformedRequestError(Exception):
    """What arrived is not HTTP that this server reads. The connection cannot be used any more."""


class Incoming(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants to use the connection again."""
        return self.headers.get("connection", "").lower() != "close"


class Connection:
    """One client's connection, used by one thread. Only `hang_up` may be called from another one."""

    def __init__(self, sock: socket.socket, closing: Event) -> None:
        self._sock = sock
        self._closing = closing
        try:
            # Without this the second small write of an answer waits for the client's acknowledgement.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            sock.close()
            raise
        self._reader = sock.makefile("rb", _LONGEST_LINE)

    @property
    def server_closes(self) -> bool:
        """Whether the server is closing all its connections."""
        return self._closing.is_set()

    def close(self) -> None:
        """Give the socket back. By the connection's own thread, when no other one can reach it any more."""
        self._reader.close()
        self._sock.close()

    def read(self) -> Incoming | None:
        """The next request; None when the client has hung up.

        Raises:
            MalformedRequestError: it is not a request, or its length is not given.
        """
        try:
            return self._read()
        except OSError:  # reset, or hung up from our side
            return None

    def _read(self) -> Incoming | None:
        line = self._reader.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            return None
        words = line.decode("latin-1").split()
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise MalformedRequestError(f"not an HTTP/1.1 request: {line[:80]!r}")
        headers: dict[str, str] = {}
        for _ in range(_MOST_HEADERS):
            line = self._reader.readline(_LONGEST_LINE)
            if line in (b"\r\n", b"\n"):
                break
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon:
                return None  # hung up within the headers
            headers[name.strip().lower()] = value.strip()
        else:
            raise MalformedRequestError(f"more than {_MOST_HEADERS} headers")
        if "transfer-encoding" in headers:
            raise MalformedRequestError("a body in chunks is not supported: send a content-length")
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            raise MalformedRequestError(f"content-length must be a number, got {length!r}")
        body = self._reader.read(int(length))
        if len(body) < int(length):
            return None
        return Incoming(words[0], words[1].partition("?")[0], headers, body)

    def send(self, data: bytes | bytearray) -> bool:
        """Send all of it. False when the client has hung up."""
        try:
            self._sock.sendall(data)
        except OSError:
            return False
        return True

    def wait(self, seconds: float | None) -> bool:
        """Let time pass, forever if None. False as soon as the client hangs up, or the server closes.

        A client that closes only its own half counts as one that hung up. With 0 it just looks.
        """
        self._sock.settimeout(seconds)
        try:
            # Looks without taking. The end of input shows as an empty result, also after `hang_up`.
            if not self._sock.recv(1, socket.MSG_PEEK):
                return False
        except (BlockingIOError, TimeoutError):
            return True
        except OSError:
            return False
        finally:
            self._sock.settimeout(None)
        # The client sent its next request before it has this answer: there is nothing to watch any more.
        return not self._closing.wait(seconds)

    def hang_up(self) -> None:
        """End whatever the connection's thread waits for. Safe from any thread while it is open."""
        with contextlib.suppress(OSError):  # the client was faster
            self._sock.shutdown(socket.SHUT_RDWR)


def head(status: int, content_type: str, headers: Mapping[str, str], length: int | None) -> bytes:
    """The status line and headers of an answer; without a length it is sent in chunks."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:  # such as 529
        phrase = "Error"
    size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    lines = [f"HTTP/1.1 {status} {phrase}", f"content-type: {content_type}", size]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def framed(data: bytes) -> bytes:
    """One frame of the chunked transfer coding; that of no data ends the answer."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_FRAME = framed(b"")
