"""The external metadata store, from the database connections that the operator named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sendback.model import DatabaseConnection

if TYPE_CHECKING:
    from sendback.metadata.external import ExternalStore


def external_store(
    primary: DatabaseConnection,
    failover: DatabaseConnection | None,
    *,
    link_rows: Literal["none", "sendid", "listid", "both"],
) -> ExternalStore:
    """The store; connects when it is first asked."""
    from sendback.metadata.external import ExternalStore

    return ExternalStore(
        conninfo(primary),
        read_failover=conninfo(failover) if failover else None,
        link_rows=link_rows,
    )


def conninfo(connection: DatabaseConnection) -> str:
    """What libpq is told."""
    from psycopg.conninfo import make_conninfo

    if connection.dsn:
        return make_conninfo(connection.dsn)
    return make_conninfo(
        host=connection.hostname or None,
        port=connection.port,
        dbname=connection.database,
        user=connection.username or None,
        password=connection.password or None,
        sslmode="require" if connection.ssl else None,
    )
