"""Use case: a message at one of our own mailboxes, journaled before it is acknowledged.

Decides which recipients are ours and puts one `CapturedMail` for each into the journal. Nothing
is parsed here: whether it is a bounce, and whose, finishing finds out.
"""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from sendback import verp
from sendback.errors import Malformed, NotFound, Unavailable
from sendback.model import CapturedMail, Catalog, uuid7
from sendback.secret_constants import Purpose

BOUNCE = "bounce"
COMPLAINT = "complaint"
POSTMASTER = "postmaster"
ABUSE = "abuse"
UNSUBSCRIBE = "unsubscribe"
MAX_HEADER_BYTES = 65536
_SUBJECT = re.compile(rb"^subject:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)
_END_OF_HEADERS = re.compile(rb"\n\r?\n")
_TOKEN = re.compile(rb"[A-Za-z0-9_-]{20,4096}")


class BounceTokens(Protocol):
    """`sendback.metadata.Metadata`, as far as it is needed here."""

    def resolve_bounce(self, token: str) -> object:
        """Forged or NotFound when the token is not ours; Unavailable: genuine, but unread."""

    def verify(self, purpose: Purpose, token: bytes) -> None:
        """Forged or NotFound unless the token is ours."""


class Appender(Protocol):
    """The journal, as far as it is needed here."""

    async def append_async(self, payload: bytes) -> None:
        """On disk when it returns; Unavailable when it can't be. Cancelling doesn't stop it."""

    @property
    def full(self) -> bool:
        """True while there is no room."""


class Inbound:
    """What the smtp port does with an envelope."""

    def __init__(
        self,
        tokens: BounceTokens,
        journal: Appender,
        catalog: Callable[[], Catalog],
        *,
        server_names: Sequence[str] = (),
        max_bytes: int = 102_400,
        clock: Callable[[], float] = time.time,
        timeout: float = 60.0,
    ) -> None:
        """`server_names`: hosts whose postmaster we are; `max_bytes`: `bouncemaxbytes`."""
        self._tokens = tokens
        self._journal = journal
        self._catalog = catalog
        self._server_names = frozenset(name.lower() for name in server_names)
        self._max_bytes = max_bytes
        self._clock = clock
        self._timeout = timeout
        self._encode = msgspec.msgpack.Encoder().encode

    @property
    def is_full(self) -> bool:
        """True when the journal refuses for want of room: worth another answer than a fault."""
        return self._journal.full

    def recognise(self, address: str) -> str:
        """Which kind of mailbox this is; NotFound for an address that is not ours."""
        catalog = self._catalog()
        mailbox, token = verp.split(address)
        if token:
            if mailbox in catalog.bounce_mailbox_by_address:
                return self._recognise_token(token)
        elif "+" not in address:
            if mailbox in catalog.bounce_mailbox_by_address:
                return BOUNCE
            if mailbox in catalog.complaint_mailbox_by_address:
                return COMPLAINT
            local, _, domain = mailbox.rpartition("@")
            if mailbox == POSTMASTER:
                return POSTMASTER
            if local in (POSTMASTER, ABUSE) and self._is_ours(domain, catalog):
                return local
        raise NotFound("no such mailbox here")

    def _recognise_token(self, token: str) -> str:
        try:
            self._tokens.resolve_bounce(token)
        except (Malformed, NotFound):
            raise NotFound("no such mailbox here") from None
        except Unavailable:
            pass  # genuine, its row just can't be read: an outage must not refuse bounces
        return BOUNCE

    def _is_ours(self, domain: str, catalog: Catalog) -> bool:
        if domain in self._server_names:
            return True
        ours = [item.address for item in catalog.bounce_mailboxes]
        ours += [item.address for item in catalog.complaint_mailboxes]
        return any(address.endswith("@" + domain) for address in ours)

    async def take(
        self,
        *,
        mail_from: str,
        recipients: Sequence[tuple[str, str]],
        raw: bytes,
        size: int,
        peer_ip: str,
    ) -> None:
        """On disk for every recipient (address, kind) when this returns; Unavailable otherwise.

        Partly written is possible when it fails: the client sends again, and finishing knows the
        same message by its content.
        """
        now_ms = int(self._clock() * 1000)
        raw = raw[: self._max_bytes]
        recipients = [(address, self._kind(address, kind, raw)) for address, kind in recipients]
        payloads = [
            self._encode(
                CapturedMail(
                    record_id=uuid7(now_ms),
                    time_ms=now_ms,
                    mail_from=mail_from,
                    rcpt_to=address,
                    mailbox=kind,
                    peer_ip=peer_ip,
                    raw=raw,
                    size=size,
                )
            )
            for address, kind in recipients
        ]
        await self._append(payloads)

    def _kind(self, address: str, kind: str, raw: bytes) -> str:
        """The kind, or "unsubscribe" when the subject holds a signed token of List-Unsubscribe.

        It stands there, not in the address, because its case matters.
        """
        if kind not in (BOUNCE, COMPLAINT) or "+" in address:
            return kind
        subject = _SUBJECT.search(raw, 0, MAX_HEADER_BYTES)
        end = _END_OF_HEADERS.search(raw, 0, MAX_HEADER_BYTES)
        if subject is None or (end is not None and end.start() < subject.start()):
            return kind
        for word in _TOKEN.findall(subject[1])[:8]:
            try:
                self._tokens.verify(Purpose.MAILTO, word)
            except (Malformed, NotFound):
                continue
            except Unavailable:
                pass  # genuine; its row is finishing's business
            return UNSUBSCRIBE
        return kind

    async def _append(self, payloads: list[bytes]) -> None:
        append = self._journal.append_async
        try:
            async with asyncio.timeout(self._timeout):
                if len(payloads) == 1:
                    await append(payloads[0])
                    return
                results = await asyncio.gather(*map(append, payloads), return_exceptions=True)
        except TimeoutError:
            raise Unavailable(f"the journal took over {self._timeout:.0f} seconds") from None
        for result in results:
            if isinstance(result, BaseException):
                raise result
