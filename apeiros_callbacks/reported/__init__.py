"""What a provider says about a call, in its own words: one function for each shape.

plain.py      plain data whose shape is another's to change
reading.py    a report as numbers: what is certain of it, and what cannot be
bodies.py     the providers' own bodies
cost.py       what a provider itself says the call cost
"""

from apeiros_callbacks.reported.bodies import read_body
from apeiros_callbacks.reported.cost import reported_cost
from apeiros_callbacks.reported.reading import Reading, reading

__all__ = ["Reading", "read_body", "reading", "reported_cost"]
