"""A server on this machine that answers with what a test gives it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """A server on this machine whose answer a test sets."""

    def __init__(self) -> None:
        self.answer: ANSWER = text("[]")
        self.asked = 0
        self.closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                with suppress(ConnectionError):
                    outer.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/data.json"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def text(body: str | bytes, status: int = 200) -> ANSWER:
    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(status)
        to.end_headers()
        to.wfile.write(body.encode() if isinstance(body, str) else body)

    return answer
