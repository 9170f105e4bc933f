"""A ladder of chat models that behaves as one: the dear one while there is money, then a cheaper one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable

from apeiros_callbacks.checked import instance
from apeiros_callbacks.errors import ConfigError, ModelDowngrade
from apeiros_callbacks.reported.plain import mapping
from apeiros_callbacks.routing import Ladder, Rung, RungModel
from langchain_apeiros.endpoints import at_address
from langchain_apeiros.handler import ApeirosHandler
from langchain_apeiros.rungs import rung_metadata

__all__ = ["chat_model", "marked", "rung_models", "takes_tools", "with_downgrade"]


def with_downgrade(
    model: BaseChatModel | str,
    cheaper: Sequence[BaseChatModel | str],
    handler: ApeirosHandler,
    *,
    at: Sequence[float] | None = None,
) -> Runnable[LanguageModelInput, AIMessage]:
    """Take a cheaper model once some of the budget is spent, or where the dear one does not fit into it.

    What it gives takes the place of the model in any chain: streams, batches, ``bind_tools`` and
    ``with_structured_output`` work, each on the model that is taken. A step down is on the entry of the call:
    `Entry.routed_from`, `Entry.routed_to`, `Entry.routed_why`. The cheapest model is held to the budget.

    Args:
        model: the dear one: a chat model, or ``"provider:name"`` for ``init_chat_model`` of ``langchain``.
        cheaper: the others, the cheapest last.
        handler: whose budget it is. It is attached to the models; it may be in the run's callbacks as well.
        at: the shares of the tightest budget at which to step down; see `Ladder`.

    Raises:
        ConfigError: something is not a chat model, or the shares do not fit the models.

    Example:
        >>> model = with_downgrade(dear, [cheap], handler, at=[0.8])    # doctest: +SKIP
        >>> agent = prompt | model.bind_tools([search])                 # doctest: +SKIP
    """
    dear, *others = rung_models(Ladder(model, *cheaper, at=at), handler)
    return dear.with_fallbacks(others, exceptions_to_handle=(ModelDowngrade,))


def rung_models(ladder: Ladder[Any], handler: ApeirosHandler) -> list[BaseChatModel]:
    """A copy of each model of a ladder that knows its rung and reports to a handler."""
    instance(handler, ApeirosHandler, "handler")
    models = [chat_model(model) for model in ladder.models]
    known = [_known(model) for model in models]
    return [
        marked(
            model,
            handler,
            rung_metadata(
                Rung(
                    ladder.at,
                    place,
                    preferred=known[0].model,
                    below=tuple(known[place + 1 :]),
                    takes_tools=known[place].takes_tools,
                )
            ),
        )
        for place, model in enumerate(models)
    ]


def takes_tools(model: BaseChatModel) -> bool:
    """Whether a model can call tools, as far as it says: by its class and its profile."""
    profile = mapping(getattr(model, "profile", None))
    return type(model).bind_tools is not BaseChatModel.bind_tools and profile.get("tool_calling") is not False


def chat_model(model: object) -> BaseChatModel:
    """A chat model as a person may name it."""
    if isinstance(model, BaseChatModel):
        return model
    if isinstance(model, str):
        try:
            from langchain.chat_models import init_chat_model
        except ModuleNotFoundError:
            raise ConfigError(
                f"{model!r} names a model, for which langchain is needed: pip install langchain. "
                "Or pass a chat model."
            ) from None
        return init_chat_model(model)
    raise ConfigError(
        f"a ladder is made of chat models, got {type(model).__name__}; bind tools, options and alternatives "
        "to the ladder, not to its models"
    )


def marked(model: BaseChatModel, handler: ApeirosHandler, metadata: Mapping[str, object]) -> BaseChatModel:
    """A copy of a model with a handler and more metadata of its own."""
    own: Any = model.callbacks
    callbacks: Any
    if own is None:
        callbacks = [handler]
    elif isinstance(own, list):
        callbacks = own if handler in own else [*own, handler]  # pyright: ignore[reportUnknownVariableType]
    else:
        callbacks = own.copy()
        callbacks.add_handler(handler)
    known = {**(model.metadata or {}), **metadata}
    return model.model_copy(update={"callbacks": callbacks, "metadata": known})


def _known(model: BaseChatModel) -> RungModel:
    params = mapping(model._get_ls_params())  # pyright: ignore[reportPrivateUsage]
    name = str(params.get("ls_model_name") or type(model).__name__)
    provider = at_address(params, {"kwargs": vars(model)}, {}).get("ls_provider")
    return RungModel(str(provider or ""), name, takes_tools(model))
