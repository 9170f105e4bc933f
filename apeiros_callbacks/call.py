"""One call on its way: what is about to be sent, and the machine that closes it exactly once.

open ──▶ growing ──▶ closed          the end was seen: an answer, an error, a cut stream
  │         │
  │         └──────▶ provisional     the end was inferred, for instance from a cancelled task;
  │                                  a real end that comes later closes it with a correction
  └────────────────▶ unresolved      whether it was sent is not known; what it may cost counts,
                                     until a real end corrects it
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from apeiros_callbacks.entry import Entry, EntryKind
from apeiros_callbacks.usage import Usage

if TYPE_CHECKING:
    from apeiros_callbacks.estimate import Estimate
    from apeiros_callbacks.prices import Rates
    from apeiros_callbacks.routing import Rung
    from apeiros_callbacks.scopes import Account, Hold

__all__ = ["NO_PROMPT", "Call", "CallState", "Ending", "OpenCall", "Outcome", "Piece", "Prompt"]

CallState: TypeAlias = Literal["open", "growing", "closed", "provisional", "unresolved"]

Ending: TypeAlias = Literal["answered", "failed", "cut", "lost", "unsent"]
"""How a call ended.

``answered``: the provider answered. ``failed``: it answered with an error, or could not be reached;
nothing is billed. ``cut``: it was sent and its answer was not read to the end; what is known is
settled as estimated. ``lost``: it is over, and whether it was sent is not known; what it may have cost
counts, as unresolved. ``unsent``: nothing left this process.
"""


class Piece(NamedTuple):
    """One part of a prompt as the provider's tokenizer will see it, near enough to count."""

    text: str
    """All that is sent of it, for a bound; counted too, unless `read` is known."""
    more_tokens: int = 0
    """Tokens beside the text: of images, audio and files."""
    read: str | None = None
    """What the model reads in the place of `text`: schemas as its provider writes them, no ids."""
    added_tokens: int = 0
    """What the provider's template adds to this part, in an estimate; a bound has its own numbers."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is about to be sent, message by message, without a copy of it.

    `marks` holds one keyed hash a message (Python's string hash has a random key in each process), so
    that messages which were seen before are recognised and never counted again.
    """

    marks: tuple[int, ...]
    piece: Callable[[int], Piece]
    """Give the text of message i; called only for messages that must be counted."""
    has_tools: bool = False
    """The first piece is what the parameters add, tools mostly: providers add instructions of their own."""
    find_beyond: Callable[[], tuple[str, ...]] = tuple
    """Name what makes the provider read more than the pieces say, such as ``previous_response_id``; asked
    only where a bound is needed."""
    mark: int = field(init=False)
    """One hash of all marks: that of the whole prompt."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "mark", hash(self.marks))


NO_PROMPT = Prompt((), lambda _: Piece(""))
"""Of a tool, and of a call whose prompt is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that is about to be sent, in the core's words. Adapters make it."""

    id: str
    """The framework's run id."""
    provider: str
    model: str
    prompt: Prompt
    kind: EntryKind = "llm"
    agent: str | None = None
    thread: str | None = None
    """The conversation it belongs to, where the framework has one."""
    customer: str | None = None
    """Whom it is for."""
    root: str = ""
    """The run that the whole thing started with; a refusal is remembered for it."""
    step: int | None = None
    max_output_tokens: int | None = None
    """What the request declares, for one choice."""
    choices: int = 1
    """How many answers were asked for (OpenAI's ``n``)."""
    service_tier: str | None = None
    rung: Rung | None = None
    """Where on a ladder it is, when a router can send it elsewhere."""

    @property
    def most_output(self) -> int | None:
        """The most tokens that it may write, all choices together; None where nothing says."""
        if self.kind in {"embedding", "rerank"}:
            return 0
        return None if self.max_output_tokens is None else self.max_output_tokens * self.choices

    @property
    def lane(self) -> tuple[str | None, str | None, str]:
        """Calls of one lane follow each other in one conversation. An embedding is no step of it."""
        return (self.agent, self.thread, self.kind if self.kind in {"embedding", "rerank"} else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a call ended and what came of it. Adapters make it."""

    ending: Ending
    usage: Usage | None = None
    """What the provider reported; None when it reported nothing usable."""
    input_tokens: int | None = None
    """What it reported of the prompt, where the rest of `usage` is missing or cannot be."""
    output_tokens: int | None = None
    """The same of the answer."""
    cost: Decimal | None = None
    """US dollars that the provider itself reported for the call; they win over any price."""
    assumed: Rates | None = None
    """What it is charged at where the model has no price of its own, as ``assumed``."""
    charged_at: Rates | None = None
    """What it is charged at, whatever the model's price is."""
    lost: tuple[str, ...] = ()
    """What changes the price and did not reach us, such as ``cache_write_1h``: the client drops it."""
    model: str | None = None
    """The model that answered, where the answer says."""
    service_tier: str | None = None
    """The tier that answered, where the answer says."""
    speed: str | None = None
    """The speed that answered, where it is sold apart: Anthropic's ``fast``."""
    text: str | None = None
    """The answer, to be counted when no usage was reported. It is not kept."""
    cached: bool = False
    """The answer came from the framework's own cache."""
    provisional: bool = False
    """The end was inferred, not seen; a real end that comes later corrects it."""
    error: str | None = None
    """What ended it, when it was not an answer: the error's type and status, no more."""


class OpenCall:
    """The machine of one call. `Session` drives it; nothing else changes it."""

    __slots__ = (
        "accounts",
        "attempt",
        "call",
        "entry",
        "estimate",
        "held_output",
        "hold",
        "is_followed",
        "is_noted",
        "output_bytes",
        "output_counted",
        "output_pending",
        "rates",
        "routed_why",
        "started_at",
        "state",
    )

    def __init__(
        self,
        call: Call,
        attempt: int,
        hold: Hold,
        estimate: Estimate | None,
        rates: Rates | None,
        started_at: datetime,
        accounts: tuple[Account, ...] = (),
    ) -> None:
        self.call = call
        self.accounts = accounts
        """The scopes that it is charged to."""
        self.attempt = attempt
        self.rates = rates
        self.estimate = estimate
        self.hold = hold
        self.started_at = started_at
        self.state: CallState = "open"
        self.is_followed = False
        """A handler counts its answer as it comes; a second one of the same session must not."""
        self.routed_why = ""
        """Why a router took a cheaper model."""
        self.is_noted = False
        """That it passes a budget was noted while it was open."""
        self.entry: Entry | None = None
        """The line that closed it."""
        # Of a stream: text that arrived and was not counted yet, and the tokens counted before it.
        self.output_pending: list[str] = []
        self.output_bytes = 0
        self.output_counted = 0
        self.held_output = estimate.output_tokens if estimate is not None else 0

    @property
    def is_open(self) -> bool:
        """No line was written for it yet."""
        return self.state in {"open", "growing"}

    @property
    def has_streamed(self) -> bool:
        """Some of its answer came in pieces."""
        return bool(self.output_counted or self.output_pending)

    def take_text(self, text: str) -> None:
        """Note a piece of the answer that streamed in."""
        self.state = "growing"
        self.output_pending.append(text)
        self.output_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

    def count_output(self, count: Callable[[str], int]) -> int:
        """Output tokens so far; each piece of text is counted once."""
        if self.output_pending:
            self.output_counted += count("".join(self.output_pending))
            self.output_pending.clear()
            self.output_bytes = 0
        return self.output_counted

    def may_exceed_hold(self) -> bool:
        """Whether the output could be more than is held; a token is at least one byte."""
        return self.output_counted + self.output_bytes > self.held_output
