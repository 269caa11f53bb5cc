"""`sendback recipient`: what is kept of one address, and its erasure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sendback.cli.catalog import actor
from sendback.cli.context import Node, NodeGroup, pass_node
from sendback.cli.output import emit, print_json
from sendback.errors import Malformed

if TYPE_CHECKING:
    from sendback.bootstrap.recipient import Recipient


@click.group("recipient", cls=NodeGroup)
def recipient() -> None:
    """Show or erase what is kept of a recipient."""


@recipient.command("show")
@click.argument("address")
@pass_node
def show(node: Node, address: str) -> None:
    """Show what every store keeps of ADDRESS; how much of it, without --json."""
    kept = _recipient(node, address).show()
    if node.json:
        print_json({"email": address, **kept})
        return
    emit(node, {name: len(rows) for name, rows in kept.items()}, title=address)


@recipient.command("erase")
@click.argument("address")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_node
def erase(node: Node, address: str, yes: bool) -> None:
    """Erase ADDRESS from every store of this node, and say how much each held.

    Gone are its metadata (local and external), events, dead letters, attempts and pending mail, its
    rows in the statistics, its mail in outbox/, deferred/ and unparsed/, what the journal still
    holds, and its lines in files that ndjson destinations wrote (the file in use is rotated first).
    Mail in deferred/ is not sent any more. Counters stay. Suppressions stay, as hashes: the wish
    not to be mailed outlives the address. Mail to others that names it (`mentions`) stays too.

    Works while the node runs and when it is stopped. Local and external links sent before can't be
    completed to events any more. An external database is scanned whole. What was delivered to
    webhooks, databases and streams is out of reach.
    """
    one = _recipient(node, address)
    if not yes:
        click.confirm(f"Erase everything kept of {address}?", abort=True, err=True)
    emit(node, one.erase(actor=actor()))


def _recipient(node: Node, address: str) -> Recipient:
    from sendback.bootstrap.recipient import Recipient

    try:
        return Recipient(node.core, address)
    except Malformed as error:
        raise click.BadParameter(str(error)) from None
