"""Use case: a message at one of our own mailboxes, journaled before it is acknowledged.

Decides which recipients are ours and puts one `CapturedMail` for each into the journal. Nothing
is parsed here: whether it is a bounce, and whose, finishing finds out.
"""

import asyncio
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


class BounceTokens(Protocol):
    """Tells genuine bounce and unsubscribe addresses from invented ones."""

    def resolve_bounce(self, token: str) -> object:
        """Forged when the token is not ours; NotFound or Unavailable when genuine but unread."""

    def resolve(self, purpose: Purpose, token: bytes) -> object:
        """The same for another purpose."""


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
        """Which kind of mailbox this is; NotFound for an address that is not ours.

        Never asks whether a genuine token's row can be read: an outage must not refuse bounces.
        """
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
        except Malformed:
            pass
        except (NotFound, Unavailable):
            return BOUNCE
        else:
            return BOUNCE
        try:
            self._tokens.resolve(Purpose.MAILTO, token.encode("ascii", "replace"))
        except Malformed:
            raise NotFound("no such mailbox here") from None
        except (NotFound, Unavailable):
            pass
        return UNSUBSCRIBE

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
        payloads = [
            self._encode(
                CapturedMail(
                    record_id=uuid7(now_ms),
                    time_ms=now_ms,
                    mail_from=mail_from,
                    rcpt_to=address,
                    mailbox=kind,
                    peer_ip=peer_ip,
                    raw=raw[: self._max_bytes],
                    size=size,
                )
            )
            for address, kind in recipients
        ]
        await self._append(payloads)

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
