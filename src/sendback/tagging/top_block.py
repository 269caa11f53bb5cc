"""The header fields that tagging writes, as one block for the very top of the message.

On top, because returned copies are cut: what attributes a bounce must lie in its first octets.
"""

from sendback import links
from sendback.metadata import Issued
from sendback.rewriting import headers
from sendback.secret_constants import Purpose
from sendback.tagging.choices import Choices, Head


def top_block(choices: Choices, head: Head, issued: Issued, eol: bytes) -> bytes:
    """List-Unsubscribe where there is none, X-Mailer-Info, and what the mail class adds."""
    mail_class, domain, mailbox = choices.mail_class, choices.url_domain, choices.mailbox
    pairs: list[tuple[str, str]] = []
    if mail_class.list_unsubscribe and "list-unsubscribe" not in head.names:
        mailto = None
        if mail_class.list_unsubscribe_mailto and mailbox is not None:
            # The case of this token matters, so it can't stand in the address.
            mailto = f"mailto:{mailbox.address}?subject=unsubscribe%20{issued.mailto_token}"
        url = links.build(domain.link_base, Purpose.UNSUB, issued.unsub_token)
        # RFC 8058 section 3.1: one-click is for https only.
        pairs += headers.list_unsubscribe(url, mailto=mailto, one_click=domain.tls)
    pairs.append(("X-Mailer-Info", issued.mailer_info))
    if issued.mailer_info_extra:
        pairs.append(("X-Mailer-Info-Extra", issued.mailer_info_extra))
    if mail_class.feedback_id and "feedback-id" not in head.names:
        pairs.append(("Feedback-ID", mail_class.feedback_id))
    if mail_class.cfbl and choices.complaint_address and "cfbl-address" not in head.names:
        # RFC 9477 section 3; the identifier is folded: white space in it means nothing to us.
        pairs.append(("CFBL-Address", f"{choices.complaint_address}; report=arf"))
        pairs.append(("CFBL-Feedback-ID", issued.feedback_id))
    return headers.block(
        pairs, eol, tokens=("X-Mailer-Info", "X-Mailer-Info-Extra", "CFBL-Feedback-ID")
    )
