"""What the self-test works with: the running node of this directory, or what an operator names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sendback.bootstrap.addresses import running_addresses
from sendback.bootstrap.core import Core
from sendback.config.load import parse_listen
from sendback.errors import Malformed, NotFound

if TYPE_CHECKING:
    from sendback.checks import Resolver
    from sendback.checks.asking import Asking
    from sendback.checks.event_sources import EventSource
    from sendback.checks.posting import Mailing, Server
    from sendback.checks.selftest import Selftest
    from sendback.checks.trial import Trial

_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the command line said; "" and None: as is natural for this node."""

    send_via: str = ""
    events_from: Sequence[str] = ()
    api_key_file: Path | None = None
    to: str = ""
    copy_from: Path | None = None
    mail_to: str = ""
    complaint_mailbox: str = ""
    mail_class: str = ""
    ca_file: Path | None = None
    seconds: float = 30.0


def build_selftest(core: Core, resolver: Resolver, wishes: Wishes) -> Selftest:
    """A run that is ready to go. Malformed and NotFound name what has to be said, too."""
    from sendback.checks.asking import Asking
    from sendback.checks.certificate import trusting
    from sendback.checks.picking import Picker
    from sendback.checks.selftest import Route, Selftest
    from sendback.checks.trial import Trial

    trial = Trial.made(core.clock())
    asking = Asking(trusting(wishes.ca_file))
    complaints = [one.address for one in core.catalog.complaint_mailboxes]
    submission, is_lmtp = _submission(core, wishes)
    route = Route(
        submission=submission,
        is_lmtp=is_lmtp,
        rcpt=wishes.to or trial.address,
        picker=Picker(_place_of_copies(core, wishes), trial.message_id, since=trial.now),
        sources=list(_sources(core, wishes, asking, trial)),
        mailing=_mailing(core, resolver, wishes),
        complaint_mailbox=wishes.complaint_mailbox or next(iter(complaints), ""),
        asking=asking,
        mail_class=wishes.mail_class,
    )
    return Selftest(trial, route, wishes.seconds)


def is_own_outbox(core: Core, place: Path) -> bool:
    """True for the Maildir that this node writes in place of a smarthost."""
    return place == core.path / "outbox"


def _submission(core: Core, wishes: Wishes) -> tuple[Server, bool]:
    if wishes.send_via:
        return _server(wishes.send_via, "--send-via"), False
    is_lmtp = core.settings.submission.protocol == "lmtp"
    running = running_addresses(core.path / "control")
    if "submission" in running:
        return running["submission"], is_lmtp
    raise NotFound(
        f"no node that takes messages runs in {core.path}: start it, or name one with --send-via"
    )


def _place_of_copies(core: Core, wishes: Wishes) -> Path:
    if wishes.copy_from is not None:
        return wishes.copy_from
    if wishes.to:
        raise Malformed("say where the mail to --to arrives: --copy-from MAILDIR-OR-FILE")
    if wishes.send_via or any(route.domain == "*" for route in core.settings.smtp_route):
        raise Malformed(
            "the message goes on to a mail server: name a mailbox that it delivers to, with --to, "
            "and where its mail lies, with --copy-from MAILDIR-OR-FILE"
        )
    return core.path / "outbox"


def _sources(core: Core, wishes: Wishes, asking: Asking, trial: Trial) -> Iterator[EventSource]:
    from sendback.checks.event_sources import LogSource, NdjsonSource, RestSource

    for text in wishes.events_from:
        if text.startswith(("http://", "https://")):
            key = _api_key(core, wishes, text)
            yield RestSource(asking, text, key, since_ms=int(trial.now * 1000) - 60_000)
        else:
            yield NdjsonSource(Path(text))
    if wishes.events_from:
        return
    try:
        log = core.event_log()
    except NotFound:
        raise Malformed(
            "this node keeps no events: name the Event Servers' with --events-from"
        ) from None
    start = log.last_seq()

    def read(email: str) -> Iterator[bytes]:
        return (event.body for event in log.read(start, _PAGE, email=email))

    yield LogSource(core.settings.server_id, read, log.close)


def _api_key(core: Core, wishes: Wishes, url: str) -> str:
    """Of the file, else of the peer with that address."""
    if wishes.api_key_file is not None:
        return wishes.api_key_file.read_text(encoding="utf-8").strip()
    base = url.rstrip("/").removesuffix("/api/v1")
    for peer in core.catalog.peers:
        if peer.admin_url.rstrip("/") == base:
            return peer.api_key
    raise Malformed(
        f"no API key for {url}: add it as a peer (sendback peer add), or give --api-key-file"
    )


def _mailing(core: Core, resolver: Resolver, wishes: Wishes) -> Mailing:
    from sendback.checks.posting import Mailing

    server = None
    if wishes.mail_to:
        server = _server(wishes.mail_to, "--mail-to")
    else:
        server = running_addresses(core.path / "control").get("smtp")
    routes = {
        route.domain: (route.host, route.port)
        for route in core.settings.smtp_route
        if route.domain != "*"
    }
    return Mailing(resolver, server=server, routes=routes)


def _server(text: str, option: str) -> Server:
    try:
        return parse_listen(text)
    except Malformed:
        raise Malformed(f"{option}: {text!r} is not HOST:PORT") from None
