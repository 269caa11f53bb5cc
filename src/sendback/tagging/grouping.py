"""The SendID that a mail class's Statistic Report Grouping gives a message (seed 004).

Pure. Lower case always; dates are the UTC day of tagging (CONTRACT section 4).
"""

import time

from sendback.model import MailClass


def send_id(mail_class: MailClass, *, header: str, instance_id: str, now: float) -> str:
    """X-GreenArrow-SendID when the message has one, else by the class's grouping; lower case.

    daily: `news20260817`; daily_short: `ne260817`; monthly: `news202608`; per_instanceid: `news42`
    (without an instance the name alone); fixed: the class's own `sendid`.
    """
    if header:
        return header.lower()
    name = mail_class.name.lower()
    day = time.gmtime(now)
    match mail_class.statistic_report_grouping:
        case "daily":
            return name + time.strftime("%Y%m%d", day)
        case "daily_short":
            return name.replace("_", "")[:2] + time.strftime("%y%m%d", day)
        case "monthly":
            return name + time.strftime("%Y%m", day)
        case "per_instanceid":
            return name + instance_id.lower()
        case "fixed":
            return mail_class.sendid
