"""The external metadata database: its store, and what a node says of its health."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol

from sendback.model import DatabaseConnection

if TYPE_CHECKING:
    from sendback.config import Settings
    from sendback.metadata.external import ExternalStore

log = logging.getLogger("sendback.metadata")


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


class Node(Protocol):
    """Where the names of the databases stand, and what they name: `Core`."""

    @property
    def settings(self) -> Settings:
        """The configuration."""

    def connection_named(self, name: str) -> DatabaseConnection:
        """The database connection of that name; Misconfigured when there is none."""


def dsns(node: Node) -> dict[str, str]:
    """Connection strings of the databases that are configured, by role."""
    from sendback.metadata.postgres import conninfo_of

    settings = node.settings
    names = {
        "primary": settings.external_metadata_event_tracking_database,
        "read_failover": settings.external_metadata_event_tracking_database_read_failover,
    }
    return {role: conninfo_of(node.connection_named(name)) for role, name in names.items() if name}


def look_at(node: Node) -> threading.Thread:
    """Say once, from a thread, which database does not answer or lacks its table or index.

    Nothing waits for it: a node starts, and mail goes out, without them.
    """
    databases = dsns(node)

    def look() -> None:
        from sendback.metadata import external_table
        from sendback.metadata.base import external_error

        for role, dsn in databases.items():
            found = external_table.status(dsn)
            reason = found.reason
            if found.table and not found.prune_index:
                reason = "no index on (date): pruning would read the whole table"
            if reason:
                log.error(external_error(f"looked at the {role} at the start: {reason}"))

    thread = threading.Thread(target=look, name="look at external metadata", daemon=True)
    thread.start()
    return thread


def degraded(counters: Mapping[str, int]) -> list[str]:
    """What /readyz tells of a process whose external database is given up for now."""
    if counters.get("external_breakers_open"):
        return ["external metadata: the database does not answer, it is asked again each second"]
    return []
