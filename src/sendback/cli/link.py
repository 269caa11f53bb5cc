"""`sendback link`: what a tracking link holds; mending and blocking links after sending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from sendback.cli.catalog import actor, usage_errors
from sendback.cli.context import EXIT_FAILED, Node, NodeGroup, fail, pass_node
from sendback.cli.output import emit, print_json
from sendback.cli.times import rfc3339

if TYPE_CHECKING:
    from sendback.bootstrap import Core


@click.group("link", cls=NodeGroup)
def link() -> None:
    """Decode, override and block tracking links."""


@link.command("decode")
@click.argument("url")
@click.pass_context
@pass_node
def decode(node: Node, context: click.Context, url: str) -> None:
    """Verify a tracking URL and show what it holds; exit 1 when its MAC is bad.

    Stateless links need nothing but the keys; others also the row on this node or in Postgres.
    """
    from sendback.errors import Forged

    try:
        found = decoded(node.core, url)
    except Forged:
        fail("bad MAC: this link was not made with our secret constants", code="forged")
        context.exit(EXIT_FAILED)
    if node.json:
        print_json(found)
    else:
        emit(node, {name: value for part in found.values() for name, value in part.items()})


def decoded(core: Core, url: str) -> dict[str, dict[str, Any]]:
    """Token, message and link of a tracking URL. Forged, Malformed, NotFound, Unavailable."""
    from sendback import links

    purpose, token = links.parse(url)
    metadata = core.metadata(writes=False, include_retired=True)
    try:
        data = metadata.resolve(purpose, token)
    finally:
        metadata.close()
    facts = {"purpose": purpose.name.lower(), "tagged": rfc3339(data.message.tagged_at * 1000)}
    found = {"token": facts, "message": msgspec.to_builtins(data.message)}
    if data.link is not None:
        found["link"] = {**msgspec.to_builtins(data.link), "kind": data.link.kind.name.lower()}
    return found


@link.command("override")
@click.argument("key", metavar="URL-OR-LINK-ID")
@click.argument("new_url", metavar="NEW-URL", required=False)
@click.option("--remove", is_flag=True, help="Take the override away.")
@pass_node
def override(node: Node, key: str, new_url: str | None, remove: bool) -> None:
    """Send every link to this URL, or with this link id, to NEW-URL instead.

    Links that were sent already too; in force within 2 seconds. Clicks keep the first URL.
    """
    if remove:
        _lift(node, "override", key)
        return
    if new_url is None:
        raise click.UsageError("say where to: NEW-URL")
    with usage_errors():
        node.core.catalog_store.override(key, new_url, actor=actor())
    emit(node, {"override": key, "url": new_url})


@link.command("block")
@click.argument("key", metavar="HOST-OR-SENDID")
@click.option("--remove", is_flag=True, help="Take the block away.")
@pass_node
def block(node: Node, key: str, remove: bool) -> None:
    """Answer 404 for every link to this host, or of this SendID; in force within 2 seconds."""
    if remove:
        _lift(node, "block", key)
        return
    with usage_errors():
        node.core.catalog_store.block(key, actor=actor())
    emit(node, {"block": key.strip().lower()})


@link.command("rules")
@pass_node
def rules(node: Node) -> None:
    """List overrides and blocks."""
    catalog = node.core.catalog_store.load()
    rows = [{"rule": "override", "key": key, "url": url} for key, url in catalog.overrides.items()]
    emit(node, rows + [{"rule": "block", "key": key, "url": ""} for key in catalog.blocks])


def _lift(node: Node, rule: Literal["override", "block"], key: str) -> None:
    node.core.catalog_store.lift(rule, key, actor=actor())
    emit(node, {"removed": rule, "key": key})
