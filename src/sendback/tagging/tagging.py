"""The use case: plan a message once, then issue tokens and render for each recipient.

Mail always goes out. Whatever fails - a header that makes no sense, a store that is down, a fault
of ours - costs tracking at most: the message leaves as it came, with a reason and a count.
"""

import collections
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

from sendback import links, verp
from sendback.errors import Malformed
from sendback.metadata import Issued
from sendback.model import Catalog, LinkFacts, LinkKind, MessageFacts, Storage
from sendback.rewriting import Link, Options, Plan, headers, plan
from sendback.secret_constants import Purpose
from sendback.tagging.choices import Choices, Head, choose, read_head
from sendback.tagging.top_block import top_block

log = logging.getLogger("sendback.tagging")
_NOTHING = Options(track_clicks=False, track_opens=False)
_FAULT = Plan(skipped="fault", header_end_found=False)


class Issuer(Protocol):
    """`sendback.metadata.Metadata`, as far as it is needed here."""

    def issue_many(
        self, storage: Storage, messages: Sequence[tuple[MessageFacts, Sequence[LinkFacts]]]
    ) -> Sequence[Issued | Malformed]:
        """Tokens, durable, for each; a token "" for a link that can't be held."""


class TaggedLink(NamedTuple):
    """One URL that was replaced."""

    url: str
    tracked: str
    link_id: str | None
    universal: bool


@dataclass(frozen=True, slots=True)
class TaggedMessage:
    """One message for one recipient, ready to be sent."""

    message: bytes
    mail_from: str
    """The envelope sender without angle brackets; "" for the null one."""
    links: tuple[TaggedLink, ...] = ()
    """In document order over all parts, unsubscribe links included."""
    skipped: str | None = None
    """Why the body is unchanged; one of rewriting's reasons."""
    facts: MessageFacts | None = None
    """None when nothing was issued for it: untracked."""
    storage: Storage | None = None
    """Where its metadata went."""
    untracked_links: int = 0
    """Links that no storage or no line could hold: they lead straight to their destination."""


class Tagging:
    """Tags messages by catalog and metadata; safe for any number of threads."""

    def __init__(
        self,
        metadata: Issuer,
        catalog: Callable[[], Catalog],
        *,
        default_storage: Storage = Storage.LOCAL,
        validate_bounce_address: bool = True,
        clock: Callable[[], float] = time.time,
        warn: Callable[[str], None] = log.warning,
    ) -> None:
        """`warn` takes whole lines about headers that could not be obeyed."""
        self._metadata = metadata
        self._catalog = catalog
        self._default_storage = default_storage
        self._validate_bounce_address = validate_bounce_address
        self._clock = clock
        self._warn = warn
        self._counts: collections.Counter[str] = collections.Counter()

    def prepare(
        self,
        message: bytes,
        *,
        mail_from: str | None = None,
        mail_class: str | None = None,
        user_class: str | None = None,
    ) -> "Prepared":
        """The message, parsed once. Malformed only for a `mail_class` that does not exist.

        `mail_from`: "" is the null sender (then nothing is tracked), None: not known.
        `user_class`: the class of the SMTP user, below the message's own header.
        """
        try:
            section = headers.section(message)
            head = read_head(section)
            choices = choose(
                head,
                self._catalog(),
                mail_class=mail_class,
                user_class=user_class,
                default_storage=self._default_storage,
                validate_bounce_address=self._validate_bounce_address,
                now=self._clock(),
            )
            for warning in choices.warnings:
                self._counts["warnings"] += 1
                self._warn(warning)
            is_tracked = mail_from != "" and not head.is_report
            made = plan(message, choices.options if is_tracked else _NOTHING, section=section)
        except Exception as error:
            if mail_class is not None and isinstance(error, Malformed):
                raise
            # Fail open: whatever else went wrong must not stop mail.
            self._fault("prepare")
            head, made, choices, is_tracked = Head({}, frozenset()), _FAULT, None, False
        return Prepared(message, mail_from, head, made, choices, is_tracked, self.tag_many)

    def tag(
        self,
        message: bytes,
        rcpt: str,
        *,
        mail_from: str | None = None,
        mail_class: str | None = None,
    ) -> TaggedMessage:
        """One message for one recipient; errors as `prepare`."""
        prepared = self.prepare(message, mail_from=mail_from, mail_class=mail_class)
        return prepared.for_recipient(rcpt)

    def counters(self) -> dict[str, int]:
        """Totals since the start: tagged, links, untracked_links, skipped_REASON, faults."""
        return dict(self._counts)

    # -- one recipient ------------------------------------------------------------------------

    def tag_many(self, wanted: Sequence[tuple["Prepared", str]]) -> list[TaggedMessage]:
        """The copy of each prepared message for its recipient, in order.

        Waits once for each storage, however many they are: a round trip, or a commit. A fault in
        one is no fault of the others. Never raises.
        """
        made: list[TaggedMessage | None] = [None] * len(wanted)
        begun: dict[Storage, list[_Begun]] = {}
        for number, (prepared, rcpt) in enumerate(wanted):
            choices = prepared.choices
            try:
                if choices is not None and prepared.is_tracked:
                    one = self._begin(number, prepared, choices, rcpt)
                    begun.setdefault(choices.storage, []).append(one)
                    continue
                made[number] = _untagged(prepared)
            except Exception:  # noqa: BLE001  fail open: tracking is lost, the message is not
                self._fault("for_recipient")
                made[number] = _as_it_came(prepared)
        for storage, some in begun.items():
            for one, issued in zip(some, self._issue(storage, some), strict=True):
                try:
                    if isinstance(issued, Exception):
                        raise issued
                    made[one.number] = self._finish(one, issued)
                except Exception:  # noqa: BLE001  fail open, as above
                    self._fault("for_recipient")
                    made[one.number] = _as_it_came(one.prepared)
        done = [one for one in made if one is not None]
        for tagged in done:
            self._count(tagged)
        return done

    def _issue(self, storage: Storage, begun: "Sequence[_Begun]") -> Sequence[Issued | Exception]:
        try:
            return self._metadata.issue_many(storage, [(one.facts, one.wanted) for one in begun])
        except Exception as error:  # noqa: BLE001  fail open: each is told, and counted
            return [error] * len(begun)

    def _begin(self, number: int, prepared: "Prepared", choices: Choices, rcpt: str) -> "_Begun":
        text_links = [link.html_or_text for link in prepared.plan.links].count("t")
        facts = MessageFacts(
            email=prepared.email_of(rcpt),
            listid=choices.listid,
            sendid=choices.sendid,
            click_tracking_id=choices.click_tracking_id,
            mail_class=choices.mail_class.name,
            url_domain=choices.url_domain.domain,
            instance_id=choices.instance_id,
            tagged_at=int(self._clock()),
            privacy=choices.privacy,
            html_links=len(prepared.plan.links) - text_links,
            text_links=text_links,
        )
        wanted = [_link_facts(link, choices) for link in prepared.plan.links]
        if prepared.plan.wants_honeypot:
            # No person sees it; a scanner that follows it gets an answer, as from any link.
            trap = f"{choices.url_domain.link_base}/robots.txt"
            wanted.append(LinkFacts(url=trap, kind=LinkKind.HONEYPOT))
        return _Begun(number, prepared, choices, facts, wanted)

    def _finish(self, begun: "_Begun", issued: Issued) -> TaggedMessage:
        prepared, choices = begun.prepared, begun.choices
        made, base = prepared.plan, choices.url_domain.link_base
        bases = {purpose: f"{base}{path}?" for purpose, path in links.PATHS.items()}
        urls = [bases[purpose] + token if token else None for purpose, token in issued.link_tokens]
        if max((len(url) for url in urls if url), default=0) > links.MAX_URL:
            urls = [url if url and len(url) <= links.MAX_URL else None for url in urls]
        honeypot = urls.pop() if made.wants_honeypot else None
        pixel = links.build(base, Purpose.OPEN, issued.open_token) if made.wants_pixel else None
        block = top_block(choices, prepared.head, issued, made.eol)
        mailbox = choices.mailbox
        put = partial(made.put, pixel_url=pixel, honeypot_url=honeypot, top_block=block)
        # Reported is only what really goes out; what finds no place stays byte for byte.
        message, urls = put(urls)
        if None in urls:
            given = [url or _untracked(link) for url, link in zip(urls, made.links, strict=True)]
            given = put(given)[1]
            message = put(given)[0]
            urls = [url and there for url, there in zip(urls, given, strict=True)]
        return TaggedMessage(
            message=message,
            mail_from=(
                verp.build(mailbox.address, issued.bounce_token)
                if mailbox
                else prepared.mail_from or ""
            ),
            links=tuple(
                TaggedLink(link.url, url, link.link_id, link.universal)
                for link, url in zip(made.links, urls, strict=True)
                if url
            ),
            skipped=made.skipped,
            facts=begun.facts,
            storage=issued.storage,
            untracked_links=urls.count(None),
        )

    def _count(self, tagged: TaggedMessage) -> None:
        counts = self._counts
        counts["tagged"] += 1
        counts["links"] += len(tagged.links)
        counts["untracked_links"] += tagged.untracked_links
        if tagged.skipped:
            counts[f"skipped_{tagged.skipped}"] += 1

    def _fault(self, where: str) -> None:
        self._counts["faults"] += 1
        log.error("tagging.fault", exc_info=True, extra={"where": where})  # noqa: LOG014  in a handler


@dataclass(frozen=True, slots=True)
class Prepared:
    """One parsed message; `for_recipient` as often as it has recipients."""

    message: bytes
    mail_from: str | None
    head: Head
    plan: Plan
    choices: Choices | None
    """None when the message could not even be looked at."""
    is_tracked: bool
    _tag_many: Callable[[Sequence[tuple["Prepared", str]]], list[TaggedMessage]]

    @property
    def is_stored(self) -> bool:
        """True when tagging a recipient waits for a disk or a database."""
        choices = self.choices
        return self.is_tracked and choices is not None and choices.storage != Storage.STATELESS

    @property
    def listid(self) -> str:
        """What a suppression is about."""
        return self.choices.listid if self.choices else ""

    def email_of(self, rcpt: str) -> str:
        """The address under which events, and so suppressions, know this recipient."""
        return (self.choices.obscured_email if self.choices else "") or rcpt

    def for_recipient(self, rcpt: str) -> TaggedMessage:
        """The copy for one recipient. Never raises: after a fault the message is as it came."""
        (tagged,) = self._tag_many(((self, rcpt),))
        return tagged


class _Begun(NamedTuple):
    """A copy that waits for its tokens."""

    number: int
    prepared: Prepared
    choices: Choices
    facts: MessageFacts
    wanted: list[LinkFacts]


def _untagged(prepared: Prepared) -> TaggedMessage:
    """The copy of a message that is not tracked."""
    sender = prepared.mail_from or ""
    if prepared.choices is None:
        return TaggedMessage(prepared.message, sender, skipped="fault")
    # Null senders too: what answers nobody must cause no answers (RFC 5321 section 4.5.5).
    skipped = prepared.plan.skipped or "report"
    return TaggedMessage(prepared.plan.render([]), sender, skipped=skipped)


def _as_it_came(prepared: Prepared) -> TaggedMessage:
    """After a fault."""
    sender, choices = prepared.mail_from, prepared.choices
    if sender is None:
        sender = choices.mailbox.address if choices and choices.mailbox else ""
    return TaggedMessage(prepared.message, sender, skipped="fault")


def _link_facts(link: Link, choices: Choices) -> LinkFacts:
    kind = LinkKind.CLICK
    if link.kind == "unsub":
        is_confirmed = choices.mail_class.unsubscribe_mode == "confirm"
        kind = LinkKind.UNSUB_BODY_CONFIRM if is_confirmed else LinkKind.UNSUB_BODY_REDIRECT
    return LinkFacts(
        url=link.url,
        kind=kind,
        link_id=link.link_id or "",
        pos=link.pos,
        universal=link.universal,
        html_or_text=link.html_or_text,
    )


def _untracked(link: Link) -> str | None:
    """What stands for a link without a token: nothing new, but no reader may see our own tag."""
    return link.url if link.kind == "unsub" else None
