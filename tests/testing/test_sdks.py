"""The providers' own clients, which both frameworks' environments have, in different versions."""

import pytest

from apeiros_callbacks.testing import Reply, ScriptedServer, ToolCall

REPLY = Reply(
    "Paris is sunny.",
    [ToolCall("search", {"query": "Paris"})],
    input_tokens=1200,
    output_tokens=380,
    cache_read_tokens=1000,
    cache_write_tokens=100,
    cache_write_1h_tokens=40,
)
ASKED = [{"role": "user", "content": "hi"}]


def test_openai():
    openai = pytest.importorskip("openai")
    with (
        ScriptedServer(REPLY) as server,
        openai.OpenAI(base_url=server.openai_url, api_key="test", max_retries=0) as client,
    ):
        answer = client.chat.completions.create(model="gpt-4o", messages=ASKED)
        assert answer.choices[0].message.content == "Paris is sunny."
        assert answer.choices[0].message.tool_calls[0].function.arguments == '{"query":"Paris"}'
        assert answer.usage.prompt_tokens == 1200, "OpenAI's own includes the cache"
        assert answer.usage.prompt_tokens_details.cached_tokens == 1000

        events = list(
            client.chat.completions.create(
                model="gpt-4o", messages=ASKED, stream=True, stream_options={"include_usage": True}
            )
        )
        assert "".join(event.choices[0].delta.content or "" for event in events[:-1]) == "Paris is sunny."
        assert [event.usage for event in events[:-1]] == [None] * (len(events) - 1)
        assert events[-1].choices == []
        assert events[-1].usage == answer.usage


def test_anthropic():
    anthropic = pytest.importorskip("anthropic")
    with (
        ScriptedServer(REPLY) as server,
        anthropic.Anthropic(base_url=server.anthropic_url, api_key="test", max_retries=0) as client,
    ):
        asked = {"model": "claude-sonnet-4-6", "max_tokens": 1000, "messages": ASKED}
        answer = client.messages.create(**asked)
        assert answer.content[0].text == "Paris is sunny."
        assert answer.content[1].input == {"query": "Paris"}
        assert answer.usage.input_tokens == 100, "Anthropic's own leaves the cache out"
        assert answer.usage.cache_read_input_tokens == 1000
        assert answer.usage.cache_creation_input_tokens == 100
        assert answer.usage.cache_creation.ephemeral_1h_input_tokens == 40
        assert answer.usage.cache_creation.ephemeral_5m_input_tokens == 60

        with client.messages.stream(**asked) as stream:
            events = list(stream)
            whole = stream.get_final_message()
        begun = next(event for event in events if event.type == "message_start").message.usage
        assert begun.model_copy(update={"output_tokens": 380}) == answer.usage, (
            "but the output is not known yet"
        )
        assert begun.output_tokens == 1
        assert [block.type for block in whole.content] == ["text", "tool_use"]
        assert whole.content[1].input == {"query": "Paris"}
        assert (whole.usage.input_tokens, whole.usage.output_tokens) == (100, 380)
