"""The report about a recipient that an upstream refused: RFC 3464 in an RFC 6522 multipart.

Pure. The same report goes to whoever sent the message and, for the event, to our own bounce
address: what we say of a bounce and what we record of it come from one text.
"""

import re
from email.utils import formatdate

from sendback.relay.base import Answer

_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})\b")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
MAX_HEADER_BYTES = 65536


def failure_report(
    *,
    reporting_mta: str,
    to: str,
    rcpt: str,
    answer: Answer,
    message: bytes,
    now: float,
    report_id: str,
) -> bytes:
    """A whole message, LF line ends, with the refused message's header section.

    `report_id`: hexadecimal, unique; it makes the Message-ID and the boundary. `now`: seconds.
    """
    text = _one_line(answer.text)
    enhanced = _ENHANCED.match(text)
    status = enhanced[0] if enhanced else f"{str(answer.code)[0]}.0.0"
    head = _header_section(message)
    is_ascii = all(map(str.isascii, (to, rcpt, text)))
    kind = "rfc822" if is_ascii else "utf-8"
    boundary = f"=_{report_id}"
    content = "7bit" if is_ascii and head.isascii() else "8bit"
    top = f"""\
From: Mail Delivery System <MAILER-DAEMON@{reporting_mta}>
To: {_one_line(to)}
Subject: Undelivered mail returned to sender
Date: {formatdate(now)}
Message-ID: <{report_id}@{reporting_mta}>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="{boundary}"
Content-Transfer-Encoding: {content}

This is a MIME-encapsulated message.

--{boundary}
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: {content}

The message could not be delivered to this recipient:

<{_one_line(rcpt)}>: {answer.code} {text}

--{boundary}
Content-Type: message/{"delivery-status" if is_ascii else "global-delivery-status"}

Reporting-MTA: dns; {reporting_mta}

Final-Recipient: {kind}; {_one_line(rcpt)}
Action: failed
Status: {status}
Diagnostic-Code: smtp; {answer.code} {text}

--{boundary}
Content-Type: text/rfc822-headers
Content-Transfer-Encoding: {content}

"""
    return top.encode("utf-8") + head + f"\n--{boundary}--\n".encode()


def _one_line(text: str) -> str:
    return _CONTROL.sub(" ", text.encode("utf-8", "replace").decode("utf-8")).strip()


def _header_section(message: bytes) -> bytes:
    head = message[:MAX_HEADER_BYTES].replace(b"\r\n", b"\n")
    end = head.find(b"\n\n")
    return head[: end + 1] if end >= 0 else head[: head.rfind(b"\n") + 1]
