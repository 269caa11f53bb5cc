"""Where tagged messages go: over SMTP by route, or into a Maildir where there is no route.

base      what is sent, what is answered, and the port `Relay`
upstream  routes, pooled connections, limits (aiosmtplib)
outbox    a Maildir, for a node without a smarthost
deferred  recipients that an upstream put off, kept durably and tried again
notice    the RFC 3464 report about a recipient that was refused

Nothing here knows tracking, nor who the client was.
"""

from sendback.relay.base import Answer, Outgoing, Relay
from sendback.relay.deferred import Deferred, Kept
from sendback.relay.notice import failure_report
from sendback.relay.outbox import Outbox
from sendback.relay.upstream import Upstream, build_relay

__all__ = [
    "Answer",
    "Deferred",
    "Kept",
    "Outbox",
    "Outgoing",
    "Relay",
    "Upstream",
    "build_relay",
    "failure_report",
]
