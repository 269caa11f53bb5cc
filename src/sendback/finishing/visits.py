"""A click, open or unsubscribe: resolved, labelled, trimmed to its privacy.

Every visit of a batch is resolved and remembered before the first is judged: a scanner that
follows ten links in a second is seen as one by its first click already.
"""

import hashlib
import ipaddress
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from sendback.agents import Observation, OtherVisit, Verdict
from sendback.errors import Malformed, SendbackError
from sendback.finishing.history import History
from sendback.finishing.made import Made, event_id
from sendback.model import (
    Click,
    Event,
    Hint,
    LinkFacts,
    LinkKind,
    MessageFacts,
    Open,
    Privacy,
    TrackingData,
    Unsubscribe,
    Visit,
    VisitKind,
)
from sendback.secret_constants import Purpose

#: Plain numbers: `&` on an IntFlag costs 2 us, which counts at 20,000 visits a second.
_UNIVERSAL, _MAILTO = int(Hint.UNIVERSAL), int(Hint.MAILTO)
UNSUBSCRIBED_ONCE_MS = 30 * 86_400_000
_EMPTY = TrackingData(MessageFacts(email=""))


class VisitMetadata(Protocol):
    """What finishing asks of `sendback.metadata.Metadata` about a visit."""

    def prefetch(self, visits: Iterable[tuple[Purpose, bytes]]) -> None:
        """Read what many tokens stand for in one question; never raises."""

    def link(self, purpose: Purpose, token: bytes) -> LinkFacts:
        """The destination, often from a cache. Forged, NotFound, Unavailable."""

    def resolve(self, purpose: Purpose, token: bytes) -> TrackingData:
        """Everything the token stands for. Forged, NotFound, Unavailable."""

    def links_in_message(self, token: bytes, data: TrackingData) -> int | None:
        """At most how many links the message has; None where nobody knows. Unavailable."""


Classify = Callable[[Observation], Verdict]


class Visits:
    """Makes events of visits."""

    def __init__(
        self, metadata: VisitMetadata, classify: Classify, server_id: str, history: History
    ) -> None:
        self._metadata, self._classify = metadata, classify
        self._server_id, self._history = server_id, history

    def prefetch(self, visits: Iterable[Visit]) -> None:
        """Ask for the rows of all these visits at once."""
        self._metadata.prefetch([(purpose_of(visit), visit.token) for visit in visits])

    def resolve(self, visit: Visit, *, is_again: bool) -> tuple[TrackingData, OtherVisit]:
        """What was visited; remembered for the verdicts. Forged, NotFound, Unavailable."""
        data = self._metadata.resolve(purpose_of(visit), visit.token)
        link = data.link
        seen = OtherVisit(
            visit.time_ms,
            visit.kind,
            link.pos if link is not None else 0,
            visit.ip,
            link is not None and link.kind is LinkKind.HONEYPOT,
            visit.hints,
        )
        self._history.add(data.message.key, seen, is_again=is_again)
        return data, seen

    def make(
        self, visit: Visit, data: TrackingData, seen: OtherVisit, complete_until_ms: int
    ) -> Made:
        """The event of a resolved visit; none for a honeypot link, which only betrays scanners.

        `complete_until_ms`: every visit captured until then has been resolved.
        """
        if seen.honeypot:
            return Made(counts=["honeypot_visits"])
        verdict = self._classify(
            Observation(
                kind=visit.kind,
                ip=visit.ip,
                user_agent=visit.user_agent,
                hints=visit.hints,
                time_ms=visit.time_ms,
                tagged_at=data.message.tagged_at,
                pos=seen.pos,
                others=self._history.others(data.message.key, seen),
                links_in_message=self._links_in_message(visit, data),
                complete_until_ms=complete_until_ms,
            )
        )
        made = self._finish(visit, data, verdict, unresolved=False)
        made.is_final = verdict.final
        return made

    def _links_in_message(self, visit: Visit, data: TrackingData) -> int | None:
        try:
            return self._metadata.links_in_message(visit.token, data)
        except SendbackError:
            return None  # one sign less; the event itself is known

    def make_unresolved(self, visit: Visit) -> Made:
        """The event of a visit whose row never came back: what the link's cache still knows."""
        try:
            link: LinkFacts | None = self._metadata.link(purpose_of(visit), visit.token)
        except SendbackError:
            link = None
        data = TrackingData(_EMPTY.message, link)
        verdict = self._classify(
            Observation(
                kind=visit.kind,
                ip=visit.ip,
                user_agent=visit.user_agent,
                hints=visit.hints,
                time_ms=visit.time_ms,
            )
        )
        made = self._finish(visit, data, verdict, unresolved=True)
        made.counts.append("unresolved")
        return made

    def _finish(
        self, visit: Visit, data: TrackingData, verdict: Verdict, *, unresolved: bool
    ) -> Made:
        message = data.message
        ip, user_agent = _visitor(visit, message.privacy)
        is_unsubscribe = visit.kind == VisitKind.UNSUB
        names = message.privacy is not Privacy.ANONYMOUS or is_unsubscribe
        shared: dict[str, Any] = {
            "event_time": visit.time_ms // 1000,
            "event_time_ms": visit.time_ms,
            "event_unique_id": event_id(visit.record_id, 0, ""),
            "server_id": self._server_id,
            "email": message.email if names else "",
            "listid": message.listid,
            "sendid": message.sendid,
            "click_tracking_id": message.click_tracking_id if names else "",
            "mail_class": message.mail_class,
            "url_domain": message.url_domain or visit.host,
            "instance_id": message.instance_id,
            "engine_ip": ip,
            "user_agent": user_agent,
            "agent_class": verdict.agent_class,
            "agent_reasons": tuple(verdict.reasons),
            "is_bot": verdict.is_bot,
            "agent_final": verdict.final,
        }
        if visit.kind == VisitKind.OPEN:
            return Made([Open(**shared, is_privacy_open=verdict.is_privacy_open)])
        link = data.link
        if link is not None:
            shared["click_url"] = link.url
            shared["link_id"] = link.link_id
            shared["link_pos"] = link.pos or None
            shared["html_or_text"] = link.html_or_text
        shared["universal"] = bool(visit.hints & _UNIVERSAL) or bool(link and link.universal)
        shared["unresolved"] = unresolved
        if not is_unsubscribe:
            return Made([Click(**shared)])
        return _once(Unsubscribe(**shared), message, is_bot=verdict.is_bot, known=not unresolved)


def _once(event: Event, message: MessageFacts, *, is_bot: bool, known: bool) -> Made:
    """One a message and list within 30 days.

    A person's word is not swallowed because a scanner was there first: the scanner's key is
    another one, and a scanner's visit after the person's is dropped.
    """
    if not known:
        return Made([event])
    person = hashlib.blake2b(
        message.key + b"\0" + message.listid.encode(), digest_size=16, person=b"unsubscribe"
    ).digest()
    machine = hashlib.blake2b(person, digest_size=16, person=b"unsub-bot").digest()
    return Made(
        [event],
        once=machine if is_bot else person,
        also_once=person if is_bot else None,
        once_ms=UNSUBSCRIBED_ONCE_MS,
        once_name="repeated_unsubscribes",
    )


def purpose_of(visit: Visit) -> Purpose:
    """Which purpose the visit's token was verified under."""
    if visit.kind == VisitKind.CLICK:
        return Purpose.UNI if visit.hints & _UNIVERSAL else Purpose.CLICK
    if visit.kind == VisitKind.OPEN:
        return Purpose.OPEN
    if visit.kind == VisitKind.UNSUB:
        return Purpose.MAILTO if visit.hints & _MAILTO else Purpose.UNSUB
    raise Malformed(f"visit kind {visit.kind} is not known to this version")


def _visitor(visit: Visit, privacy: Privacy) -> tuple[str, str]:
    """Address and user agent as far as the message's privacy lets them be kept."""
    if privacy is Privacy.FULL:
        return visit.ip, visit.user_agent
    if privacy is Privacy.ANONYMOUS:
        return "", ""
    return truncate_ip(visit.ip), visit.user_agent


def truncate_ip(text: str) -> str:
    """The network of an address: /24 for IPv4, /48 for IPv6; "" for what is no address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    bits = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network((address, bits), strict=False).network_address)
