"""Sessions without handing a session around: start one, record calls into it, ask it, end it.

    import apeiros_callbacks as apeiros

    apeiros.instrument()
    apeiros.start_session(budget=0.50)  # US dollars
    ...
    result = apeiros.end_session()

What is given back is plain data that JSON takes; money is a float in it, in US dollars. The `Session` itself,
which `start_session` returns, has the exact amounts.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from decimal import Decimal
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Final, Literal
from weakref import WeakSet

from apeiros_callbacks.call import NO_PROMPT, Call, Outcome
from apeiros_callbacks.current import current_session, enter, leave, session_here
from apeiros_callbacks.detectors import Finding
from apeiros_callbacks.errors import ConfigError, InvalidUsage, LedgerError, NoSession
from apeiros_callbacks.money import Dollars, show_usd
from apeiros_callbacks.prices import Rates
from apeiros_callbacks.prices.names import canonical_provider
from apeiros_callbacks.reported import Reading, Response, read_response, reported_cost
from apeiros_callbacks.scopes import Budget
from apeiros_callbacks.session import Session
from apeiros_callbacks.usage import Usage

__all__ = ["end_session", "get_state", "instrument", "start_session", "uninstrument", "wrap"]

logger = logging.getLogger("apeiros_callbacks")

ADAPTERS: Final = "apeiros_callbacks.adapters"
"""The entry-point group in which adapters of frameworks are found."""

PER_MILLION: Final = Decimal(8)
"""US dollars per million tokens, read or written, of a call that names no model.

That is the mean of $3 a million read and $15 a million written, at 7 read to 5 written:
(7 x 3 + 5 x 15) / 12.
"""

_ASSUMED: Final = Rates(
    {"input": PER_MILLION, "output": PER_MILLION},
    certainty="assumed",
    source=f"assumed: ${PER_MILLION} per million tokens, since no model is named",
)
_FLUSH_SECONDS: Final = 5.0
# What the SDKs give for a stream: an iterator, or a context that gives one.
_STREAMS: Final = (Iterator, AsyncIterator, AbstractContextManager, AbstractAsyncContextManager)

_silent: WeakSet[Session] = WeakSet()
"""Sessions that were told to ignore a budget that is exceeded."""
_adapters: dict[str, ModuleType] = {}
_not_imported: set[str] = set()
_changing = threading.RLock()


# What is recorded by itself


def instrument() -> None:
    """Record the calls of every framework whose adapter is installed into the session that is current.

    A second call does nothing. Without an adapter nothing is recorded by itself; `wrap` records all the same.
    An adapter that cannot be imported is logged once.

    Example:
        >>> instrument()
        >>> uninstrument()
    """
    with _changing:
        for found in entry_points(group=ADAPTERS):
            if found.name not in _adapters:
                adapter = _imported(found)
                if adapter is not None and _call(adapter, "instrument"):
                    _adapters[found.name] = adapter


def uninstrument() -> None:
    """End what `instrument` began. Calls that are under way are recorded to their end."""
    with _changing:
        while _adapters:
            _, adapter = _adapters.popitem()
            _call(adapter, "uninstrument")


def _imported(found: EntryPoint) -> ModuleType | None:
    try:
        loaded: ModuleType = found.load()
    except Exception as why:  # noqa: BLE001 - another framework's adapter may be fine
        if found.name not in _not_imported:
            _not_imported.add(found.name)
            logger.warning("the adapter %s cannot be imported: %s: %s", found.value, type(why).__name__, why)
        return None
    return loaded


def _call(adapter: ModuleType, name: str) -> bool:
    """Call an adapter's function, where it has it. False when it failed."""
    function = getattr(adapter, name, None)
    if not callable(function):
        return True
    try:
        function()
    except Exception:
        logger.exception("%s.%s() failed", adapter.__name__, name)
        return False
    return True


# Sessions


def start_session(
    budget: Budget | Dollars | None = None,
    *,
    id: str | None = None,  # noqa: A002 - the word of the ledger
    on_exceeded: Literal["warn", "raise"] = "warn",
    **options: Any,
) -> Session:
    """Start a session and make it the current one of this thread or task, and of what they start.

    Within a session that was started here, the new one is a part of it: what it spends counts against both
    budgets, and it shares the ledger unless given one. Its prices are its own.

    Args:
        budget: US dollars, or a `Budget`; None records without a limit.
        id: a name of your own, which goes on where a session of that name stopped; a random one otherwise.
        on_exceeded: ``"warn"`` records every call and lists ``budget_exceeded`` among the warnings;
            ``"raise"`` also refuses, before it is sent, a call of an instrumented framework that is expected
            to pass the budget. Under ``"warn"`` a model of unknown price is recorded without an amount,
            unless ``unknown_price`` says otherwise. The cap of a customer refuses in either case.
        **options: more settings of `Session`, such as ``customer``, ``prices``, ``models``, ``ledger``,
            ``on``, ``strict``; ``parent=None`` for a session that is part of no other.

    Returns:
        The session.

    Raises:
        ConfigError: a setting is not valid.
        LedgerError: the ledger cannot be opened.

    Example:
        >>> session = start_session(budget=0.50)
        >>> get_state()["remaining"]
        0.5
        >>> end_session()["calls"]
        0
    """
    if on_exceeded not in {"warn", "raise"}:
        raise ConfigError(f'on_exceeded must be "warn" or "raise", got {on_exceeded!r}')
    parent: Session | None = options.setdefault("parent", session_here())
    if parent is not None and options.get("ledger") is None:
        options["ledger"] = parent.ledger
    if on_exceeded == "warn":
        options.setdefault("unknown_price", "allow")
    session = Session(budget, id=id, on_exceeded=on_exceeded, **options)
    actions: Mapping[str, str] = options.get("on") or {}
    if actions.get("budget_exceeded") == "ignore":
        _silent.add(session)
    enter(session)
    return session


def get_state() -> dict[str, Any]:
    """Where the current session stands.

    Returns:
        ``session_id``; ``total_cost``, ``budget`` and ``remaining`` in US dollars, the latter two None
        without a budget; ``calls``, ``tokens``; and ``warnings``, what the detectors found: each has a
        ``type``, such as ``"budget_exceeded"``, a ``severity``, a ``message`` and its numbers.

    Raises:
        NoSession: none is started.
    """
    return _state(_current())


def end_session(session: Session | None = None) -> dict[str, Any]:
    """End the current session; the one around it is the current one again.

    Waits up to 5 seconds until the entries are in the ledger, but not on an event loop. What is not written
    by then is written later, and logged here.

    Args:
        session: the one to end, where it is not the current one.

    Returns:
        What `get_state` gives.

    Raises:
        NoSession: none is started, or this one was ended before.
    """
    ending = _current() if session is None else session
    if not leave(ending):
        raise NoSession(f"session {ending.id} is not open: it was ended before, or never started")
    if not _on_event_loop():
        try:
            ending.flush(_FLUSH_SECONDS)
        except LedgerError as why:
            logger.warning("session %s has ended, and its ledger is behind: %s", ending.id, why)
    return _state(ending)


def _current() -> Session:
    session = current_session()
    if session is None:
        raise NoSession("no session is started here: call apeiros_callbacks.start_session(budget=…) first")
    return session


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _state(session: Session) -> dict[str, Any]:
    state: dict[str, Any] = session.state()
    over = _passed_by_parts(session)
    if over is not None and all(one["type"] != over.type for one in state["warnings"]):
        state["warnings"].append(over.as_dict())
    return state


def _passed_by_parts(session: Session) -> Finding | None:
    """That the budget is passed; the session's own detectors do not see the calls of sessions within it."""
    left = session.remaining
    if left is None or left >= 0 or session in _silent:
        return None
    return Finding(
        type="budget_exceeded",
        severity="critical",
        message=f"{show_usd(session.spent)} spent of a budget of {show_usd(session.spent + left)} "
        f"for session {session.id}.",
        numbers={"spent": str(session.spent), "budget": str(session.spent + left)},
        wasted=-left,
    )


# Calls that no adapter sees


def wrap(
    response: object,
    *,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    model: str | None = None,
    provider: str | None = None,
    agent: str | None = None,
) -> dict[str, Any]:
    """Record a call that was made with a provider's own client into the current session.

    The response says its usage, its model and its service tier. A call that names no model is charged $8 per
    million tokens, and marked ``assumed``: $3 and $15 for 7 tokens read to 5 written. A response that does
    not say its usage is recorded too, as ``estimated`` where its prompt's tokens are known and its text can
    be counted, else as ``unresolved``; `Session.health` counts both. No budget refuses it, because the money
    is spent.

    Args:
        response: what OpenAI's (chat completions, responses), Anthropic's or Google's client returned, or
            the same as plain data; None to give the tokens yourself.
        input_tokens: tokens read, those from a cache included. It wins over the response.
        output_tokens: tokens written, reasoning included. It wins over the response.
        model: the model that was asked for, where the response does not say it or has another name for it.
        provider: who answered, such as ``"azure"`` or ``"openrouter"``, where one model has several sellers.
        agent: who asked.

    Returns:
        What `get_state` gives, and ``cost``: US dollars of this call, None when its price is not known.

    Raises:
        NoSession: none is started.
        InvalidUsage: the tokens cannot be, there is neither a response nor tokens, or the response is a
            stream or was not awaited.

    Example:
        >>> session = start_session(budget=0.01)
        >>> result = wrap(None, input_tokens=1200, output_tokens=380)
        >>> result["cost"], [warning["type"] for warning in result["warnings"]]
        (0.01264, ['budget_exceeded'])
        >>> result = end_session()
    """
    session = _current()
    names: dict[str, object] = {"model": model, "provider": provider, "agent": agent}
    for name, given in names.items():
        if given is not None and not isinstance(given, str):
            raise InvalidUsage(f"{name} must be a text, got {given!r}")
    # Before anything is recorded: counts that cannot be are the caller's mistake.
    given_usage = Usage(
        input_tokens=0 if input_tokens is None else input_tokens,
        output_tokens=0 if output_tokens is None else output_tokens,
    )
    if response is not None:
        read = _read(session, response, model or "")
    elif input_tokens is None and output_tokens is None:
        raise InvalidUsage("wrap(None) needs the tokens: wrap(None, input_tokens=1200, output_tokens=380)")
    else:
        read = Response(Reading(given_usage, given_usage.input_tokens, given_usage.output_tokens))
    call = Call(
        id=uuid.uuid4().hex,
        provider=provider or read.provider,
        model=model or read.model,
        prompt=NO_PROMPT,
        agent=agent,
    )
    entry = session.record(call, _outcome(call, read, input_tokens, output_tokens))
    amount = None if entry is None else entry.amount
    return {**_state(session), "cost": None if amount is None else float(amount)}


def _read(session: Session, response: object, model: str) -> Response:
    kind = type(response).__name__
    if isinstance(response, Awaitable):
        raise InvalidUsage(f"wrap() needs the response, got a {kind}: await it first")
    try:
        read = read_response(response, model=model)
    except Exception as bug:  # noqa: BLE001 - the call was made: it is recorded, as unresolved
        session.went_wrong("reading a response", bug)
        read = Response()
    if isinstance(response, _STREAMS) and not read.body:
        raise InvalidUsage(
            f"wrap() needs a whole response, got a stream ({kind}): read it to its end, "
            "and give what it reports then: wrap(None, input_tokens=…, output_tokens=…, model=…)"
        )
    return read


def _outcome(call: Call, read: Response, input_tokens: int | None, output_tokens: int | None) -> Outcome:
    """What is known of a call, the tokens that are given before those that were read."""
    reported = read.reading
    read_tokens = reported.input_tokens if input_tokens is None else input_tokens
    written = reported.output_tokens if output_tokens is None else output_tokens
    usage = reported.usage
    if (read_tokens, written) != (reported.input_tokens, reported.output_tokens):
        is_known = usage is not None or (input_tokens is not None and output_tokens is not None)
        usage = Usage(input_tokens=read_tokens or 0, output_tokens=written or 0) if is_known else None
    is_countable = read_tokens is not None and (written is not None or bool(read.text))
    return Outcome(
        ending="answered" if usage is not None or is_countable else "lost",
        usage=usage,
        input_tokens=read_tokens,
        output_tokens=written,
        cost=reported_cost(canonical_provider(call.provider), read.whole, read.body),
        assumed=None if call.model else _ASSUMED,
        model=read.model or None,
        service_tier=read.service_tier,
        speed=read.speed,
        text=read.text or None,
    )
