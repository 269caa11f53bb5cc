"""`parse`: from the bytes of a message to a Report. Never raises; the steps stand in `explain`.

Order, from what is said most clearly to what must be guessed: feedback report, SES notice,
delivery status, prose.
"""

from sendback.reports.complaints import read_complaint
from sendback.reports.context import open_context
from sendback.reports.envelope import open_mail
from sendback.reports.prose import read_prose
from sendback.reports.report import Report
from sendback.reports.statuses import read_delivery_status, read_notice

#: What of a message is read: more is attachments.
MAX_BYTES = 512 * 1024


def parse(
    raw: bytes,
    *,
    at_complaint_mailbox: bool = False,
    local_servers: frozenset[str] = frozenset(),
    max_bytes: int = MAX_BYTES,
) -> Report:
    """What a returned message is, about whom, and what it means for each address.

    Any input gives a Report; nothing is raised, time is linear in `max_bytes`. `local_servers`
    are lower-case names of our own sending servers: their QSBF or DSN is `is_local`. At the
    complaint mailbox any message that carries X-Mailer-Info-Extra is a complaint (the caller
    still has to verify the token), as some loops return plain copies.
    """
    try:
        context = open_context(open_mail(raw[:max_bytes]), at_complaint_mailbox, local_servers)
        return (
            read_complaint(context)
            or read_notice(context)
            or read_delivery_status(context)
            or read_prose(context)
        )
    except Exception as fault:  # noqa: BLE001 - hostile input; the caller keeps the raw mail
        return Report(explain=(f"parser fault: {type(fault).__name__}; kept as other",))
