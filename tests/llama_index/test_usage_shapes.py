"""What each provider's integration leaves of a report of usage, streamed and not.

The shapes were read in the integrations' own code; OpenAI's and Anthropic's clients run in the other tests.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ImageBlock,
    LLMMetadata,
    TextBlock,
)
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback

from apeiros_callbacks import Entry, Price
from llama_index.callbacks.apeiros import ApeirosHandler
from tests.llama_index.ways import messages

PRICES = {"*": Price(input=1, output=1)}


def reply(raw: Any = None, message: dict[str, Any] | None = None, **additional: Any) -> ChatResponse:
    said = ChatMessage(role="assistant", content="one two", additional_kwargs=message or {})
    return ChatResponse(message=said, raw=raw, delta="one two", additional_kwargs=additional)


class Answers(CustomLLM):
    """Answers with what an integration would have made of its provider's answer."""

    answers: list[Any]

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="some-model")

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return self.answers[-1]  # type: ignore[no-any-return]

    @llm_chat_callback()
    def stream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> Generator[ChatResponse, None, None]:
        def gen() -> Generator[ChatResponse, None, None]:
            yield from self.answers

        return gen()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        raise NotImplementedError

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Generator[CompletionResponse, None, None]:
        raise NotImplementedError


def entry_of(*answers: ChatResponse, streams: bool = False) -> Entry:
    with ApeirosHandler(prices=PRICES) as handler:
        model = Answers(answers=list(answers))
        if streams:
            list(model.stream_chat(messages()))
        else:
            model.chat(messages())
    assert handler.session.health.failures == 0
    (entry,) = handler.session.entries()
    return entry


def ns(**parts: Any) -> SimpleNamespace:
    return SimpleNamespace(**parts)


OPENAI = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 64},
    "completion_tokens_details": {"reasoning_tokens": 8},
}
RESPONSES = {"input_tokens": 100, "output_tokens": 20, "input_tokens_details": {"cached_tokens": 64}}
ANTHROPIC = {"input_tokens": 36, "output_tokens": 20, "cache_read_input_tokens": 64}
GOOGLE = {
    "prompt_token_count": 100,
    "candidates_token_count": 12,
    "thoughts_token_count": 8,
    "cached_content_token_count": 64,
}
BEDROCK = {"inputTokens": 36, "outputTokens": 20, "totalTokens": 120, "cacheReadInputTokens": 64}
PLAIN = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}

SHAPES = {
    "OpenAI": reply(ns(model="gpt-4o", usage=OPENAI)),
    "OpenAI responses": reply(ns(usage=RESPONSES)),
    "OpenAI responses, streamed": reply(ns(response=ns(usage=RESPONSES, model="gpt-4o"))),
    "Anthropic": reply({"usage": ns(model_dump=lambda **_: ANTHROPIC)}),
    "Google genai": reply({"usage_metadata": GOOGLE}, completion_tokens=12, prompt_tokens=100),
    "Google, whole": reply({"_raw_response": ns(usage_metadata=GOOGLE)}),
    "Bedrock": reply({"usage": BEDROCK}),
    "Bedrock, streamed": reply({"metadata": {"usage": BEDROCK}}),
    "additional usage": reply(None, usage=RESPONSES),
}
SHORT = {
    "Mistral": reply({"usage": ns(model_dump=lambda **_: PLAIN)}),
    "Mistral, streamed": reply(ns(data=ns(usage=ns(model_dump=lambda **_: PLAIN)))),
    "Ollama": reply({"usage": PLAIN, "message": {}}),
    "Groq, streamed": reply(ns(usage=None, x_groq={"usage": PLAIN})),
    "LiteLLM": reply(ns(), **PLAIN),
    "of the message": reply({}, message={"usage": {"input_tokens": 100, "output_tokens": 20}}),
}


@pytest.mark.parametrize("streams", [False, True], ids=["", "streamed"])
@pytest.mark.parametrize("shape", [*SHAPES, *SHORT])
def test_a_report_is_read_wherever_it_is(shape: str, streams: bool) -> None:
    entry = entry_of({**SHAPES, **SHORT}[shape], streams=streams)
    assert entry.usage_certainty == "reported"
    assert (entry.usage.input_tokens, entry.usage.output_tokens) == (100, 20)
    assert entry.usage.cache_read_tokens == (64 if shape in SHAPES else 0)
    if "Google" in shape or shape == "OpenAI":
        assert entry.usage.reasoning_tokens == 8


@pytest.mark.parametrize("streams", [False, True], ids=["", "streamed"])
def test_zeros_are_no_report(streams: bool) -> None:
    entry = entry_of(reply(ns(), prompt_tokens=0, completion_tokens=0, total_tokens=0), streams=streams)
    assert (entry.usage_certainty, entry.usage.output_tokens) == ("estimated", 2)
    assert entry.usage.input_tokens > 0


def test_a_report_in_the_middle_of_a_stream_counts_where_the_end_has_none() -> None:
    entry = entry_of(reply(ns(usage=None)), reply(ns(usage=PLAIN)), reply(ns(usage=None)), streams=True)
    assert (entry.usage_certainty, entry.usage.total_tokens) == ("reported", 120)


def test_the_model_that_answered_is_the_one_that_is_recorded() -> None:
    entry = entry_of(reply(ns(model="gpt-4o-2024-08-06", usage=PLAIN)))
    assert (entry.model, entry.requested_model) == ("gpt-4o-2024-08-06", "some-model")


def test_a_picture_is_estimated_by_its_size_and_not_by_its_text() -> None:
    png = (
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
        + (1024).to_bytes(4, "big") * 2
        + b"\x08\x02\x00\x00\x00"
        + b"0" * 200_000
    )
    asked = ChatMessage(role="user", blocks=[TextBlock(text="What is it?"), ImageBlock(image=png)])
    with ApeirosHandler(budget=1_000, prices=PRICES) as handler:
        Answers(answers=[reply()]).chat([asked])
    (entry,) = handler.session.entries()
    assert 500 < entry.usage.input_tokens < 3_000
