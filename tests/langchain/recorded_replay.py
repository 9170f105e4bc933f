"""Recorded calls, sent again by the real LangChain clients to a server that answers as the provider did."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from apeiros_callbacks import Entry, Session
from apeiros_callbacks.call import Call, OpenCall
from apeiros_callbacks.testing import Recorded, Request, ScriptedServer
from langchain_apeiros import ApeirosHandler
from tests.langchain.recorded_truth import Record, host, requested

PLAIN: list[BaseMessage] = [HumanMessage("hello")]


class Watching(Session):
    """A session that keeps what it opened, to look at the estimates."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.opened: list[OpenCall] = []

    def open_call(self, call: Call) -> OpenCall:
        opened = super().open_call(call)
        self.opened.append(opened)
        return opened


@dataclass
class Replayed:
    """One recorded call, sent again."""

    record: Record
    entries: list[Entry]
    opened: list[OpenCall]
    as_recorded: bool
    """Whether the client sent the recorded messages and tools, and not a plain prompt in their place."""
    error: Exception | None = None
    failures: int = 0
    requests: int = 0
    notes: list[str] = field(default_factory=list)


class Replay:
    """Sends records again, with one client for each model and one connection pool for all of OpenAI's.

    Args:
        server: answers what is sent.
        http: reaches it under any address.
    """

    def __init__(self, server: ScriptedServer, http: httpx2.Client) -> None:
        self._server = server
        self._http = http
        self._models: dict[tuple[str, ...], BaseChatModel] = {}

    def __call__(self, record: Record) -> Replayed:
        streamed = record.get("response") is None and not record["raw"].lstrip().startswith("{")
        unlike = None
        try:
            messages, options = conversation(record)
        except (KeyError, TypeError, ValueError, AttributeError) as unlike_any:
            messages, options, unlike = PLAIN, {}, repr(unlike_any)
        asked = self._send(record, messages, options, streamed)
        if not asked.requests and (messages is not PLAIN or options):
            # The client refuses to send what the recorded one sent: its answer is still one to be read.
            reason = asked.error
            asked = self._send(record, PLAIN, {}, streamed)
            asked.notes.append(f"sent as a plain prompt: {type(reason).__name__} {str(reason)[:80]}")
            asked.as_recorded = False
        if unlike:
            asked.notes.append(f"no message is like it: {unlike[:80]}")
        asked.as_recorded = asked.as_recorded and messages is not PLAIN
        return asked

    def _send(
        self, record: Record, messages: list[BaseMessage], options: dict[str, Any], streamed: bool
    ) -> Replayed:
        session = Watching(budget=1_000_000, unknown_price="allow")
        handler = ApeirosHandler(session=session)
        before = self._server.request_count
        error = None
        try:
            model = self._model(record).bind(**options)
            config: Any = {"callbacks": [handler]}
            if streamed:
                for _ in model.stream(messages, config):
                    pass
            else:
                model.invoke(messages, config)
        except Exception as raised:  # noqa: BLE001 - what the client makes of an answer is what is tested
            error = raised
        sent = self._server.request_count - before
        entries, health = session.entries(), session.health
        return Replayed(record, entries, session.opened, True, error, health.failures, sent)

    def _model(self, record: Record) -> BaseChatModel:
        kind, name = record["kind"], requested(record)
        key = (kind.removesuffix("-stream"), host(record["uri"]), urlsplit(record["uri"]).path, name)
        if key not in self._models:
            self._models[key] = client(self._server, self._http, record, name)
        return self._models[key]


class ToServer(httpx2.HTTPTransport):
    """Sends every request to the server of the test, whatever its address."""

    def __init__(self, server: ScriptedServer) -> None:
        super().__init__(verify=False)
        self._url = httpx2.URL(server.url)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        to = self._url
        request.url = request.url.copy_with(scheme=to.scheme, host=to.host, port=to.port)
        return super().handle_request(request)


@functools.cache
def aws_clients(server: ScriptedServer) -> dict[str, Any]:
    """The same for AWS, whose clients read megabytes of service descriptions."""
    import boto3

    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    session = boto3.Session(**keys)
    return {
        "client": session.client("bedrock-runtime", endpoint_url=server.bedrock_url),
        "bedrock_client": session.client("bedrock", endpoint_url=server.bedrock_url),
    }


def client(server: ScriptedServer, http: httpx2.Client, record: Record, name: str) -> BaseChatModel:
    kind = record["kind"]
    if kind in {"openai-chat", "openai-responses"}:
        from langchain_openai import ChatOpenAI

        address = record["uri"].partition("?")[0].removesuffix("/chat/completions").removesuffix("/responses")
        return ChatOpenAI(
            model=name or "gpt-4o",
            base_url=address,
            api_key="test",
            max_retries=0,
            stream_usage=True,
            use_responses_api=kind == "openai-responses",
            http_client=http,
        )
    if kind == "anthropic":
        from langchain_anthropic import ChatAnthropic

        return ChatAnthropic(model=name, api_key="test", max_retries=0, base_url=server.anthropic_url)
    if kind.startswith("google"):
        from langchain_google_genai import ChatGoogleGenerativeAI

        vertex = "aiplatform" in host(record["uri"])
        return ChatGoogleGenerativeAI(
            model=name, api_key="test", max_retries=1, base_url=server.google_url, vertexai=vertex
        )
    from langchain_aws import ChatBedrockConverse

    return ChatBedrockConverse(model=name, region_name="us-east-1", **aws_clients(server))


def conversation(record: Record) -> tuple[list[BaseMessage], dict[str, Any]]:
    """The recorded request in LangChain's words."""
    request = record.get("request")
    if not request:
        return PLAIN, {}
    read = {
        "openai-chat": from_chat,
        "openai-responses": from_responses,
        "anthropic": from_anthropic,
        "google": from_google,
        "google-stream": from_google,
    }[record["kind"]]
    messages, options = read(request)
    return (messages, options) if messages else (PLAIN, {})


Sendable = tuple[list[BaseMessage], dict[str, Any]]


def from_chat(request: dict[str, Any]) -> Sendable:
    from langchain_core.messages import convert_to_messages

    messages = convert_to_messages([{"content": ""} | message for message in request["messages"]])
    # With a schema of the answer the client takes no tools but strict ones.
    return messages, asked_for(request, "tools") or asked_for(request, "response_format")


def from_responses(request: dict[str, Any]) -> Sendable:
    messages: list[BaseMessage] = []
    if request.get("instructions"):
        messages.append(SystemMessage(request["instructions"]))
    asked = request["input"]
    for item in [{"role": "user", "content": asked}] if isinstance(asked, str) else asked:
        kind = item.get("type", "message")
        if kind == "function_call":
            call = {"name": item["name"], "args": json.loads(item["arguments"]), "id": item["call_id"]}
            messages.append(AIMessage("", tool_calls=[call]))
        elif kind == "function_call_output":
            messages.append(ToolMessage(item["output"], tool_call_id=item["call_id"]))
        elif kind != "message":
            raise ValueError(f"no message is like an item of type {kind!r}")
        elif item["role"] == "assistant":
            messages.append(AIMessage(item["content"]))
        elif item["role"] in {"system", "developer"}:
            messages.append(SystemMessage(item["content"]))
        else:
            messages.append(HumanMessage(item["content"]))
    return messages, asked_for(request, "tools", "text")


def asked_for(request: dict[str, Any], *names: str) -> dict[str, Any]:
    """Parameters that are read as part of the prompt."""
    return {name: request[name] for name in names if request.get(name)}


def from_anthropic(request: dict[str, Any]) -> Sendable:
    messages: list[BaseMessage] = []
    if request.get("system"):
        messages.append(SystemMessage(request["system"]))
    for message in request["messages"]:
        content = message["content"]
        if message["role"] == "assistant":
            blocks = content if isinstance(content, list) else []
            calls = [
                {"name": block["name"], "args": block["input"], "id": block["id"]}
                for block in blocks
                if block["type"] == "tool_use"
            ]
            messages.append(AIMessage(content, tool_calls=calls))
        elif message["role"] == "user":
            messages.append(HumanMessage(content))
        else:
            raise ValueError(f"no message has the role {message['role']!r}")
    return messages, asked_for(request, "tools", "tool_choice", "thinking", "output_config", "max_tokens")


def from_google(request: dict[str, Any]) -> Sendable:
    messages: list[BaseMessage] = []
    system = request.get("systemInstruction")
    if system:
        messages.append(SystemMessage("\n".join(part["text"] for part in system["parts"])))
    for turn in request["contents"]:
        blocks: list[Any] = []
        calls: list[Any] = []
        thoughts: dict[str, str] = {}
        for part in turn["parts"]:
            plain = {name.replace("_", "").lower(): value for name, value in part.items()}
            if "functioncall" in plain:
                call = plain["functioncall"]
                calls.append({"name": call["name"], "args": call.get("args") or {}, "id": call["name"]})
                if signature := plain.get("thoughtsignature"):
                    thoughts[call["name"]] = signature.replace("-", "+").replace("_", "/")
            elif "functionresponse" in plain:
                answer = plain["functionresponse"]
                said = list(answer["response"].values())
                result = (
                    said[0] if len(said) == 1 and isinstance(said[0], str) else json.dumps(answer["response"])
                )
                messages.append(ToolMessage(result, tool_call_id=answer["name"], name=answer["name"]))
            elif "inlinedata" in plain:
                data = plain["inlinedata"]
                mime = data.get("mimeType") or data["mime_type"]
                blocks.append({"type": "media", "mime_type": mime, "data": data["data"]})
            elif "filedata" in plain:
                file = plain["filedata"]
                mime = file.get("mimeType") or file.get("mime_type") or "video/mp4"
                uri = file.get("fileUri") or file["file_uri"]
                film = {"video_metadata": plain["videometadata"]} if "videometadata" in plain else {}
                blocks.append({"type": "media", "mime_type": mime, "file_uri": uri} | film)
            else:
                blocks.append({"type": "text", "text": plain["text"]})
        if turn.get("role") == "model":
            kept = {"__gemini_function_call_thought_signatures__": thoughts} if thoughts else {}
            messages.append(AIMessage(blocks or "", tool_calls=calls, additional_kwargs=kept))
        elif blocks:
            messages.append(HumanMessage(blocks))
    options: dict[str, Any] = {}
    if request.get("tools"):
        options["tools"] = [{snake(name): value for name, value in tool.items()} for tool in request["tools"]]
    form = request.get("generationConfig") or {}
    if schema := form.get("responseJsonSchema") or form.get("responseSchema"):
        options |= {"response_mime_type": "application/json", "response_json_schema": schema}
    return messages, options


def snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def serve_current(current: list[Recorded]) -> Any:
    """A script that answers every request with the one answer in `current`."""

    def answer(_: Request) -> Recorded:
        return current[0]

    return answer
