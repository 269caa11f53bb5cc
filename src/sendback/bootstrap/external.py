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
    from sendback.metadata.postgres import conninfo_of

    return ExternalStore(
        conninfo_of(primary),
        read_failover=conninfo_of(failover) if failover else None,
        link_rows=link_rows,
    )
