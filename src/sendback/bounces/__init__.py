"""Use case: when does an address that bounces become one not to mail any more.

rules     the thresholds, as data that the operator may replace while the node runs
counting  repeat bounce counting, shared by all nodes of one main database
recovery  undoing removals that a receiver's fault caused
"""

from sendback.bounces.counting import Counting
from sendback.bounces.recovery import Recovery
from sendback.bounces.rules import CountingRules, Rule, read_rules

__all__ = ["Counting", "CountingRules", "Recovery", "Rule", "read_rules"]
