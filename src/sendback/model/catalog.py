"""What an operator names: URL domains, mail classes, mailboxes, connections, destinations, peers.

One validation, whichever way an object came in (file, command line, API, page): constructing it.
A wrong value raises `Malformed` with the field's name. `Catalog` is the whole set at one moment.
"""

import json
import re
from functools import cached_property
from typing import Literal

import msgspec

from sendback.errors import Malformed
from sendback.model.endpoint import check_headers, check_url, secret_base64
from sendback.model.events import EVENT_TYPES
from sendback.model.facts import Privacy, Storage

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
_MAIL_CLASS = re.compile(r"[A-Za-z_]{2,64}\Z")
_LISTID = re.compile(r"[A-Za-z0-9_+.-]{1,100}\Z")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}\Z")
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*/=?^_`{|}~.-]{1,64}\Z")
#: A bounce token is at most 56 octets, the separator one: RFC 5321 4.5.3.1.1 allows 64.
BOUNCE_TOKEN_OCTETS = 56
MAX_ASSOCIATION_BYTES = 128 * 1024


def normal_host(text: str, *, field: str = "domain") -> str:
    """The host in lower case, as A-labels, without a trailing dot; Malformed when it is none."""
    host = text.strip().rstrip(".").lower()
    try:
        ascii_host = host.encode("ascii").decode() if host.isascii() else _to_a_labels(host)
    except UnicodeError:
        raise Malformed(f"{text!r} is not a host name", field=field) from None
    if not 0 < len(ascii_host) <= 253 or not all(map(_LABEL.match, ascii_host.split("."))):
        raise Malformed(f"{text!r} is not a host name", field=field)
    return ascii_host


def _to_a_labels(host: str) -> str:
    return host.encode("idna").decode("ascii")


def _mailbox_address(text: str) -> str:
    local, at, domain = text.strip().rpartition("@")
    if not at or not _LOCAL_PART.match(local):
        raise Malformed(f"{text!r} is not a mailbox address", field="address")
    return f"{local.lower()}@{normal_host(domain, field='address')}"


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        raise Malformed("a name is 1 to 100 letters, digits, '_', '-' and '.'", field="name")


class _Object(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A catalog object; subclasses check themselves in `__post_init__`."""

    def _set(self, field: str, value: object) -> None:
        msgspec.structs.force_setattr(self, field, value)


class UrlDomain(_Object, frozen=True, kw_only=True):
    """A host that tracking links are made with and answered on."""

    domain: str
    tls: bool = False
    default: bool = False
    link_base: str = ""
    apple_app_site_association: str = ""
    """The JSON document, stored and served byte for byte; "" for none."""
    android_asset_links: str = ""

    def __post_init__(self) -> None:
        self._set("domain", normal_host(self.domain))
        if not self.link_base:
            self._set("link_base", f"{'https' if self.tls else 'http'}://{self.domain}")
        if not re.match(r"https?://[^/?#\s]+\Z", self.link_base):
            raise Malformed("link_base is http:// or https:// and a host", field="link_base")
        for field in ("apple_app_site_association", "android_asset_links"):
            _check_json_text(getattr(self, field), field)


def _check_json_text(text: str, field: str) -> None:
    if not text:
        return
    if len(text.encode()) > MAX_ASSOCIATION_BYTES:
        raise Malformed(f"{field} is over 128 KB", field=field)
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{field} is not valid JSON: {error}", field=field) from None


class MailClass(_Object, frozen=True, kw_only=True):
    """How messages of one kind are tagged (seed 000, seed 004)."""

    name: str
    default: bool = False
    listid: str = ""
    track_clicks: bool = False
    track_opens: bool = False
    url_domain: str = ""
    bounce_mailbox: str = ""
    event_tracking_metadata_storage: Storage | None = None
    unsubscribe_links: bool = False
    list_unsubscribe: bool = True
    list_unsubscribe_mailto: bool = False
    unsubscribe_mode: Literal["redirect", "confirm"] = "redirect"
    statistic_report_grouping: Literal[
        "daily", "daily_short", "monthly", "per_instanceid", "fixed"
    ] = "daily"
    sendid: str = ""
    track_text_links: bool = False
    track_amp_links: bool = False
    outlook_links: bool = True
    honeypot_link: bool = False
    feedback_id: str = ""
    """Text of a Feedback-ID header to write; "" for none."""
    cfbl: bool = False
    """Write CFBL-Address and CFBL-Feedback-ID (RFC 9477)."""
    privacy: Privacy = Privacy.FULL

    def __post_init__(self) -> None:
        if not _MAIL_CLASS.match(self.name):
            raise Malformed("a mail class is 2 to 64 letters and '_'", field="name")
        self._set("listid", (self.listid or self.name).lower())
        if not _LISTID.match(self.listid):
            raise Malformed("a ListID is letters, digits, '_', '+', '-' and '.'", field="listid")
        if self.url_domain:
            self._set("url_domain", normal_host(self.url_domain, field="url_domain"))
        if self.bounce_mailbox:
            self._set("bounce_mailbox", _mailbox_address(self.bounce_mailbox))
        if self.statistic_report_grouping == "fixed" and not self.sendid:
            raise Malformed("grouping 'fixed' needs a sendid", field="sendid")
        self._set("sendid", self.sendid.lower())


class BounceMailbox(_Object, frozen=True, kw_only=True):
    """An address that takes bounces, bare and with `+TOKEN`."""

    address: str

    def __post_init__(self) -> None:
        self._set("address", _mailbox_address(self.address))
        room = 64 - 1 - BOUNCE_TOKEN_OCTETS
        if len(self.local_part) > room:
            raise Malformed(
                f"the name before '@' has at most {room} characters: '+TOKEN' must fit 64 octets",
                field="address",
            )

    @property
    def local_part(self) -> str:
        """What stands before the `@`."""
        return self.address.rpartition("@")[0]

    @property
    def domain(self) -> str:
        """What stands after the `@`."""
        return self.address.rpartition("@")[2]


class ComplaintMailbox(_Object, frozen=True, kw_only=True):
    """An address that feedback loops report to."""

    address: str

    def __post_init__(self) -> None:
        self._set("address", _mailbox_address(self.address))


_DSN_KEYS = frozenset(
    ["host", "port", "dbname", "user", "password", "sslmode", "sslrootcert", "target_session_attrs"]
)


class DatabaseConnection(_Object, frozen=True, kw_only=True):
    """A Postgres that the operator runs (seed 004, "External")."""

    name: str
    type: Literal["postgres"] = "postgres"
    hostname: str = ""
    port: int = 5432
    database: str = ""
    username: str = ""
    password: str = ""
    ssl: bool = False
    dsn: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not 0 < self.port < 65536:
            raise Malformed("a port is 1 to 65535", field="port")
        if self.dsn:
            if self.hostname or self.database:
                raise Malformed("give either dsn or hostname and database", field="dsn")
            keys = set(
                re.findall(r"(?:^|\s)([a-z_]+)\s*=", re.sub(r"'(?:[^'\\]|\\.)*'", "''", self.dsn))
            )
            if "://" not in self.dsn and (not keys or keys - _DSN_KEYS):
                raise Malformed(f"a dsn may set {', '.join(sorted(_DSN_KEYS))}", field="dsn")
        elif not self.database:
            raise Malformed("a connection needs a database, or a dsn", field="database")


class Destination(_Object, frozen=True, kw_only=True):
    """Where events are delivered."""

    name: str
    type: Literal["webhook", "ndjson", "postgres", "jetstream", "plugin"]
    """`plugin`: an installed package serves it, named by the scheme of the url."""
    url: str
    events: tuple[str, ...] = ("all",)
    mail_classes: tuple[str, ...] = ("all",)
    format: str = "batch"
    secret: str = ""
    secrets: tuple[str, ...] = ()
    """Further live secrets; every one signs."""
    headers: dict[str, str] = {}
    gzip: bool = False
    bots: Literal["all", "only", "none"] = "all"
    max_batch_size: int = 500
    parallel: int = 1
    """Batches in flight at once, webhooks only; above 1 the order between batches is lost."""
    max_retry_hours: float = 75.6
    """What was due for longer becomes a dead letter; up to 168, seven days."""
    allow_private_networks: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        unknown = set(self.events) - {"all", *EVENT_TYPES}
        if unknown:
            raise Malformed(f"no such event type: {', '.join(sorted(unknown))}", field="events")
        for field, wanted in (("events", self.events), ("mail_classes", self.mail_classes)):
            if not wanted:
                raise Malformed(f"{field} names at least one, or all", field=field)
        if not 1 <= self.max_batch_size <= 10_000:
            raise Malformed("max_batch_size is 1 to 10000", field="max_batch_size")
        if not 1 <= self.parallel <= 64:
            raise Malformed("parallel is 1 to 64", field="parallel")
        if self.parallel > 1 and self.type not in ("webhook", "plugin"):
            raise Malformed("only a webhook takes several batches at once", field="parallel")
        if not 0 < self.max_retry_hours <= 168:
            raise Malformed("max_retry_hours is more than 0, 168 at most", field="max_retry_hours")
        check_headers(self.headers)
        for field, secrets in (("secret", (self.secret,)), ("secrets", self.secrets)):
            for secret in filter(None, secrets):
                secret_base64(secret, field=field)
        if not self.url:
            raise Malformed("a destination needs a url", field="url")
        if self.type == "webhook" and not re.match(r"https?://[^/?#\s]+", self.url):
            raise Malformed("a webhook's url begins with http:// or https://", field="url")
        if self.type in ("webhook", "jetstream"):
            check_url(self.url)


class Peer(_Object, frozen=True, kw_only=True):
    """Another node, for comparisons."""

    name: str
    admin_url: str
    api_key: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not re.match(r"https?://[^/?#\s]+", self.admin_url):
            raise Malformed("admin_url begins with http:// or https://", field="admin_url")


class SmtpRoute(_Object, frozen=True, kw_only=True):
    """A static route for a domain; `*` is the smarthost (seed 000, "NAT Considerations")."""

    domain: str
    host: str
    port: int = 25
    reuse_connections: bool = True
    max_connections: int = 100
    max_messages_per_hour: int = 10_000_000
    username: str = ""
    """Log in with it; then TLS must be had."""
    password: str = ""
    """Never in clear, neither on the way nor in what `config show` prints."""
    tls: Literal["opportunistic", "required", "off"] = "opportunistic"
    """`required`: TLS with a certificate that is verified; port 465 begins with TLS."""

    def __post_init__(self) -> None:
        if self.domain != "*":
            self._set("domain", normal_host(self.domain))
        if not 0 < self.port < 65536:
            raise Malformed("a port is 1 to 65535", field="port")
        if bool(self.username) != bool(self.password):
            raise Malformed("username and password come together", field="username")
        if self.username and self.tls == "off":
            raise Malformed("a password never goes out in clear", field="tls")


class Catalog(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Every object at one moment, with the look-ups that processes need; immutable."""

    version: int = 0
    """Grows with every change of the main database; 0 for file and built-ins alone."""
    url_domains: tuple[UrlDomain, ...] = ()
    mail_classes: tuple[MailClass, ...] = ()
    bounce_mailboxes: tuple[BounceMailbox, ...] = ()
    complaint_mailboxes: tuple[ComplaintMailbox, ...] = ()
    database_connections: tuple[DatabaseConnection, ...] = ()
    destinations: tuple[Destination, ...] = ()
    peers: tuple[Peer, ...] = ()
    overrides: dict[str, str] = {}
    """Destination URL, or link id, to the URL that answers instead."""
    blocks: tuple[str, ...] = ()
    """Destination hosts and SendIDs whose links answer 404."""

    @cached_property
    def url_domain_by_host(self) -> dict[str, UrlDomain]:
        """Host in lower case, A-labels, to its URL domain."""
        return {item.domain: item for item in self.url_domains}

    @cached_property
    def mail_class_by_name(self) -> dict[str, MailClass]:
        """Name, case folded, to its mail class."""
        return {item.name.lower(): item for item in self.mail_classes}

    @cached_property
    def bounce_mailbox_by_address(self) -> dict[str, BounceMailbox]:
        """Address to its bounce mailbox."""
        return {item.address: item for item in self.bounce_mailboxes}

    @cached_property
    def complaint_mailbox_by_address(self) -> dict[str, ComplaintMailbox]:
        """Address to its complaint mailbox."""
        return {item.address: item for item in self.complaint_mailboxes}

    @cached_property
    def blocked(self) -> frozenset[str]:
        """Blocked hosts and SendIDs, in lower case."""
        return frozenset(item.lower() for item in self.blocks)

    @cached_property
    def default_url_domain(self) -> UrlDomain | None:
        """The one marked default, else the first."""
        return next((d for d in self.url_domains if d.default), next(iter(self.url_domains), None))

    @cached_property
    def default_mail_class(self) -> MailClass | None:
        """The one marked default, else the first."""
        return next(
            (c for c in self.mail_classes if c.default), next(iter(self.mail_classes), None)
        )


def built_in(web_port: int) -> Catalog:
    """What stands for a kind of which neither file nor database names an object."""
    return Catalog(
        url_domains=(
            UrlDomain(domain="localhost", default=True, link_base=f"http://localhost:{web_port}"),
        ),
        mail_classes=(
            MailClass(
                name="default",
                default=True,
                track_clicks=True,
                track_opens=True,
                unsubscribe_links=True,
            ),
        ),
        bounce_mailboxes=(BounceMailbox(address="bounce@localhost"),),
        complaint_mailboxes=(ComplaintMailbox(address="fbl@localhost"),),
    )
