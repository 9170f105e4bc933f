"""The LlamaIndex side of Apeiros Callbacks. Its handler is not written yet."""

from typing import NoReturn

__all__: list[str] = []


def __getattr__(name: str) -> NoReturn:
    if name == "ApeirosHandler":
        raise ImportError(
            "there is no ApeirosHandler for LlamaIndex yet; for LangChain there is langchain_apeiros"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
