"""From the start of a run to a `Call` of the core: who makes it, whom it goes to, what it sends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID, uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from apeiros_callbacks import Session
from apeiros_callbacks.call import Call, OpenCall, Prompt
from apeiros_callbacks.caps import checked_customer
from apeiros_callbacks.errors import UnknownCustomer
from apeiros_callbacks.reported.plain import count, mapping, text
from langchain_apeiros.endpoints import at_address
from langchain_apeiros.prompts import chat_prompt, text_prompt
from langchain_apeiros.rungs import rung_of
from langchain_apeiros.runs import Runs, agent_of

__all__ = ["Customer", "Starts"]

logger = logging.getLogger("apeiros_callbacks")

Customer: TypeAlias = str | Callable[[Mapping[str, Any]], str | None] | None
"""Whom calls are for: a name, a function of the run's metadata, or nobody in particular."""


class Starts:
    """Describes what is about to be sent.

    Args:
        runs: what is known of the runs around it.
        customer: whom it is for.
    """

    def __init__(self, runs: Runs, customer: Customer) -> None:
        self._runs = runs
        if customer is not None and not callable(customer):
            checked_customer(customer)
        self._customer = customer

    def call(
        self,
        run_id: UUID,
        parent: UUID | None,
        metadata: Mapping[str, Any],
        params: Mapping[str, Any],
        prompt: Callable[[str, str], Prompt],
        session: Session,
    ) -> Call:
        """The call that a run of a model starts with.

        Raises:
            UnknownCustomer: the customer's function gives none, or failed.
            GateFailed: the prompt cannot be read, and a budget is set.
        """
        call_id, provider, model = str(run_id), _provider_of(metadata), _model_of(metadata, params)
        try:
            sent = prompt(provider, model)
        except Exception as bug:  # noqa: BLE001 - a shape of message that we cannot read
            session.gate_failed(bug)
            sent = text_prompt("")
        return Call(
            id=call_id,
            provider=provider,
            model=model,
            prompt=sent,
            agent=agent_of(metadata, self._runs.graph(parent)),
            thread=_thread(metadata),
            customer=self._customer_of(metadata, session),
            root=self._runs.root(parent) or call_id,
            step=count(metadata.get("langgraph_step")),
            max_output_tokens=_max_output(metadata, params),
            choices=_positive(params.get("n")) or 1,
            service_tier=text(params.get("service_tier")),
            rung=rung_of(metadata),
        )

    def open_tool(
        self, run_id: UUID, parent: UUID | None, name: str, metadata: Mapping[str, Any], session: Session
    ) -> OpenCall:
        """Open the call of a run of a tool.

        Raises:
            BudgetExceeded: the tool has a price, and it is expected to pass the budget.
            UnknownCustomer: the customer's function gives none, or failed.
        """
        return session.open_tool(
            str(run_id),
            name,
            agent=agent_of(metadata, self._runs.graph(parent)),
            thread=_thread(metadata),
            customer=self._customer_of(metadata, session),
            root=self._runs.started(run_id, parent),
            step=count(metadata.get("langgraph_step")),
        )

    def of_model(
        self,
        model: BaseChatModel,
        messages: Sequence[BaseMessage],
        metadata: Mapping[str, Any],
        bound: Mapping[str, Any],
        session: Session,
    ) -> Call:
        """The call that a model would start with, if it were sent some messages now."""
        asked = mapping(model._get_ls_params(**bound))  # pyright: ignore[reportPrivateUsage]
        known = at_address({**metadata, **asked}, None, bound)
        declared = mapping(model._get_invocation_params())  # pyright: ignore[reportPrivateUsage]
        params = {**declared, **bound}
        return self.call(uuid4(), None, known, params, partial(chat_prompt, messages, params), session)

    def _customer_of(self, metadata: Mapping[str, Any], session: Session) -> str | None:
        if self._customer is None or isinstance(self._customer, str):
            return self._customer
        try:
            name = self._customer(metadata)
            why = "" if isinstance(name, str) and name else f"gave {name!r}"
        except Exception as bug:  # noqa: BLE001 - a function of the user's
            name, why = None, f"failed with {type(bug).__name__}: {bug}"
        if not why:
            return name
        refusal = UnknownCustomer(why)
        if session.enforces:
            raise refusal
        refusal.was_sent = True
        logger.warning("not enforced: %s", refusal)
        return None


def _provider_of(metadata: Mapping[str, Any]) -> str:
    """Whom a run goes to, in LangChain's word; empty where it does not say."""
    return str(metadata.get("ls_provider") or "")


def _model_of(metadata: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """The model that a run asks for."""
    for name in (metadata.get("ls_model_name"), params.get("model"), params.get("model_name")):
        if isinstance(name, str) and name:
            return name
    return "unknown"


def _thread(metadata: Mapping[str, Any]) -> str | None:
    thread = metadata.get("thread_id")
    return None if thread is None else str(thread)


_MAX_OUTPUT = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")


def _max_output(metadata: Mapping[str, Any], params: Mapping[str, Any]) -> int | None:
    for name in _MAX_OUTPUT:
        if name in params and (most := _positive(params[name])) is not None:
            return most
    return _positive(metadata.get("ls_max_tokens"))


def _positive(value: object) -> int | None:
    number = count(value)
    return number if number is not None and number > 0 else None
