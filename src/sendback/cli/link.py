"""`sendback link`: what a tracking link holds; mending and blocking links after sending."""

from __future__ import annotations

from typing import Literal

import click
import msgspec

from sendback.cli.catalog import actor, usage_errors
from sendback.cli.context import EXIT_FAILED, Node, NodeGroup, fail, pass_node
from sendback.cli.output import emit, print_json


@click.group("link", cls=NodeGroup)
def link() -> None:
    """Decode, override and block tracking links."""


@link.command("decode")
@click.argument("url")
@click.pass_context
@pass_node
def decode(node: Node, context: click.Context, url: str) -> None:
    """Verify a tracking URL, or a bounce address, and show what it holds; exit 1 "bad MAC" else.

    The keys suffice to verify it. What a local or external one stands for is shown when the row
    can be read; `reason` says why not.
    """
    from sendback.errors import Forged
    from sendback.metadata.description import describe

    metadata = node.core.metadata(writes=False, include_retired=True)
    try:
        found = msgspec.to_builtins(describe(metadata, url))
    except Forged as error:
        text = "bad MAC: this was not made with our secret constants"
        fail(text, code="forged", hint=str(error))
        context.exit(EXIT_FAILED)
    finally:
        metadata.close()
    if node.json:
        print_json(found)
        return
    flat = {name: value for name, value in found.items() if not isinstance(value, dict) and value}
    for part in ("message", "link", "bounce"):
        flat.update({f"{part}.{name}": value for name, value in (found[part] or {}).items()})
    emit(node, flat)


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
