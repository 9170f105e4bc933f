import pytest

from apeiros_callbacks.errors import ConfigError, InvalidUsage
from apeiros_callbacks.testing import Reply, ToolCall
from apeiros_callbacks.usage import Usage


def test_text_is_streamed_word_by_word_and_loses_nothing():
    reply = Reply("  Paris is\n\nsunny, 晴れ. ")
    assert reply.chunks == ["  Paris", " is", "\n\nsunny,", " 晴れ.", " "]
    assert "".join(reply.chunks) == reply.full_text == reply.text


def test_given_chunks_are_kept_as_they_are():
    reply = Reply(["Pa", "ris", " is sunny."])
    assert reply.chunks == ["Pa", "ris", " is sunny."]
    assert reply.full_text == "Paris is sunny."


def test_an_empty_text_has_no_chunks():
    assert Reply().chunks == []


def test_tokens_are_counted_as_in_usage():
    usage = Usage(
        input_tokens=1200,
        output_tokens=380,
        cache_read_tokens=1000,
        cache_write_tokens=100,
        cache_write_1h_tokens=40,
        reasoning_tokens=300,
        input_audio_tokens=7,
        output_audio_tokens=8,
    )
    assert Reply("hello", **usage.as_dict()).tokens == usage


def test_arguments_are_streamed_in_pieces_of_one_text():
    call = ToolCall("search", {"query": "weather\nin 東京", "days": [1, 2]})
    assert len(call.pieces) > 1
    assert "".join(call.pieces) == call.arguments_json


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"status": 302}, "status must be within 200-299 or 400-599, got 302"),
        ({"delay": -1}, "delay must be 0 to 86400 seconds, got -1"),
        ({"delay": float("nan")}, "delay must be 0 to 86400 seconds, got nan"),
        ({"chunk_delay": float("inf")}, "chunk_delay must be 0 to 86400 seconds, got inf"),
        ({"cut_after": -1}, "cut_after must be a whole number of chunks, 0 or more, got -1"),
        ({"fail_after": True}, "fail_after must be a whole number of chunks, 0 or more, got True"),
        ({"cut_after": 1, "stall_after": 2}, "breaks in one way only, got cut_after and stall_after"),
        ({"error": "slow down"}, "needs a status of 400 or above, or fail_after: status is 200"),
        ({"usage": False, "usage_body": {}}, "there is no place for usage_body"),
        ({"usage_body": {"input_tokens": object()}}, "usage_body must be an object of plain JSON data"),
        ({"headers": {"retry-after": "1\r\nx: y"}}, "header 'retry-after' must be one line of ASCII text"),
        ({"headers": {"x-city": "東京"}}, "header 'x-city' must be one line of ASCII text"),
        (
            {"tool_use_tokens": 11},
            "tool_use_tokens must be part of the 10 input tokens beside the cache, got 11",
        ),
        ({"tool_use_tokens": -1}, "beside the cache, got -1"),
        (
            {"tool_use_tokens": 3, "cache_read_tokens": 8},
            "part of the 2 input tokens beside the cache, got 3",
        ),
        ({"text": 5}, "text must be a str or a list of str, got 5"),
        ({"text": ["a", 5]}, "text must be a str or a list of str"),
        ({"tool_calls": ToolCall("search")}, "tool_calls must be a list of ToolCall"),
        ({"tool_calls": [{"name": "search"}]}, "tool_calls must be a list of ToolCall"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_wrong(settings, says):
    with pytest.raises(ConfigError) as refused:
        Reply(**settings)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "tokens",
    [
        {"input_tokens": -1},
        {"output_tokens": 1.5},
        {"input_tokens": 100, "cache_read_tokens": 80, "cache_write_tokens": 30},
        {"output_tokens": 5, "reasoning_tokens": 6},
    ],
)
def test_tokens_that_cannot_be_are_refused(tokens):
    with pytest.raises(InvalidUsage):
        Reply(**tokens)


def test_a_tool_call_needs_a_name_and_arguments_of_json():
    with pytest.raises(ConfigError, match="needs the name of a tool"):
        ToolCall("")
    for arguments in ({"query": object()}, {"query": float("nan")}, ["query"], "query"):
        with pytest.raises(ConfigError, match="arguments of 'search' must be an object of plain JSON data"):
            ToolCall("search", arguments)
