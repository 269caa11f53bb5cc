"""What headers, mail class and catalog decide for one message, before anything is rewritten.

Pure. A header that can't be obeyed never stops a message: the next best choice is taken and a
warning says so. A mail class that a caller *names* must exist.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from sendback.errors import Malformed
from sendback.model import BounceMailbox, Catalog, MailClass, Privacy, Storage, UrlDomain
from sendback.rewriting import Options
from sendback.rewriting.headers import CONTROL, Section, unfold
from sendback.tagging.grouping import send_id

#: Characters of a ListID, SendID, InstanceID and of the other identifiers that headers give.
MAX_ID = 300
_TRACK_WORDS = frozenset(("clicks", "opens", "none"))


@dataclass(frozen=True, slots=True)
class Head:
    """What is read of the header section before the message is planned."""

    control: Mapping[str, str]
    """X-GreenArrow-* and X-Sendback-* by lower-case name; of duplicates the first."""
    names: frozenset[str]
    is_report: bool = False
    """A multipart/report, or sent by a machine (RFC 3834): not tracked."""


def read_head(section: Section | None) -> Head:
    """The header section's own words; empty where its end can't be found. Never raises."""
    if section is None:
        return Head({}, frozenset())
    control: dict[str, str] = {}
    names = set()
    is_report = False
    for field in section.fields:
        name = field.name.decode("ascii")
        if field.name.startswith(CONTROL):
            control.setdefault(name, unfold(field.value))
        elif name == "auto-submitted":
            said = unfold(field.value).lower().split(";")[0].split("(")[0].strip()
            is_report = is_report or said not in ("no", "")
        elif name == "content-type" and "content-type" not in names:
            is_report = is_report or unfold(field.value).lower().startswith("multipart/report")
        names.add(name)
    return Head(control, frozenset(names), is_report=is_report)


@dataclass(frozen=True, slots=True)
class Choices:
    """Everything chosen for one message, the same for each of its recipients."""

    mail_class: MailClass
    url_domain: UrlDomain
    mailbox: BounceMailbox | None
    """None: no bounce mailbox is known, the envelope sender stays."""
    complaint_address: str
    storage: Storage
    listid: str
    sendid: str
    click_tracking_id: str
    instance_id: str
    obscured_email: str
    privacy: Privacy
    options: Options
    warnings: tuple[str, ...]


def choose(
    head: Head,
    catalog: Catalog,
    *,
    mail_class: str | None,
    user_class: str | None,
    default_storage: Storage,
    validate_bounce_address: bool,
    now: float,
) -> Choices:
    """The choices. Malformed when `mail_class`, named by a caller, is unknown.

    `user_class` is the SMTP user's; LookupError when the catalog has no class or URL domain.
    """
    warnings: list[str] = []
    control = head.control
    chosen = _mail_class(control, catalog, mail_class, user_class, warnings)
    domain = _url_domain(chosen, catalog, warnings)
    instance_id = _identifier(control, "x-greenarrow-instanceid", warnings)
    return Choices(
        mail_class=chosen,
        url_domain=domain,
        mailbox=_mailbox(control, chosen, catalog, warnings, is_validating=validate_bounce_address),
        complaint_address=next((item.address for item in catalog.complaint_mailboxes), ""),
        storage=_storage(control, chosen, default_storage, warnings),
        listid=_identifier(control, "x-greenarrow-listid", warnings).lower() or chosen.listid,
        sendid=send_id(
            chosen,
            header=_identifier(control, "x-greenarrow-sendid", warnings),
            instance_id=instance_id,
            now=now,
        ),
        click_tracking_id=control.get("x-greenarrow-click-tracking-id", ""),
        instance_id=instance_id,
        obscured_email=control.get("x-greenarrow-obscured-email", ""),
        privacy=_privacy(control, chosen, warnings),
        options=_options(control, chosen, catalog, warnings),
        warnings=tuple(warnings),
    )


def _mail_class(
    control: Mapping[str, str],
    catalog: Catalog,
    named: str | None,
    user_class: str | None,
    warnings: list[str],
) -> MailClass:
    known = catalog.mail_class_by_name
    if named is not None:
        if named.lower() not in known:
            near = difflib.get_close_matches(named.lower(), known, 1)
            hint = f"; did you mean {known[near[0]].name!r}?" if near else ""
            raise Malformed(f"no mail class is called {named!r}{hint}", field="mail_class")
        return known[named.lower()]
    header = control.get("x-greenarrow-mailclass", "")
    for name, whose in ((header, "X-GreenArrow-MailClass"), (user_class or "", "the SMTP user")):
        if name:
            found = known.get(name.lower())
            if found is not None:
                return found
            warnings.append(f"{whose} names the unknown mail class {name!r}: using the default")
            break
    if catalog.default_mail_class is None:
        raise LookupError("the catalog holds no mail class")
    return catalog.default_mail_class


def _url_domain(mail_class: MailClass, catalog: Catalog, warnings: list[str]) -> UrlDomain:
    found = catalog.url_domain_by_host.get(mail_class.url_domain)
    if found is not None:
        return found
    if catalog.default_url_domain is None:
        raise LookupError("the catalog holds no URL domain")
    if mail_class.url_domain:
        warnings.append(
            f"mail class {mail_class.name!r} names the unknown URL domain "
            f"{mail_class.url_domain!r}: using {catalog.default_url_domain.domain!r}"
        )
    return catalog.default_url_domain


def _mailbox(
    control: Mapping[str, str],
    mail_class: MailClass,
    catalog: Catalog,
    warnings: list[str],
    *,
    is_validating: bool,
) -> BounceMailbox | None:
    """S0.7: the header beats the class; S0.6: while validation is on, it must be known here."""
    override = control.get("x-greenarrow-bouncemailboxoverride", "")
    for address, whose in (
        (override, "X-GreenArrow-BounceMailboxOverride"),
        (mail_class.bounce_mailbox, f"mail class {mail_class.name!r}"),
    ):
        if not address:
            continue
        try:
            mailbox = BounceMailbox(address=address.strip("<> "))
        except Malformed as error:
            warnings.append(f"{whose} is ignored: {error}")
            continue
        if not is_validating or mailbox.address in catalog.bounce_mailbox_by_address:
            return mailbox
        warnings.append(
            f"{whose} is ignored: {mailbox.address} is no bounce mailbox here "
            "(simplemh_validate_bounce_address is on)"
        )
    return next(iter(catalog.bounce_mailboxes), None)


def _storage(
    control: Mapping[str, str], mail_class: MailClass, default: Storage, warnings: list[str]
) -> Storage:
    usual = mail_class.event_tracking_metadata_storage or default
    header = control.get("x-greenarrow-eventtrackingmetadatastorage", "")
    if header:
        try:
            return Storage(header.strip().lower())
        except ValueError:
            warnings.append(
                "X-GreenArrow-EventTrackingMetadataStorage is local, stateless or external, "
                f"not {header[:40]!r}: using {usual}"
            )
    return usual


def _privacy(control: Mapping[str, str], mail_class: MailClass, warnings: list[str]) -> Privacy:
    """What is kept of this message's visitors; a word that makes no sense keeps the class's."""
    header = control.get("x-sendback-privacy", "")
    if header:
        try:
            return Privacy(header.strip().lower())
        except ValueError:
            warnings.append(
                "X-Sendback-Privacy is full, truncate_ip or anonymous, "
                f"not {header[:40]!r}: using {mail_class.privacy}"
            )
    return mail_class.privacy


def _identifier(control: Mapping[str, str], name: str, warnings: list[str]) -> str:
    value = control.get(name, "")
    if len(value) > MAX_ID or not value.isprintable():
        warnings.append(f"{name} is ignored: over {MAX_ID} characters, or not printable")
        return ""
    return value


def _options(
    control: Mapping[str, str],
    mail_class: MailClass,
    catalog: Catalog,
    warnings: list[str],
) -> Options:
    clicks, opens = mail_class.track_clicks, mail_class.track_opens
    header = control.get("x-sendback-track")
    if header is not None:
        words = {word.strip().lower() for word in header.split(",")} - {""}
        if words and words <= _TRACK_WORDS:
            clicks, opens = "clicks" in words, "opens" in words
        else:
            warnings.append(f"X-Sendback-Track is clicks, opens or none, not {header[:40]!r}")
    return Options(
        track_clicks=clicks,
        track_opens=opens,
        unsubscribe_links=mail_class.unsubscribe_links,
        track_text_links=clicks and mail_class.track_text_links,
        outlook=mail_class.outlook_links,
        honeypot=clicks and mail_class.honeypot_link,
        amp=mail_class.track_amp_links,
        own_hosts=frozenset(urlsplit(item.link_base).netloc for item in catalog.url_domains),
    )
