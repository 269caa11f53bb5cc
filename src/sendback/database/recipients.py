"""What the main database keeps of one address, shown and erased as a whole."""

import time
from collections.abc import Callable
from typing import Any

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
)
from sendback.database.suppression import Suppression


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
        """No row names the address any more; how many rows. Counters and suppression stay."""
        table = clickthrough_clicks
        with self._database.write() as connection:
            gone = sa.delete(table).where(sa.func.lower(table.c.emailaddress) == email.lower())
            clicks = connection.execute(gone).rowcount
            kept = sa.func.lower(idempotency.c.body).contains(email.lower(), autoescape=True)
            connection.execute(sa.delete(idempotency).where(kept))
            audit.record(
                connection,
                time_ms=int(self._clock() * 1000),
                actor=actor,
                action="erase",
                kind="recipient",
                name=email_hash(email),
            )
        return {
            "clicks": clicks,
            "bounces": self._counts.erase(email),
            "suppressions": self._suppression.erase(email),
        }
