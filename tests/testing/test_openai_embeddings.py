"""OpenAI's embeddings API: LangChain's real client and OpenAI's own against the scripted server."""

import math

import pytest

from apeiros_callbacks.testing import Reply, ScriptedServer

openai = pytest.importorskip("openai")


def ask(server, **asked):
    with openai.OpenAI(base_url=server.openai_url, api_key="test", max_retries=0) as client:
        return client.embeddings.create(model="text-embedding-3-small", **asked)


@pytest.mark.parametrize("model", ["text-embedding-3-small", "text-embedding-3-large"])
def test_langchain(model):
    langchain_openai = pytest.importorskip("langchain_openai")
    with ScriptedServer(Reply(input_tokens=12)) as server:
        embeddings = langchain_openai.OpenAIEmbeddings(
            model=model,
            base_url=server.openai_url,
            api_key="test",
            max_retries=0,
            check_embedding_ctx_length=False,  # else it counts with a tokenizer that it downloads
        )
        vectors = embeddings.embed_documents(["Paris", "Rome", "Paris"])
        assert len(embeddings.embed_query("Oslo")) == len(vectors[0])
        [documents, _] = server.requests
    assert [len(vector) for vector in vectors] == [{"s": 1536, "l": 3072}[model[17]]] * 3
    assert vectors[0] == vectors[2] != vectors[1]
    assert (documents.api, documents.model, documents.stream) == ("openai-embeddings", model, False)


def test_the_usage_has_only_an_input():
    with ScriptedServer(Reply(input_tokens=12, model="text-embedding-3-small-001")) as server:
        answer = ask(server, input="hi")
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (12, 12)
    assert answer.model == "text-embedding-3-small-001"


def test_a_usage_can_be_left_out_or_mis_shaped():
    with ScriptedServer([Reply(usage=False), Reply(usage_body={"total_tokens": 3})]) as server:
        assert ask(server, input="hi").model_dump(exclude_unset=True).keys() == {"object", "data", "model"}
        assert ask(server, input="hi").usage.model_dump(exclude_unset=True) == {"total_tokens": 3}


@pytest.mark.parametrize(
    ("texts", "count"), [("hi", 1), (["a", "b"], 2), ([5, 6, 7], 1), ([[5, 6], [7]], 2), ([], 0)]
)
def test_every_input_gets_a_vector(texts, count):
    with ScriptedServer(Reply()) as server:
        answer = ask(server, input=texts, encoding_format="float")
    assert [item.index for item in answer.data] == list(range(count))


def test_both_encodings_hold_the_same_numbers():
    with ScriptedServer(Reply()) as server:
        [floats] = ask(server, input="hi", encoding_format="float", dimensions=64).data
        [unpacked] = ask(server, input="hi", dimensions=64).data
        assert server.requests[1].body["encoding_format"] == "base64", "the client's own choice"
    assert len(floats.embedding) == 64
    assert math.hypot(*floats.embedding) == pytest.approx(1)
    assert unpacked.embedding == pytest.approx(floats.embedding)


def test_errors():
    with (
        ScriptedServer(Reply(status=429, error="not today")) as server,
        pytest.raises(openai.RateLimitError, match="not today"),
    ):
        ask(server, input="hi")
