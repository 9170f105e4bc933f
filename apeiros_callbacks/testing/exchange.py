"""One request and its answer: when bytes go out, when they do not, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apeiros_callbacks.testing.connection import LAST_FRAME, Connection, framed, head
from apeiros_callbacks.testing.reply import Reply
from apeiros_callbacks.testing.request import Request
from apeiros_callbacks.testing.wire import Part, WireFormat, dump

__all__ = ["Exchange"]

_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Exchange:
    """Plays one reply to the client of one request, and records on the request how far it got.

    Every method that sends returns whether the connection can be used for another request.
    """

    connection: Connection
    request: Request
    reply: Reply
    wire: WireFormat

    def play(self) -> bool:
        """Answer the request as the reply says."""
        if self.reply.delay and not self.connection.wait(self.reply.delay):
            return self._lost()
        if self.reply.status >= 400:
            message = self.reply.error or f"The scripted server answers with status {self.reply.status}."
            return self._fail(self.reply.status, message)
        return self._stream() if self.request.stream else self._answer()

    def _answer(self) -> bool:
        """An answer in one piece."""
        reply = self.reply
        if reply.fail_after is not None:
            return self._fail(500, reply.error or "The scripted server fails.")
        if reply.cut_after is not None or reply.stall_after is not None:
            return self._break_off()
        body = dump(self.wire.answer(reply, self.request)).encode()
        return self._finish(head(reply.status, _JSON, reply.headers, len(body)) + body)

    def _fail(self, status: int, message: str) -> bool:
        body = dump(self.wire.failure(status, message)).encode()
        return self._finish(head(status, _JSON, self.reply.headers, len(body)) + body)

    def _stream(self) -> bool:
        """An answer in chunks. What frames a chunk goes out together with it: one write for each chunk."""
        reply, request, connection = self.reply, self.request, self.connection
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
        return self._break_off()

    def _break_off(self) -> bool:
        """Leave the answer unfinished: keep silent until the client hangs up, or hang up ourselves."""
        if self.reply.stall_after is not None:
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
