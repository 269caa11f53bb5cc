"""Every directive with its default and its help (`Meta.description`).

The example file, `config show` and the reference page are made from these structs. Directives keep
the names of the seeds where a seed has one. Reading and checking is in `sendback.config.load`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sendback.model import (
    BounceMailbox,
    Catalog,
    ComplaintMailbox,
    DatabaseConnection,
    Destination,
    MailClass,
    Peer,
    SmtpRoute,
    Storage,
    UrlDomain,
)
from sendback.model.events import EVENT_TYPES


def help_text(text: str) -> Meta:
    """A directive's description, for the example file and the reference page."""
    return Meta(description=text)


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration file."""


class Web(_Section, frozen=True, kw_only=True):
    """[web]: the public tracking server."""

    listen: Annotated[str, help_text("address:port; port 0 picks a free one")] = "127.0.0.1:8080"
    processes: Annotated[int, Meta(ge=1, le=256, description="worker processes")] = 1
    threads: Annotated[int, Meta(ge=1, le=512, description="threads a process")] = 16
    server: Annotated[Literal["granian", "gunicorn"], help_text("the WSGI server")] = "granian"
    fast_path: Annotated[bool, help_text("answer tracking routes in front of Flask")] = True
    strict_hosts: Annotated[bool, help_text("answer tokens on URL domains only")] = False
    strict_one_click: Annotated[bool, help_text("refuse one-click POSTs without their body")] = (
        False
    )


class Admin(_Section, frozen=True, kw_only=True):
    """[admin]: status, metrics, REST API; keep it private."""

    listen: Annotated[str, help_text("address:port")] = "127.0.0.1:8081"


class Smtp(_Section, frozen=True, kw_only=True):
    """[smtp]: bounces and complaints come in here."""

    listen: Annotated[str, help_text("address:port")] = "127.0.0.1:2525"
    processes: Annotated[int, Meta(ge=1, le=64, description="processes sharing the port")] = 1
    tls_certificate: Annotated[str, help_text("PEM file; with tls_key offers STARTTLS")] = ""
    tls_key: Annotated[str, help_text("PEM file")] = ""
    max_connections: Annotated[int, Meta(ge=1, description="connections at once")] = 1000
    max_connections_per_ip: Annotated[int, Meta(ge=1, description="of one address")] = 50


class Submission(_Section, frozen=True, kw_only=True):
    """[submission]: messages to be tagged and relayed."""

    listen: Annotated[str, help_text("address:port")] = "127.0.0.1:2587"
    protocol: Annotated[Literal["smtp", "lmtp"], help_text("what clients speak")] = "smtp"
    allowed_networks: Annotated[
        tuple[str, ...], help_text("CIDRs that may send without AUTH; [] when all must log in")
    ] = ("127.0.0.0/8", "::1/128")
    users: Annotated[dict[str, str], help_text("AUTH name to password, over STARTTLS")] = {}
    user_mail_classes: Annotated[
        dict[str, str], help_text("AUTH name to the mail class of its messages")
    ] = {}
    tls_certificate: Annotated[str, help_text("PEM file; with tls_key offers STARTTLS")] = ""
    tls_key: Annotated[str, help_text("PEM file")] = ""
    suppress: Annotated[Literal["off", "refuse"], help_text("answer suppressed recipients")] = "off"
    max_message_bytes: Annotated[int, Meta(ge=1024, description="largest message taken")] = (
        50 * 1024 * 1024
    )


Level = Literal["disk", "os"]


class JournalLevels(_Section, frozen=True, kw_only=True):
    """[journal]: what has happened before a visit is answered: `disk` synced, `os` written."""

    click: Annotated[Level, help_text("clicks")] = "disk"
    open: Annotated[Level, help_text("opens")] = "os"
    unsub: Annotated[Level, help_text("unsubscribes")] = "disk"
    smtp: Annotated[Level, help_text("bounces and complaints")] = "disk"
    max_bytes: Annotated[int, Meta(ge=1 << 20, description="cap; at 90 % SMTP answers 452")] = (
        4 << 30
    )


class Events(_Section, frozen=True, kw_only=True):
    """[events]: the log of this node."""

    retention_days: Annotated[
        float, Meta(gt=0, le=36_500, description="how long events are kept")
    ] = 30
    statistics_days: Annotated[
        float,
        Meta(gt=0, le=36_500, description="how long statistics keep recipients' clicks, and hours"),
    ] = 400
    max_bytes: Annotated[
        int,
        Meta(
            ge=1 << 20,
            description="cap of the log, units allowed; at 90 % SMTP answers 452; events that"
            " somebody still waits for may go beyond it",
        ),
    ] = 10 << 30
    disk_reserve_bytes: Annotated[
        int, Meta(ge=0, description="what a log beyond its cap leaves free of the disk")
    ] = 1 << 30
    record: Annotated[tuple[str, ...], help_text("event types to record")] = EVENT_TYPES
    verdict_hold_seconds: Annotated[
        float, Meta(ge=0, le=3600, description="delay delivery until the verdict is final")
    ] = 0


class Settings(_Section, frozen=True, kw_only=True):
    """Every directive of a node."""

    server_id: Annotated[str, help_text("this node's name in events; the host name when unset")] = (
        ""
    )
    data_dir: Annotated[str, help_text("where this node keeps what it must not lose")] = ""
    database_url: Annotated[
        str, help_text("SQLAlchemy URL of the main database; SQLite in data_dir when unset")
    ] = ""
    default_event_tracking_metadata_storage: Annotated[
        Storage | None, help_text("local, stateless or external; local when unset")
    ] = None
    external_metadata_event_tracking_database: Annotated[
        str, help_text("name of a database connection")
    ] = ""
    external_metadata_event_tracking_database_read_failover: Annotated[
        str, help_text("name of a database connection asked when the first has no answer")
    ] = ""
    external_metadata_event_tracking_link_rows: Annotated[
        Literal["none", "sendid", "listid", "both"], help_text("ids that each link row carries")
    ] = "none"
    simplemh_compress_links: Annotated[bool, help_text("shorten stateless links")] = True
    simplemh_validate_bounce_address: Annotated[
        bool, help_text("a mail class's bounce address must be a bounce mailbox of this node")
    ] = True
    treat_qsbf_bounces_as_local_server_names: Annotated[
        tuple[str, ...], help_text("names of our sending servers: their bounces are synchronous")
    ] = ()
    bouncemaxbytes: Annotated[
        int, Meta(ge=2048, description="bytes of a returned message that are kept")
    ] = 102400
    http_trusted_proxy_ips: Annotated[
        tuple[str, ...], help_text("CIDRs whose X-Forwarded-* count")
    ] = ()
    incoming_smtp_accept_proxy_protocol: Annotated[
        bool, help_text("smtp_trusted_proxy_ips must send a PROXY header, others must not")
    ] = False
    smtp_trusted_proxy_ips: Annotated[tuple[str, ...], help_text("CIDRs")] = ()
    web: Web = Web()
    admin: Admin = Admin()
    smtp: Smtp = Smtp()
    submission: Submission = Submission()
    journal: JournalLevels = JournalLevels()
    events: Events = Events()
    smtp_route: tuple[SmtpRoute, ...] = ()
    url_domain: tuple[UrlDomain, ...] = ()
    mail_class: tuple[MailClass, ...] = ()
    bounce_mailbox: tuple[BounceMailbox, ...] = ()
    complaint_mailbox: tuple[ComplaintMailbox, ...] = ()
    database_connection: tuple[DatabaseConnection, ...] = ()
    destination: tuple[Destination, ...] = ()
    peer: tuple[Peer, ...] = ()

    @property
    def data_path(self) -> Path:
        """The data directory, absolute."""
        return Path(self.data_dir).absolute()

    @property
    def storage(self) -> Storage:
        """Where metadata lives unless message or mail class says otherwise (seed 004)."""
        if self.default_event_tracking_metadata_storage is not None:
            return self.default_event_tracking_metadata_storage
        legacy = self.data_path / "control" / "opt.simplemh_stateless_event_handling"
        try:
            stateless = legacy.read_text(encoding="ascii", errors="replace").strip() == "1"
        except OSError:
            stateless = False
        return Storage.STATELESS if stateless else Storage.LOCAL

    @property
    def named_connections(self) -> dict[str, str]:
        """Directive by the database connection that it names, in lower case."""
        directives = (
            "external_metadata_event_tracking_database",
            "external_metadata_event_tracking_database_read_failover",
        )
        return {name.lower(): key for key in directives if (name := getattr(self, key))}

    @property
    def local_server_names(self) -> frozenset[str]:
        """Our sending servers, from the directive and the control file (seed 000)."""
        names = list(self.treat_qsbf_bounces_as_local_server_names)
        control = self.data_path / "control" / "opt.treat_qsbf_bounces_as_local_server_names"
        try:
            names += control.read_text(encoding="utf-8", errors="replace").split()
        except OSError:
            pass  # the file is optional
        return frozenset(name.strip().lower() for name in names if name.strip())

    @property
    def file_catalog(self) -> Catalog:
        """The catalog objects that the file names; read-only everywhere else."""
        return Catalog(
            url_domains=self.url_domain,
            mail_classes=self.mail_class,
            bounce_mailboxes=self.bounce_mailbox,
            complaint_mailboxes=self.complaint_mailbox,
            database_connections=self.database_connection,
            destinations=self.destination,
            peers=self.peer,
        )


#: Kinds of catalog objects in the file -> (type, the field that names an object).
CATALOG_KINDS: dict[str, tuple[type[msgspec.Struct], str]] = {
    "smtp_route": (SmtpRoute, "domain"),
    "url_domain": (UrlDomain, "domain"),
    "mail_class": (MailClass, "name"),
    "bounce_mailbox": (BounceMailbox, "address"),
    "complaint_mailbox": (ComplaintMailbox, "address"),
    "database_connection": (DatabaseConnection, "name"),
    "destination": (Destination, "name"),
    "peer": (Peer, "name"),
}
