"""One request and its answer: when bytes go out, when they do not, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apeiros_callbacks.testing.connection import LAST_FRAME, Connection, framed, head
from apeiros_callbacks.testing.recorded import Recorded
from apeiros_callbacks.testing.reply import Reply
from apeiros_callbacks.testing.request import Request
from apeiros_callbacks.testing.wire import Part, WireFormat, dump

__all__ = ["Exchange"]

_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Exchange:
    """Answers one request of one client, and records on the request how far the answer got.

    Every method that sends returns whether the connection can be used for another request.
    """

    connection: Connection
    request: Request
    wire: WireFormat

    def play(self, reply: Reply | Recorded) -> bool:
        """Answer the request as the reply says."""
        if isinstance(reply, Recorded):
            data = reply.data
            return self._finish(head(reply.status, reply.content_type, reply.other_headers, len(data)) + data)
        if reply.delay and not self.connection.wait(reply.delay):
            return self._lost()
        if reply.status >= 400:
            message = reply.error or f"The scripted server answers with status {reply.status}."
            return self._fail(reply, reply.status, message)
        return self._stream(reply) if self.request.stream else self._answer(reply)

    def _answer(self, reply: Reply) -> bool:
        """An answer in one piece."""
        if reply.fail_after is not None:
            return self._fail(reply, 500, reply.error or "The scripted server fails.")
        if reply.cut_after is not None or reply.stall_after is not None:
            return self._break_off(reply)
        body = dump(self.wire.answer(reply, self.request)).encode()
        return self._finish(head(reply.status, _JSON, reply.headers, len(body)) + body)

    def _fail(self, reply: Reply, status: int, message: str) -> bool:
        body = dump(self.wire.failure(status, message)).encode()
        headers = {**self.wire.failure_headers(status), **reply.headers}
        return self._finish(head(status, _JSON, headers, len(body)) + body)

    def _stream(self, reply: Reply) -> bool:
        """An answer in chunks. What frames a chunk goes out together with it: one write for each chunk."""
        request, connection = self.request, self.connection
        limits = (reply.cut_after, reply.stall_after, reply.fail_after)
        last = next((limit for limit in limits if limit is not None), None)
        parts = list(self.wire.stream(reply, request))
        sent = _as_far_as(parts, last)
        out = bytearray(head(reply.status, self.wire.stream_type, reply.headers, None))
        for part in sent:
            # A look at the connection before each chunk: a client that hung up is sent no more.
            if part.is_chunk and not connection.wait(reply.chunk_delay if request.chunks_sent else 0):
                return self._lost()
            out += framed(part.data)
            if part.is_chunk:
                request.chunks_sent += 1
                if not connection.send(out):
                    request.chunks_sent -= 1
                    return self._lost()
                out.clear()
        if len(sent) == len(parts):
            return self._finish(out + LAST_FRAME)
        if reply.fail_after is not None:
            message = reply.error or "The scripted server fails within this stream."
            return self._finish(out + framed(self.wire.failure_in_stream(message)) + LAST_FRAME)
        connection.send(out)
        return self._break_off(reply)

    def _break_off(self, reply: Reply) -> bool:
        """Leave the answer unfinished: keep silent until the client hangs up, or hang up ourselves."""
        if reply.stall_after is not None:
            self.connection.wait(None)
            return self._lost()
        return False

    def _finish(self, data: bytes | bytearray) -> bool:
        self.request.finished = True  # before the client can know
        if self.connection.send(data):
            return True
        self.request.finished = False
        return self._lost()

    def _lost(self) -> bool:
        """The connection has ended: by the client, unless the server itself is closing."""
        self.request.disconnected = not self.connection.server_closes
        return False


def _as_far_as(parts: Sequence[Part], last: int | None) -> Sequence[Part]:
    """The parts up to the last chunk that is sent; all of them when there are fewer chunks."""
    chunks = [place for place, part in enumerate(parts) if part.is_chunk]
    if last is None or last > len(chunks):
        return parts
    if last == 0:  # what opens the answer, which of an empty one is the first part
        return parts[: chunks[0] if chunks else 1]
    return parts[: chunks[last - 1] + 1]
