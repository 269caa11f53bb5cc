"""What the main database keeps of one address, shown and erased as a whole."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec
import sqlalchemy as sa

from sendback.database import audit
from sendback.database.counts import BounceCounts
from sendback.database.engine import Database
from sendback.database.schema import (
    clickthrough_clicks,
    clickthrough_urls,
    email_hash,
    idempotency,
    stats_links,
)
from sendback.database.suppression import Suppression

_CHUNK = 500


class Recipients:
    """Every method: Unavailable while the database is down. Addresses compare in any case."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._suppression = Suppression(database, "")
        self._counts = BounceCounts(database, "")

    def show(self, email: str) -> dict[str, list[Any]]:
        """Clicks and opens, bounce counts, suppressions."""
        clicks, urls = clickthrough_clicks, clickthrough_urls
        query = (
            sa.select(
                clicks.c.clicktime,
                clicks.c.html_or_text,
                clicks.c.email_code_text,
                urls.c.sendid,
                urls.c.listid,
                urls.c.url,
            )
            .join_from(clicks, urls, clicks.c.urlid == urls.c.id)
            .where(sa.func.lower(clicks.c.emailaddress) == email.lower())
            .order_by(clicks.c.clicktime, clicks.c.id)
        )
        with self._database.read() as connection:
            found = [dict(row) for row in connection.execute(query).mappings()]
        return {
            "clicks": found,
            "bounces": list(self._counts.of(email)),
            "suppressions": [msgspec.to_builtins(one) for one in self._suppression.check(email)],
        }

    def erase(self, email: str, *, actor: str) -> dict[str, int]:
        """No row names the address any more; how many rows. Counters and suppressions stay.

        A link that names it before its `?` was that recipient's own: it goes with its counts. On
        SQLite what is deleted is overwritten.
        """
        removed = {
            "bounces": self._counts.erase(email),
            "suppressions": self._suppression.erase(email),
        }
        with self._database.write() as connection:
            links = [row.id for row in connection.execute(_links_naming(email))]
            clicks, urls = clickthrough_clicks, clickthrough_urls
            for table, column in (
                (stats_links, stats_links.c.urlid),
                (clicks, clicks.c.urlid),
                (urls, urls.c.id),
            ):
                for start in range(0, len(links), _CHUNK):
                    chunk = links[start : start + _CHUNK]
                    connection.execute(sa.delete(table).where(column.in_(chunk)))
            gone = sa.delete(clicks).where(sa.func.lower(clicks.c.emailaddress) == email.lower())
            removed["clicks"] = connection.execute(gone).rowcount
            removed["links"] = len(links)
            kept = sa.func.lower(idempotency.c.body).contains(email.lower(), autoescape=True)
            answers = connection.execute(sa.delete(idempotency).where(kept))
            removed["api_answers"] = answers.rowcount
            audit.record(
                connection,
                time_ms=int(self._clock() * 1000),
                actor=actor,
                action="erase",
                kind="recipient",
                name=email_hash(email),
            )
        return removed


def _links_naming(email: str) -> sa.Select[tuple[int]]:
    url = sa.func.lower(clickthrough_urls.c.url)
    forms = {
        email.lower(),
        email.lower().replace("@", "%40"),
        quote(email.lower(), safe="").lower(),
    }
    return sa.select(clickthrough_urls.c.id).where(
        sa.or_(*(url.contains(form, autoescape=True) for form in sorted(forms)))
    )
