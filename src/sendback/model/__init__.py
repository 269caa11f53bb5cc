"""The vocabulary: frozen values that every room speaks in.

facts     what is known of a message and of a link in it
captured  what a process writes to the journal before it answers
events    what leaves the house, field by field as documented
catalog   what an operator names, with its one validation

No I/O and no clocks here: time and randomness come in as arguments.
"""

from sendback.model.captured import CapturedMail, Hint, Visit, VisitKind, uuid7
from sendback.model.catalog import (
    BounceMailbox,
    Catalog,
    ComplaintMailbox,
    DatabaseConnection,
    Destination,
    MailClass,
    Peer,
    SmtpRoute,
    UrlDomain,
)
from sendback.model.events import (
    BounceAll,
    BounceBadAddress,
    Click,
    Complaint,
    Event,
    EventBase,
    Open,
    Unsubscribe,
)
from sendback.model.facts import (
    LinkFacts,
    LinkKind,
    MessageFacts,
    Privacy,
    Storage,
    TrackingData,
)

__all__ = [
    "BounceAll",
    "BounceBadAddress",
    "BounceMailbox",
    "CapturedMail",
    "Catalog",
    "Click",
    "Complaint",
    "ComplaintMailbox",
    "DatabaseConnection",
    "Destination",
    "Event",
    "EventBase",
    "Hint",
    "LinkFacts",
    "LinkKind",
    "MailClass",
    "MessageFacts",
    "Open",
    "Peer",
    "Privacy",
    "SmtpRoute",
    "Storage",
    "TrackingData",
    "Unsubscribe",
    "UrlDomain",
    "Visit",
    "VisitKind",
    "uuid7",
]
