"""Who changed what, when, from what to what: append-only, in the transaction of the change."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from sendback.database.engine import Database
from sendback.database.schema import audit, storable


class AuditEntry(msgspec.Struct, frozen=True):
    """One change; `before` and `after` are plain values with secrets masked, None for nothing."""

    id: int
    time_ms: int
    actor: str
    action: str
    kind: str
    name: str
    before: Any
    after: Any


def record(
    connection: sa.Connection,
    *,
    time_ms: int,
    actor: str,
    action: str,
    kind: str,
    name: str,
    before: Any = None,
    after: Any = None,
) -> None:
    """Write one entry into the caller's transaction; secrets must be masked already."""
    connection.execute(
        sa.insert(audit).values(
            time_ms=time_ms,
            actor=storable(actor)[:200],
            action=action,
            kind=kind,
            name=storable(name),
            before="" if before is None else msgspec.json.encode(before).decode(),
            after="" if after is None else msgspec.json.encode(after).decode(),
        )
    )


def entries(
    database: Database,
    *,
    before_id: int | None = None,
    limit: int = 100,
    kind: str | None = None,
    name: str | None = None,
) -> Sequence[AuditEntry]:
    """The newest entries first, at most `limit`, older than `before_id` when given."""
    query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(audit.c.id < before_id)
    if kind is not None:
        query = query.where(audit.c.kind == kind)
    if name is not None:
        query = query.where(audit.c.name == name)
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [
        AuditEntry(
            id=row.id,
            time_ms=row.time_ms,
            actor=row.actor,
            action=row.action,
            kind=row.kind,
            name=row.name,
            before=msgspec.json.decode(row.before) if row.before else None,
            after=msgspec.json.decode(row.after) if row.after else None,
        )
        for row in rows
    ]
