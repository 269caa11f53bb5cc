"""`sendback db`: the schema of the main database."""

from __future__ import annotations

import click

from sendback.cli.context import EXIT_CHECK, Node, NodeGroup, pass_node
from sendback.cli.output import emit


@click.group("db", cls=NodeGroup)
def db() -> None:
    """The main database's schema."""


@db.command("upgrade")
@pass_node
def upgrade(node: Node) -> None:
    """Bring the main database to the tables that this program needs."""
    from sendback.database import upgrade as schema

    node.core.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = schema.current(node.core.database)
    emit(node, {"before": before, "revision": schema.upgrade(node.core.database)})


@db.command("current")
@pass_node
def current(node: Node) -> None:
    """Show the revision that the main database is at."""
    from sendback.database import upgrade as schema
    from sendback.database.schema import REVISIONS

    at = schema.current(node.core.database)
    emit(node, {"revision": at, "needed": REVISIONS[-1]})


@db.command("check")
@click.pass_context
@pass_node
def check(node: Node, context: click.Context) -> None:
    """Exit 0 when the main database can be used as it is, 3 when it can't."""
    from sendback.database import upgrade as schema
    from sendback.errors import Misconfigured

    try:
        schema.check(node.core.database)
    except Misconfigured as problem:
        emit(node, {"ok": False, "problem": str(problem), "hint": problem.hint or ""})
        context.exit(EXIT_CHECK)
    emit(node, {"ok": True, "problem": "", "hint": ""})
