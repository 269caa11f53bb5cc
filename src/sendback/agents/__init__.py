"""Who visited: a person, a proxy, a prefetch or a scanner; with reasons, never on the hot path.

rules.py     what is known of user agents and networks, read from TOML texts
classify.py  one observation and the rules in, one verdict out

Pure: the same observation gives the same verdict, so labels can be made again later.
"""

from sendback.agents.classify import Observation, OtherVisit, Verdict, classify
from sendback.agents.rules import Rules, load_rules

__all__ = ["Observation", "OtherVisit", "Rules", "Verdict", "classify", "load_rules"]
