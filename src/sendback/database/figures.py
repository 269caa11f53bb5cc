"""Reading the statistics: sends, one send, its links, hours, bounces and domains.

Each number is a total unless its name says unique; human and machine are told apart by the
verdict of the visit. Writing them is the business of `statistics.py`.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from sendback.database.engine import Database
from sendback.database.schema import (
    clickthrough_urls,
    stats_bounces,
    stats_domains,
    stats_hours,
    stats_links,
    stats_sends,
)
from sendback.errors import NotFound

Row = dict[str, Any]
#: (last_ms, sendid, listid) of the last row of a page.
Place = tuple[int, str, str]


class Figures:
    """Statistics as rows of plain values. Every method: Unavailable while the database is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def sends(
        self,
        *,
        limit: int = 100,
        after: Place | None = None,
        search: str = "",
        since_ms: int | None = None,
        until_ms: int | None = None,
    ) -> list[Row]:
        """Sends, the one with the newest event first; `after` continues behind a page."""
        table = stats_sends
        order = (table.c.last_ms, table.c.sendid, table.c.listid)
        query = sa.select(table).order_by(*(column.desc() for column in order))
        if limit:
            query = query.limit(limit)
        if after is not None:
            query = query.where(sa.tuple_(*order) < sa.tuple_(*map(sa.literal, after)))
        if search:
            query = query.where(
                sa.or_(
                    table.c.sendid.contains(search.lower(), autoescape=True),
                    table.c.listid.contains(search.lower(), autoescape=True),
                )
            )
        if since_ms is not None:
            query = query.where(table.c.last_ms >= since_ms)
        if until_ms is not None:
            query = query.where(table.c.first_ms < until_ms)
        return self._rows(query)

    def send(self, sendid: str, listid: str | None = None) -> list[Row]:
        """The totals of a send, one row a ListID; NotFound when there was no event yet."""
        rows = self._rows(
            sa.select(stats_sends).where(*_is(stats_sends, sendid, listid)).order_by("listid")
        )
        if not rows:
            raise NotFound(f"no event of a send {sendid!r} yet")
        return rows

    def links(self, sendid: str, listid: str | None = None) -> list[Row]:
        """Every link of a send with its counts, the most clicked first; those nobody clicked too.

        Links of one URL with different link ids are different rows (seed 004).
        """
        urls, counts = clickthrough_urls, stats_links
        numbers = [column for column in counts.c if column.server_default is not None]
        query = (
            sa.select(
                urls.c.listid,
                urls.c.url,
                sa.func.coalesce(counts.c.link_id, "").label("link_id"),
                *(sa.func.coalesce(column, 0).label(column.name) for column in numbers),
            )
            .select_from(urls.outerjoin(counts, counts.c.urlid == urls.c.id))
            .where(*_is(urls, sendid, listid), urls.c.url != "")
            .order_by(
                (
                    sa.func.coalesce(counts.c.clicks_human, 0)
                    + sa.func.coalesce(counts.c.clicks_machine, 0)
                ).desc(),
                urls.c.url,
                "link_id",
            )
        )
        return self._rows(query)

    def hours(
        self, sendid: str | None = None, *, since_hour: int = 0, until_hour: int = 2**31 - 1
    ) -> list[Row]:
        """Counts by hour since the epoch, of one send or of all, oldest first."""
        table = stats_hours
        numbers = [column for column in table.c if column.server_default is not None]
        query = (
            sa.select(table.c.hour, *(_sum(column) for column in numbers))
            .where(table.c.hour >= since_hour, table.c.hour < until_hour)
            .group_by(table.c.hour)
            .order_by(table.c.hour)
        )
        if sendid is not None:
            query = query.where(table.c.sendid == sendid.lower())
        return self._rows(query)

    def hours_of(self, sendids: Sequence[str], *, since_hour: int) -> list[Row]:
        """Clicks and opens by send and hour, for the small charts of a list."""
        table = stats_hours
        visits = (
            table.c.clicks_human + table.c.clicks_machine,
            table.c.opens_human + table.c.opens_machine,
        )
        query = (
            sa.select(
                table.c.sendid,
                table.c.listid,
                table.c.hour,
                visits[0].label("clicks"),
                visits[1].label("opens"),
            )
            .where(table.c.sendid.in_(sendids), table.c.hour >= since_hour)
            .order_by(table.c.hour)
        )
        return self._rows(query)

    def bounces(self, sendid: str, listid: str | None = None) -> list[Row]:
        """Bounces by type, code and reason, the most frequent first."""
        table = stats_bounces
        rows = self._rows(
            sa.select(
                table.c.listid,
                table.c.bounce_type,
                table.c.bounce_code,
                table.c.bounce_reason,
                table.c.bounces,
            )
            .where(*_is(table, sendid, listid))
            .order_by(table.c.bounces.desc(), table.c.bounce_reason)
        )
        for row in rows:
            row["bounce_code"] = None if row["bounce_code"] == -1 else row["bounce_code"]
        return rows

    def domains(self, sendid: str, listid: str | None = None, *, limit: int = 100) -> list[Row]:
        """Counts by the recipient's domain, the busiest first."""
        table = stats_domains
        numbers = [column for column in table.c if column.server_default is not None]
        busy = sum(numbers[1:], start=numbers[0] + 0)
        query = (
            sa.select(table.c.listid, table.c.domain, *numbers)
            .where(*_is(table, sendid, listid))
            .order_by(busy.desc(), table.c.domain)
            .limit(limit)
        )
        return self._rows(query)

    def _rows(self, query: sa.Select[Any]) -> list[Row]:
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def _is(table: sa.Table, sendid: str, listid: str | None) -> list[sa.ColumnElement[bool]]:
    found = [table.c.sendid == sendid.lower()[:100]]
    if listid is not None:
        found.append(table.c.listid == listid.lower()[:100])
    return found


def _sum(column: sa.Column[Any]) -> sa.Label[Any]:
    # Postgres sums bigints to numeric, which would come back as Decimal.
    return sa.cast(sa.func.sum(column), sa.BigInteger).label(column.name)
