"""What we test with, and users too: a scripted provider that the real clients talk to, on this machine.

A budget is only worth something if it holds with the clients that are used, so nothing here replaces a
client. `ScriptedServer` listens on 127.0.0.1, speaks the APIs of OpenAI (chat completions, responses,
embeddings), Anthropic (messages), Google (generateContent) and Amazon Bedrock (Converse), streamed or not,
and answers what a script says: text, tool calls, tokens, errors, delays, connections that break. Or it sends
a recorded answer as it is. It records what reached it and how much of each answer went out.

    reply.py              Reply and ToolCall: what to answer, in words of no provider
    recorded.py           Recorded and replay: a provider's own bytes, sent again
    request.py            Request: what reached the server, and how far its answer got
    script.py             which reply a request gets
    wire.py               what a wire format is
    openai_chat.py        one file per wire format: pure functions from a Reply to bytes
    openai_responses.py
    openai_embeddings.py
    anthropic.py
    google.py
    bedrock.py
    event_stream.py       the binary framing of AWS's streams
    connection.py         HTTP/1.1 over one socket
    exchange.py           one request and its answer: when bytes go out, and when they do not
    server.py             ScriptedServer

Example:
    >>> from langchain_openai import ChatOpenAI
    >>> from apeiros_callbacks.testing import Reply, ScriptedServer
    >>> with ScriptedServer([Reply("hello", input_tokens=1200, output_tokens=380)]) as server:
    ...     model = ChatOpenAI(model="gpt-4o", base_url=server.openai_url, api_key="test")
    ...     answer = model.invoke("hi")
    >>> answer.text, answer.usage_metadata["output_tokens"], server.request_count
    ('hello', 380, 1)
"""

from apeiros_callbacks.testing.recorded import Recorded, replay
from apeiros_callbacks.testing.reply import Reply, ToolCall
from apeiros_callbacks.testing.request import Request
from apeiros_callbacks.testing.server import ScriptedServer

__all__ = ["Recorded", "Reply", "Request", "ScriptedServer", "ToolCall", "replay"]
