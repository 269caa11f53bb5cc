"""Use case: message and recipient in, tagged message and return path out.

    prepared = tagging.prepare(message, mail_from="news@example.com")   # parsed once
    tagged = prepared.for_recipient("ada@example.net")                  # once a recipient

choices   what headers, mail class and catalog decide for one message
grouping  the SendID of seed 004's Statistic Report Grouping
top_block the header fields that are written
tagging   the use case; mail always goes out, whatever fails
stream    the same as lines of JSON, for `sendback rewrite --jsonl -`
"""

from sendback.tagging.stream import bounded_lines, rewrite_lines
from sendback.tagging.tagging import Prepared, TaggedLink, TaggedMessage, Tagging

__all__ = ["Prepared", "TaggedLink", "TaggedMessage", "Tagging", "bounded_lines", "rewrite_lines"]
