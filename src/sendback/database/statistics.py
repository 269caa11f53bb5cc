"""The consumer that turns events into statistics: rollups and the seed's clickthrough tables.

One transaction a batch, cursor included, so a replayed batch changes nothing. Counters are added
up in memory first and written once a row. Reading them is the business of `figures.py`.

A URL is kept up to its `?` (seed 004, "Dynamic Data"), with every kind of storage: one row for a
campaign's link. "Unique" is one for a message's recipient and send, whatever the link.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from sendback.database import consumer
from sendback.database.consumer import StoredEvent
from sendback.database.engine import Database
from sendback.database.schema import (
    clickthrough_clicks,
    clickthrough_urls,
    stats_bounces,
    stats_domains,
    stats_hours,
    stats_links,
    stats_seen,
    stats_sends,
    storable,
)

_log = logging.getLogger(__name__)
CONSUMER = "statistics"
_MAX_INT = 2**31 - 1
_INTEGER = re.compile(r"-?[0-9]{1,10}\Z")
_URLS_KEPT = 100_000
#: Bits of `stats_seen.flags`: what an address did already.
_CLICKED, _CLICKED_HUMAN, _OPENED, _OPENED_HUMAN = 1, 2, 4, 8
_BIT_COUNTERS = (
    (_CLICKED, "clicks_unique"),
    (_CLICKED_HUMAN, "clicks_unique_human"),
    (_OPENED, "opens_unique"),
    (_OPENED_HUMAN, "opens_unique_human"),
)

UrlKey = tuple[str, str, str]
"""SendID, ListID, URL up to its `?`; "" for opens."""


class _Event(msgspec.Struct, kw_only=True):
    """The fields of an event's body that are counted here."""

    event_type: str
    event_time: int = 0
    event_time_ms: int = 0
    email: str = ""
    listid: str = ""
    sendid: str = ""
    click_tracking_id: str = ""
    mail_class: str = ""
    is_bot: bool | None = None
    is_privacy_open: bool | None = None
    click_url: str = ""
    link_id: str = ""
    html_or_text: str = "h"
    bounce_type: str = ""
    bounce_code: int | None = None
    bounce_reason: str = ""


class Statistics:
    """Counts the events of one node. Every method: Unavailable while the database is down."""

    def __init__(self, database: Database, server_id: str) -> None:
        self._database = database
        self._server_id = server_id
        self._url_ids: dict[UrlKey, int] = {}

    def cursor(self) -> int:
        """The seq up to which events are counted."""
        return consumer.cursor(self._database, CONSUMER, self._server_id)

    def consume(self, batch: Sequence[StoredEvent]) -> int:
        """Count these events, in one transaction; the new cursor. Idempotent."""
        if not batch:
            return self.cursor()
        new_ids: dict[UrlKey, int] = {}
        with self._database.write() as connection:
            fresh = consumer.unseen(connection, CONSUMER, self._server_id, batch)
            if fresh:
                tally = _Tally()
                for event in fresh:
                    tally.add(event)
                new_ids = self._write(connection, tally)
        self._remember(new_ids)
        return max(event.seq for event in batch)

    def links_cursor(self, source: str) -> int:
        """The row up to which the links of this metadata file (its store id) were copied."""
        return consumer.cursor(self._database, f"links:{source}", self._server_id)

    def copy_links(self, rows: Iterable[UrlKey], *, source: str, up_to: int) -> None:
        """List these links of local storage, clicked or not; `up_to`: the last row. Idempotent."""
        keys = list(dict.fromkeys(map(_url_key, rows)))
        with self._database.write() as connection:
            _take_turns(connection)
            new_ids = self._ids_of(connection, keys)
            consumer.move(connection, f"links:{source}", self._server_id, up_to)
        self._remember(new_ids)

    # -- writing a tally ---------------------------------------------------------------------

    def _write(self, connection: sa.Connection, tally: "_Tally") -> dict[UrlKey, int]:
        keys = sorted({*(click[0] for click in tally.clicks), *(key for key, _ in tally.links)})
        new_ids = self._ids_of(connection, keys)
        ids = {key: new_ids.get(key) or self._url_ids[key] for key in keys}
        if tally.clicks:
            names = [column.name for column in clickthrough_clicks.c][1:]
            rows = [dict(zip(names, (ids[key], *rest), strict=True)) for key, *rest in tally.clicks]
            connection.execute(sa.insert(clickthrough_clicks), rows)
        links = {(ids[key], link_id): counts for (key, link_id), counts in tally.links.items()}
        self._count_uniques(connection, tally, ids, links)
        _add(connection, stats_sends, tally.sends)
        _add(connection, stats_hours, tally.hours)
        _add(connection, stats_links, links)
        _add(connection, stats_domains, tally.domains)
        _add(connection, stats_bounces, tally.bounces)
        return new_ids

    def _count_uniques(
        self,
        connection: sa.Connection,
        tally: "_Tally",
        ids: dict[UrlKey, int],
        links: dict[tuple[int, str], dict[str, Any]],
    ) -> None:
        """Add one to the unique counters of each target for each bit that was not seen before."""
        wanted: dict[int, tuple[int, dict[str, Any]]] = {}
        for (send, email), flags in tally.send_visitors.items():
            wanted[_hash("s", *send, email)] = (flags, tally.sends[send])
        for (key, link_id, email), flags in tally.link_visitors.items():
            target = links[ids[key], link_id]
            wanted[_hash("l", str(ids[key]), link_id, email)] = (flags, target)
        day = max((click[1] for click in tally.clicks), default=0) // 86_400
        seen: dict[int, int] = {}
        hashes = sorted(wanted)
        for start in range(0, len(hashes), 1000):
            chunk = hashes[start : start + 1000]
            query = sa.select(stats_seen).where(stats_seen.c.hash.in_(chunk))
            seen |= {row.hash: row.flags for row in connection.execute(query)}
        changed = []
        for visitor in hashes:
            flags, target = wanted[visitor]
            before = seen.get(visitor, 0)
            fresh = flags & ~before
            if fresh:
                changed.append({"hash": visitor, "flags": flags | before, "day": day})
                for bit, counter in _BIT_COUNTERS:
                    if fresh & bit:
                        target[counter] = target.get(counter, 0) + 1
        if changed:
            insert = consumer.upsert(connection)(stats_seen)
            statement = insert.on_conflict_do_update(
                index_elements=["hash"],
                set_={"flags": insert.excluded.flags, "day": insert.excluded.day},
            )
            connection.execute(statement, changed)

    def _ids_of(self, connection: sa.Connection, keys: Sequence[UrlKey]) -> dict[UrlKey, int]:
        """The ids of these links that are not in memory yet; missing rows are made."""
        wanted = [key for key in keys if key not in self._url_ids]
        found: dict[UrlKey, int] = {}
        for start in range(0, len(wanted), 5000):
            found |= _find_urls(connection, wanted[start : start + 5000])
        missing = [key for key in wanted if key not in found]
        if missing:
            table = clickthrough_urls
            insert = sa.insert(table).returning(table.c.id, sort_by_parameter_order=True)
            rows = [{"sendid": key[0], "listid": key[1], "url": key[2]} for key in missing]
            made = connection.execute(insert, rows).scalars()
            found |= dict(zip(missing, made, strict=True))
        return found

    def _remember(self, new_ids: dict[UrlKey, int]) -> None:
        if len(self._url_ids) + len(new_ids) > _URLS_KEPT:
            self._url_ids.clear()
        self._url_ids |= new_ids


class _Tally:
    """What a batch adds up to."""

    def __init__(self) -> None:
        self.clicks: list[tuple[Any, ...]] = []
        self.sends: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.hours: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.links: dict[tuple[UrlKey, str], dict[str, Any]] = {}
        self.domains: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.bounces: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.send_visitors: dict[tuple[tuple[str, str], str], int] = {}
        self.link_visitors: dict[tuple[UrlKey, str, str], int] = {}

    def add(self, stored: StoredEvent) -> None:
        """Count one event; one that can't be read is left out, with a line in the log."""
        try:
            event = _decode(stored.body)
        except msgspec.MsgspecError as error:
            _log.warning("event %s is not counted: %s", stored.event_id, error)
            return
        send = (storable(event.sendid)[:100], storable(event.listid)[:100])
        counts = self._send(send, event)
        hour = self.hours.setdefault((*send, _clamped(event.event_time // 3600)), {})
        domain = storable(event.email.rpartition("@")[2].lower())[:255]
        of_domain = self.domains.setdefault((*send, domain), {})
        match event.event_type:
            case "engine_click":
                self._visit(send, event, counts, hour, "clicks")
                _one(of_domain, "clicks")
            case "engine_open":
                self._visit(send, event, counts, hour, "opens")
                _one(of_domain, "opens")
                if event.is_privacy_open:
                    _one(counts, "opens_privacy")
            case "engine_unsub":
                for target in (counts, hour, of_domain):
                    _one(target, "unsubs")
                if event.click_url:
                    _one(self._link(_key(send, event.click_url), event), "unsubs")
            case "bounce_all":
                kind = {"h": "bounces_hard", "s": "bounces_soft"}.get(event.bounce_type)
                _one(counts, kind or "bounces_other")
                _one(hour, "bounces")
                _one(of_domain, "bounces")
                code = -1 if event.bounce_code is None else _clamped(event.bounce_code)
                reason = storable(event.bounce_reason)[:64]
                key = (*send, event.bounce_type[:1], code, reason)
                _one(self.bounces.setdefault(key, {}), "bounces")
            case "bounce_bad_address":
                _one(counts, "bad_addresses")
            case "scomp":
                for target in (counts, hour, of_domain):
                    _one(target, "complaints")

    def _send(self, send: tuple[str, str], event: _Event) -> dict[str, Any]:
        time_ms = event.event_time_ms
        counts = self.sends.get(send)
        if counts is None:
            mail_class = storable(event.mail_class)[:100]
            counts = {"mail_class": mail_class, "first_ms": time_ms, "last_ms": time_ms}
            self.sends[send] = counts
        else:
            counts["first_ms"] = min(counts["first_ms"], time_ms)
            counts["last_ms"] = max(counts["last_ms"], time_ms)
            counts["mail_class"] = counts["mail_class"] or storable(event.mail_class)[:100]
        return counts

    def _visit(
        self,
        send: tuple[str, str],
        event: _Event,
        counts: dict[str, Any],
        hour: dict[str, Any],
        what: str,
    ) -> None:
        """A click or an open: the row of the seed's table, the counters, who it was."""
        counter = f"{what}_machine" if event.is_bot else f"{what}_human"
        _one(counts, counter)
        _one(hour, counter)
        is_click = what == "clicks"
        key = _key(send, event.click_url if is_click else "")
        text = event.click_tracking_id
        self.clicks.append(
            (
                key,
                _clamped(event.event_time),
                storable(event.email),
                event.html_or_text[:1] or "h",
                _email_code(text),
                storable(text) or None,
            )
        )
        flags = _CLICKED if is_click else _OPENED
        if not event.is_bot:
            flags |= _CLICKED_HUMAN if is_click else _OPENED_HUMAN
        visitor = (send, event.email)
        self.send_visitors[visitor] = self.send_visitors.get(visitor, 0) | flags
        if is_click:
            _one(self._link(key, event), counter)
            at_link = (key, _link_id(event), event.email)
            self.link_visitors[at_link] = self.link_visitors.get(at_link, 0) | flags

    def _link(self, key: UrlKey, event: _Event) -> dict[str, Any]:
        return self.links.setdefault((key, _link_id(event)), {})


_decode = msgspec.json.Decoder(_Event).decode


def _one(counts: dict[str, Any], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def _key(send: tuple[str, str], url: str) -> UrlKey:
    return (*send, storable(url.partition("?")[0]))


def _url_key(row: UrlKey) -> UrlKey:
    sendid, listid, url = row
    return _key((storable(sendid)[:100], storable(listid)[:100]), url)


def _link_id(event: _Event) -> str:
    return storable(event.link_id)[:100]


def _clamped(value: int) -> int:
    return max(-_MAX_INT, min(value, _MAX_INT))


def _email_code(text: str) -> int | None:
    """The tracking id as the seed's integer column; None when it is none, or does not fit."""
    if not _INTEGER.match(text):
        return None
    value = int(text)
    return value if -_MAX_INT - 1 <= value <= _MAX_INT else None


def _hash(*parts: str) -> int:
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _take_turns(connection: sa.Connection) -> None:
    consumer.unseen(connection, CONSUMER, "", ())


def _add(
    connection: sa.Connection, table: sa.Table, rows: dict[tuple[Any, ...], dict[str, Any]]
) -> None:
    """Add these counters to the table's rows, making those that are missing."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    counters = [column.name for column in table.c if column.server_default is not None]
    insert = consumer.upsert(connection)(table)
    new = insert.excluded
    changes: dict[str, Any] = {name: table.c[name] + new[name] for name in counters}
    if "last_ms" in table.c:
        is_postgres = connection.dialect.name == "postgresql"
        least, most = ("least", "greatest") if is_postgres else ("min", "max")
        changes["first_ms"] = getattr(sa.func, least)(table.c.first_ms, new.first_ms)
        changes["last_ms"] = getattr(sa.func, most)(table.c.last_ms, new.last_ms)
        changes["mail_class"] = sa.func.coalesce(
            sa.func.nullif(new.mail_class, ""), table.c.mail_class
        )
    blank = dict.fromkeys(counters, 0)
    values = [blank | counts | dict(zip(keys, key, strict=True)) for key, counts in rows.items()]
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changes), values)


def _find_urls(connection: sa.Connection, keys: Sequence[UrlKey]) -> dict[UrlKey, int]:
    """The ids of those links that have a row, in one query through the unique index."""
    if connection.dialect.name == "postgresql":
        sql = (
            "SELECT k.i, u.id FROM unnest(CAST(:s AS text[]), CAST(:l AS text[]),"
            " CAST(:u AS text[])) WITH ORDINALITY AS k(s, l, u, i) JOIN clickthrough_urls u"
            " ON u.sendid = k.s AND u.listid = k.l AND md5(u.url) = md5(k.u) AND u.url = k.u"
        )
        sendids, listids, urls = (list(column) for column in zip(*keys, strict=True))
        found = connection.execute(sa.text(sql), {"s": sendids, "l": listids, "u": urls})
        return {keys[i - 1]: id_ for i, id_ in found}
    sql = (
        "SELECT k.key, u.id FROM json_each(:keys) k JOIN clickthrough_urls u"
        " ON u.sendid = json_extract(k.value, '$[0]')"
        " AND u.listid = json_extract(k.value, '$[1]') AND u.url = json_extract(k.value, '$[2]')"
    )
    found = connection.execute(sa.text(sql), {"keys": json.dumps(keys)})
    return {keys[i]: id_ for i, id_ in found}
