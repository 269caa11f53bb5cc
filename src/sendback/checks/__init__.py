"""Use case: is the world around this node set up as it must be (seed 000, "Testing").

dns       do URL domains and mailboxes lead to the event servers
resolver  the answers of the DNS, each within its time limit

Findings are plain values: the command line prints them, a page or the API may do the same.
"""

from sendback.checks.dns import Finding, check_dns
from sendback.checks.resolver import DnsResolver, NoAnswer, Resolver

__all__ = ["DnsResolver", "Finding", "NoAnswer", "Resolver", "check_dns"]
