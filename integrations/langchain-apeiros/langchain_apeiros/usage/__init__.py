"""What an answer says about its usage, for every shape in which a provider or its client says it.

    metadata.py    LangChain's ``usage_metadata``
    streamed.py    usage that comes chunk by chunk
    searches.py    searches that are billed apart
    sent.py        what was sent, as far as it says what an answer leaves out
    outcome.py     all of it: from LangChain's end of a call to the core's `Outcome`

The providers' own bodies are read in the core, by `apeiros_callbacks.reported`. A client hands on the body,
or its own reading of it, or neither. The body wins, because the readings drop what they have no word for.
"""

from langchain_apeiros.usage.outcome import read_cut, read_decision, read_outcome, with_report_of
from langchain_apeiros.usage.sent import Sent

__all__ = ["Sent", "read_cut", "read_decision", "read_outcome", "with_report_of"]
