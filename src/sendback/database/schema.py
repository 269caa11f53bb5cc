"""The tables of the main database, as they are now; migrations/ says how they came about.

A test proves the two equal on SQLite and on Postgres. Times are milliseconds since the epoch
unless the column says otherwise. Addresses that only serve as keys are hashed (`email_hash`).
"""

import hashlib

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, Text

#: Every revision this program knows, oldest first; the last one is what it needs.
REVISIONS = ("0001", "0002")

metadata = sa.MetaData(
    naming_convention={"pk": "%(table_name)s_pkey", "ix": "%(table_name)s__%(column_0_N_name)s_idx"}
)


def email_hash(email: str) -> str:
    """The key under which an address is counted or suppressed, whatever its case."""
    return hashlib.sha256(email.strip().lower().encode()).hexdigest()[:32]


def storable(text: str) -> str:
    """The text without NUL, which Postgres can't store."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


# -- catalog ---------------------------------------------------------------------------------

catalog_objects = Table(
    "catalog_objects",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("name", String(400), primary_key=True),
    Column("body", Text, nullable=False),  # the object's fields as JSON
    Column("version", BigInteger, nullable=False),  # of the catalog, when this row was written
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)

# Wrong links mended, and hosts or SendIDs switched off. A URL is too long for an index on
# Postgres, so its hash is the key.
link_rules = Table(
    "link_rules",
    metadata,
    Column("kind", String(16), primary_key=True),  # override, block
    Column("key_hash", String(32), primary_key=True),
    Column("key", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

# One row. Each change of the catalog takes its lock first, so changes happen one after another.
catalog_version = Table(
    "catalog_version",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time_ms", BigInteger, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("name", Text, nullable=False),
    Column("before", Text, nullable=False),  # JSON, secrets masked; "" where there was nothing
    Column("after", Text, nullable=False),
    Index(None, "time_ms"),
)

# -- statistics ------------------------------------------------------------------------------

# Columns and types of the next two tables are those of the seed (004); add none.
clickthrough_urls = Table(
    "clickthrough_urls",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sendid", String(100), nullable=False),
    Column("listid", String(100), nullable=False),
    Column("url", Text, nullable=False),
)
# Postgres can't index a long text, SQLite has no md5: one unique key, written twice.
Index(
    "clickthrough_urls__key",
    clickthrough_urls.c.sendid,
    clickthrough_urls.c.listid,
    clickthrough_urls.c.url,
    unique=True,
).ddl_if(dialect="sqlite")
Index(
    "clickthrough_urls__key_md5",
    clickthrough_urls.c.sendid,
    clickthrough_urls.c.listid,
    sa.func.md5(clickthrough_urls.c.url),
    unique=True,
).ddl_if(dialect="postgresql")

clickthrough_clicks = Table(
    "clickthrough_clicks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("urlid", Integer, nullable=False),
    Column("clicktime", Integer, nullable=False),  # seconds
    Column("emailaddress", String, nullable=False),
    Column("html_or_text", sa.CHAR(1), nullable=False),
    Column("email_code", Integer),
    Column("email_code_text", String),
    Index(None, "urlid"),
    Index(None, "clicktime"),
)

_COUNTERS = (
    "clicks_human",
    "clicks_machine",
    "clicks_unique",
    "clicks_unique_human",
    "opens_human",
    "opens_machine",
    "opens_unique",
    "opens_unique_human",
    "opens_privacy",
    "unsubs",
    "bounces_hard",
    "bounces_soft",
    "bounces_other",
    "bad_addresses",
    "complaints",
)
_LINK_COUNTERS = (
    "clicks_human",
    "clicks_machine",
    "clicks_unique",
    "clicks_unique_human",
    "unsubs",
)
_DOMAIN_COUNTERS = ("opens", "clicks", "unsubs", "bounces", "complaints")


def _counters(names: tuple[str, ...]) -> list[Column[int]]:
    return [Column(name, BigInteger, nullable=False, server_default="0") for name in names]


stats_sends = Table(
    "stats_sends",
    metadata,
    Column("sendid", String(100), primary_key=True),
    Column("listid", String(100), primary_key=True),
    Column("mail_class", String(100), nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    *_counters(_COUNTERS),
    Index(None, "last_ms"),
)

stats_hours = Table(
    "stats_hours",
    metadata,
    Column("sendid", String(100), primary_key=True),
    Column("listid", String(100), primary_key=True),
    Column("hour", Integer, primary_key=True),  # hours since the epoch
    *_counters(
        (
            "clicks_human",
            "clicks_machine",
            "opens_human",
            "opens_machine",
            "unsubs",
            "bounces",
            "complaints",
        )
    ),
    Index(None, "hour"),
)

stats_links = Table(
    "stats_links",
    metadata,
    Column("urlid", Integer, primary_key=True, autoincrement=False),
    Column("link_id", String(100), primary_key=True),
    *_counters(_LINK_COUNTERS),
)

stats_domains = Table(
    "stats_domains",
    metadata,
    Column("sendid", String(100), primary_key=True),
    Column("listid", String(100), primary_key=True),
    Column("domain", String(255), primary_key=True),  # of the recipient
    *_counters(_DOMAIN_COUNTERS),
)

stats_bounces = Table(
    "stats_bounces",
    metadata,
    Column("sendid", String(100), primary_key=True),
    Column("listid", String(100), primary_key=True),
    Column("bounce_type", String(1), primary_key=True),
    Column("bounce_code", Integer, primary_key=True, autoincrement=False),  # -1: none
    Column("bounce_reason", String(64), primary_key=True),
    *_counters(("bounces",)),
)

# Who was counted already: a hash of (send or link, address), and a bit for each thing done.
stats_seen = Table(
    "stats_seen",
    metadata,
    Column("hash", BigInteger, primary_key=True, autoincrement=False),
    Column("flags", Integer, nullable=False),
    Column("day", Integer, nullable=False, server_default="0"),  # since 1970: of the newest bit
    Index(None, "day"),
)

cursors = Table(
    "cursors",
    metadata,
    Column("consumer", String(64), primary_key=True),
    Column("server_id", String(255), primary_key=True),
    Column("seq", BigInteger, nullable=False),
)

# -- bounces and suppression -----------------------------------------------------------------

suppressions = Table(
    "suppressions",
    metadata,
    Column("email_hash", String(32), primary_key=True),
    Column("listid", String(100), primary_key=True),  # "": every list
    Column("email", Text, nullable=False),  # "" after `recipient erase`: the wish stays
    Column("reason", String(32), nullable=False),  # bounce_bad_address, scomp, engine_unsub, manual
    Column("time_ms", BigInteger, nullable=False),
    Column("sendid", String(100), nullable=False),
    Column("bounce_type", String(1), nullable=False),
    Column("bounce_code", Integer),
    Column("bounce_text", Text, nullable=False),
    Column("event_id", String(36), nullable=False),
    Index(None, "time_ms"),
)

bounce_counts = Table(
    "bounce_counts",
    metadata,
    Column("email_hash", String(32), primary_key=True),
    Column("rule", String(64), primary_key=True),
    Column("bounces", Integer, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Index(None, "last_ms"),
)

# What was answered for a record, so that a replayed one gets the same answer.
bounce_answers = Table(
    "bounce_answers",
    metadata,
    Column("record_id", sa.LargeBinary(16), primary_key=True),
    Column("email_hash", String(32), primary_key=True),
    Column("bad_address", Boolean, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Index(None, "time_ms"),
)

# -- access ----------------------------------------------------------------------------------

users = Table(
    "users",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("password_hash", Text, nullable=False),
    Column("role", String(16), nullable=False),  # read, operate, admin
    Column("totp_secret", Text, nullable=False),  # "" without a second factor
    Column("totp_step", BigInteger, nullable=False),  # the last one used: none works twice
    Column("created_ms", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id_hash", String(64), primary_key=True),
    Column("user_name", String(100), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Index(None, "user_name"),
)

invitations = Table(
    "invitations",
    metadata,
    Column("id_hash", String(64), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),  # the prefix, shown in lists
    Column("key_hash", String(64), nullable=False),
    Column("name", String(100), nullable=False),
    Column("scopes", Text, nullable=False),  # space separated
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("last_used_ms", BigInteger),
    Column("revoked_ms", BigInteger),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("principal", String(200), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("status", Integer),  # null while the first request is at work
    Column("body", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Index(None, "created_ms"),
)
