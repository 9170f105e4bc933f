"""Names: what frameworks call a provider, a model and a service tier, in the words of the price data.

LangChain reports ``ls_provider``, LlamaIndex a class or module name, and both a model's name as it was
typed; the same provider comes as ``azure``, ``azure_openai`` or ``AzureOpenAI``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

__all__ = [
    "Context", "canonical_provider", "is_local", "known_provider", "named_provider", "price_context", "split",
    "squeeze", "tidy",
]  # fmt: skip

Context = tuple[tuple[str, str], ...]
"""What changes a price beside the model and the time, such as ``(("service_tier", "flex"),)``."""

# A Bedrock ARN has about 150 characters; nothing that is a name has more than this.
_LONGEST = 512

# Spellings, squeezed to letters and digits, of the providers in the price data. Those the data knows by
# the same letters are listed too, so that "mistral:x" is known to name a provider without loading it.
_SPELLINGS: Final = {
    "anthropic": "anthropic claude",
    "arcee": "arcee",
    "avian": "avian",
    "aws": "aws amazon awsbedrock bedrock amazonbedrock bedrockconverse amazonbedrockconverse "
    "anthropicbedrock bedrockanthropic",
    "azure": "azure azureopenai azurechatopenai azureaiopenai azureai azureaichatcompletionsmodel "
    "azureaiinference azureinference",
    "baseten": "baseten",
    "cerebras": "cerebras",
    "cloudflare": "cloudflare cloudflareworkersai workersai",
    "cohere": "cohere coherechat",
    "cursor": "cursor",
    "databricks": "databricks",
    "deepseek": "deepseek",
    "doubleword": "doubleword",
    "elevenlabs": "elevenlabs",
    "fireworks": "fireworks fireworksai",
    "github-copilot": "githubcopilot",
    "google": "google googlegenai googlegenerativeai googlegenai genai gemini googlevertexai googlevertex "
    "vertex vertexai anthropicvertex googleanthropicvertex vertexaianthropic",
    "groq": "groq",
    "huggingface_cerebras": "huggingfacecerebras",
    "huggingface_fireworks-ai": "huggingfacefireworksai",
    "huggingface_groq": "huggingfacegroq",
    "huggingface_hyperbolic": "huggingfacehyperbolic",
    "huggingface_nebius": "huggingfacenebius",
    "huggingface_novita": "huggingfacenovita",
    "huggingface_nscale": "huggingfacenscale",
    "huggingface_ovhcloud": "huggingfaceovhcloud",
    "huggingface_publicai": "huggingfacepublicai",
    "huggingface_sambanova": "huggingfacesambanova",
    "huggingface_together": "huggingfacetogether",
    "litellm": "litellm litellmrouter litellmproxy",
    "meta": "meta",
    "minimax": "minimax",
    "mistral": "mistral mistralai",
    "modal": "modal",
    "moonshotai": "moonshot moonshotai",
    "novita": "novita novitaai",
    "openai": "openai openaichat openairesponses textcompletionopenai",
    "openai-decisions": "openaidecisions",
    "openrouter": "openrouter",
    "ovhcloud": "ovhcloud",
    "perplexity": "perplexity perplexityai",
    "quicksilverpro": "quicksilverpro",
    "together": "together togetherai",
    "typesafe": "typesafe typesafeai",
    "voyageai": "voyage voyageai",
    "x-ai": "xai",
    "zai": "zai",
    "zhipuai": "zhipuai zhipu",
}
_PROVIDERS: Final = {spelling: name for name, line in _SPELLINGS.items() for spelling in line.split()}

# Models that run on the caller's own machine. A bare "huggingface" is not here: it may be a paid endpoint.
_ON_THIS_MACHINE = """
    ollama llamacpp llamacppserver llamafile lmstudio gpt4all gpt4allllm mlx mlxpipeline mlxllm ctransformers
    exllamav2 transformers openvino openvinollm huggingfacepipeline huggingfacelocal huggingfacellm
    huggingfaceembedding huggingfaceembeddings sentencetransformer sentencetransformers fastembed
"""
_LOCAL: Final = frozenset(_ON_THIS_MACHINE.split())

_RESOURCE = re.compile(r"^(?:projects/[^/]+/locations/[^/]+/)?(?:publishers/[^/]+/)?models/")
_BEDROCK_ARN = re.compile(
    r"^arn:[^:]*:bedrock:[^:]*:[^:]*:(?:inference-profile|foundation-model)/(.+)$", re.IGNORECASE
)
_BEDROCK_ROUTE = re.compile(r"^(?:converse|converse_like|invoke)/")

_STANDARD: Final = frozenset({"", "default", "standard", "standard_only", "auto", "on_demand", "unspecified"})


def tidy(name: object) -> str | None:
    """The name without space around it; None when it cannot be a name."""
    if not isinstance(name, str) or len(name) > _LONGEST:
        return None
    name = name.strip()
    return name if name.isprintable() else None


def squeeze(name: str) -> str:
    """Letters and digits only, in lower case: ``Azure OpenAI`` and ``azure_openai`` are the same."""
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def known_provider(name: str) -> str | None:
    """The provider's name in the price data, None when the data has no such provider.

    ``litellm`` is known too: it stands for whatever provider the model's name begins with.
    """
    squeezed = squeeze(name)
    return _PROVIDERS.get(squeezed) or _PROVIDERS.get(_without_kind(squeezed))


@lru_cache(maxsize=256)
def canonical_provider(name: str) -> str:
    """The provider's name in the price data, or the name as given, in lower case."""
    return known_provider(name) or name.lower()


def is_local(provider: str, model: str) -> bool:
    """Whether the model runs on the caller's own machine, so that no one sends a bill.

    Ollama also serves models from its own cloud, under tags that end in ``cloud``; those are not local.
    """
    squeezed = squeeze(provider)
    if squeezed not in _LOCAL and _without_kind(squeezed) not in _LOCAL:
        return False
    return not model.lower().endswith(("-cloud", ":cloud"))


def split(provider: str, model: str) -> tuple[str, str]:
    """Provider and model in the words of the price data, where a framework put more into either.

    ``models/gemini-2.5-flash`` is stripped, a Bedrock ARN gives the profile's or the model's id, and
    without a provider, or with LiteLLM, ``openai/gpt-4o`` and ``openai:gpt-4o`` name theirs.
    """
    provider = canonical_provider(provider)
    if provider in {"", "litellm"}:
        provider, model = named_provider(model) or (provider, model)
    model = _RESOURCE.sub("", model)
    if arn := _BEDROCK_ARN.match(model):
        provider, model = provider or "aws", arn[1]
    if provider == "aws":
        model = _BEDROCK_ROUTE.sub("", model)
    return provider, model


def price_context(context: Mapping[str, str] | None) -> Context:
    """What was asked for beyond the standard price, in the price data's words.

    The standard tier, by whichever of its names, is no context. Providers that name a batch or Vertex's
    traffic in the place of a tier are put right.
    """
    asked: set[tuple[str, str]] = set()
    for raw_key, raw_value in (context or {}).items():
        key, value = str(raw_key).strip().lower(), str(raw_value or "").strip().lower()
        value = value.removeprefix("on_demand_") or value
        if value in _STANDARD:
            continue
        asked.add(("processing", "batch") if (key, value) == ("service_tier", "batch") else (key, value))
    return tuple(sorted(asked))


def named_provider(name: str, marks: str = "/:") -> tuple[str, str] | None:
    """The provider that ``openai/gpt-4o`` or ``openai:gpt-4o`` begins with, and the model after it.

    None when what it begins with is no provider: ``ft:gpt-4o:org::id``, ``meta-llama/Llama-3.3-70B``.
    """
    for mark in marks:
        head, _, rest = name.partition(mark)
        if rest and (provider := known_provider(head) or (head.lower() if is_local(head, rest) else None)):
            return provider, rest
    return None


def _without_kind(squeezed: str) -> str:
    """``chatopenai``, ``openaillm`` and ``openaiembeddings`` are all OpenAI."""
    name = squeezed.removeprefix("chat")
    for kind in ("embeddings", "embedding", "multimodalllm", "llm", "chat", "rerank"):
        if name.endswith(kind) and name != kind:
            return name.removesuffix(kind)
    return name
