"""What an operator says of links that are out already: send them elsewhere, or switch them off.

Both stand in the caller's transaction; who may change them and what is noted is the catalog's.
"""

import hashlib
from typing import Literal
from urllib.parse import urlsplit

import sqlalchemy as sa

from sendback.database.schema import link_rules, storable
from sendback.errors import Malformed, NotFound

Rule = Literal["override", "block"]


def override_of(key: str, url: str) -> tuple[str, str]:
    """Key and new URL as they are stored; Malformed says which is none."""
    key, url = key.strip(), url.strip()
    if not key or not key.isprintable():
        raise Malformed("name the URL or the link id to override", field="key")
    if not _is_web_address(url):
        raise Malformed("the new URL begins with http:// or https:// and a host", field="url")
    return key, url


def block_of(key: str) -> str:
    """Host or SendID as it is stored; Malformed when it can be neither."""
    key = key.strip().lower()
    if not key or not key.isprintable() or any(map(str.isspace, key)):
        raise Malformed("name a host or a SendID", field="key")
    return key


def load(connection: sa.Connection) -> tuple[dict[str, str], list[str]]:
    """(overrides, blocks), the oldest first."""
    rules = connection.execute(sa.select(link_rules).order_by(link_rules.c.created_ms)).all()
    overrides = {row.key: row.url for row in rules if row.kind == "override"}
    return overrides, [row.key for row in rules if row.kind == "block"]


def put(connection: sa.Connection, rule: Rule, key: str, url: str, now_ms: int) -> str | None:
    """Set or replace the rule; the URL that it said before."""
    found = _is(rule, key)
    before: str | None = connection.execute(sa.select(link_rules.c.url).where(found)).scalar()
    connection.execute(sa.delete(link_rules).where(found))
    values = {
        "kind": rule,
        "key_hash": _key_hash(key),
        "key": storable(key),
        "url": storable(url),
        "created_ms": now_ms,
    }
    connection.execute(sa.insert(link_rules).values(values))
    return before


def remove(connection: sa.Connection, rule: Rule, key: str) -> str:
    """Take the rule away; its key as it was stored. NotFound."""
    key = key.strip().lower() if rule == "block" else key.strip()
    if not connection.execute(sa.delete(link_rules).where(_is(rule, key))).rowcount:
        raise NotFound(f"there is no {rule} for {key!r}")
    return key


def _is(rule: Rule, key: str) -> sa.ColumnElement[bool]:
    return sa.and_(link_rules.c.kind == rule, link_rules.c.key_hash == _key_hash(key))


def _key_hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:  # as of http://[
        return False
    return is_web and not any(character.isspace() or character < " " for character in url)
