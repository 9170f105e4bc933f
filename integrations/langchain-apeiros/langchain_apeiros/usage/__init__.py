"""What an answer says about its usage, for every shape in which a provider or its client says it.

    reading.py     a report as numbers: what is certain of it, and what cannot be
    bodies.py      the providers' own bodies, one function each
    metadata.py    LangChain's ``usage_metadata``
    streamed.py    usage that comes chunk by chunk
    searches.py    searches that are billed apart
    cost.py        what a provider itself says the call cost
    sent.py        what was sent, as far as it says what an answer leaves out
    outcome.py     all of it: from LangChain's end of a call to the core's `Outcome`

A client hands on the provider's own body, or its own reading of it, or neither. The body wins, because the
readings drop what they have no word for.
"""

from langchain_apeiros.usage.outcome import read_cut, read_decision, read_outcome
from langchain_apeiros.usage.sent import Sent

__all__ = ["Sent", "read_cut", "read_decision", "read_outcome"]
