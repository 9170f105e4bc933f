"""What a provider says about a call, in its own words: one function for each shape.

plain.py      plain data whose shape is another's to change
reading.py    a report as numbers: what is certain of it, and what cannot be
bodies.py     the providers' own bodies
cost.py       what a provider itself says the call cost
failure.py    what an error says of the call that it ended
responses.py  a whole response of a provider's own client
"""

from apeiros_callbacks.reported.bodies import read_body
from apeiros_callbacks.reported.cost import reported_cost
from apeiros_callbacks.reported.reading import Reading, reading
from apeiros_callbacks.reported.responses import Response, read_response, read_usage

__all__ = ["Reading", "Response", "read_body", "read_response", "read_usage", "reading", "reported_cost"]
