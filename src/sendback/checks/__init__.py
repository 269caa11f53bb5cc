"""Use case: is the world around this node set up as it must be (seed 000, "Testing").

dns          do URL domains and mailboxes lead to the event servers
domain       is a URL domain answered by one of our event servers, over good TLS
message      is everything in a message that brings its events home
peers        do the other nodes have our keys and our time
selftest     a message of our own, and everything that can come back of it

Findings are plain values: the command line prints them, a page or the API may do the same.
"""

from sendback.checks.dns import check_dns
from sendback.checks.finding import Finding
from sendback.checks.resolver import DnsResolver, NoAnswer, Resolver

__all__ = ["DnsResolver", "Finding", "NoAnswer", "Resolver", "check_dns"]
