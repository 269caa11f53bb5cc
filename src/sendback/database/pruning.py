"""Forgetting old rows of the statistics: those that grow with every recipient and every hour.

What a send, a link or a domain came to in total stays.
"""

import sqlalchemy as sa

from sendback.database.engine import Database
from sendback.database.schema import clickthrough_clicks, stats_hours, stats_seen

_CHUNK = 5_000


def prune_statistics(database: Database, *, before: int, chunks: int = 200) -> int:
    """Delete clicks, visitors and hours from before this time (seconds); how many rows.

    In short transactions, so that counting goes on between them, and at most `chunks` of each
    kind: the next call does the rest. A visitor forgotten is unique again. Unavailable.
    """
    day = before // 86_400
    clicks, seen, hours = clickthrough_clicks.c, stats_seen.c, stats_hours.c
    return (
        _delete(database, [clicks.id], clicks.clicktime < before, chunks)
        # 0: counted by a program that did not know days yet
        + _delete(database, [seen.hash], sa.and_(seen.day > 0, seen.day < day), chunks)
        + _delete(
            database, [hours.sendid, hours.listid, hours.hour], hours.hour < before // 3600, chunks
        )
    )


def _delete(
    database: Database,
    key: list[sa.Column[object]],
    condition: sa.ColumnElement[bool],
    chunks: int,
) -> int:
    table = key[0].table
    old = sa.select(*key).where(condition).limit(_CHUNK)
    total = 0
    for _ in range(chunks):
        with database.write() as connection:
            count = connection.execute(sa.delete(table).where(sa.tuple_(*key).in_(old))).rowcount
        total += count
        if count < _CHUNK:
            break
    return total
