"""A TCP proxy before a PostgreSQL server: it delays answers, hangs up, and can be away."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit


class Proxy:
    """Listens on a port of this machine; `delay` is in seconds, added to each answer of the server."""

    def __init__(self, url: str, delay: float = 0.0) -> None:
        found = urlsplit(url)
        self.delay = delay
        self._socket = f"{parse_qs(found.query)['host'][0]}/.s.PGSQL.5432"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"postgresql://{found.username}@127.0.0.1:{self.port}{found.path}?sslmode=disable"
        self._open: list[socket.socket] = []
        self._away = False
        threading.Thread(target=self._listen, daemon=True).start()

    def go_away(self) -> None:
        """Drop every connection, and refuse new ones."""
        self._away = True
        while self._open:
            with suppress(OSError), self._open.pop() as gone:
                gone.shutdown(socket.SHUT_RDWR)

    def come_back(self) -> None:
        self._away = False

    def close(self) -> None:
        self.go_away()
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._away:
                client.close()
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._socket)
            self._open += [client, server]
            threading.Thread(target=self._pass_on, args=(client, server, 0.0), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, self.delay), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, delay: float) -> None:
        """Bytes arrive later, but as many at once as they were sent."""
        late: deque[tuple[float, bytes]] = deque()
        there = threading.Semaphore(0)

        def send() -> None:
            while True:
                there.acquire()
                at, data = late.popleft()
                time.sleep(max(0.0, at - time.monotonic()))
                if not data:
                    with suppress(OSError):
                        target.shutdown(socket.SHUT_RDWR)
                    return
                try:
                    target.sendall(data)
                except OSError:
                    return

        threading.Thread(target=send, daemon=True).start()
        data = b"begin"
        while data:
            try:
                data = source.recv(65_536)
            except OSError:
                data = b""
            late.append((time.monotonic() + delay, data))
            there.release()
