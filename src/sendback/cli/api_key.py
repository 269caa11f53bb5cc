"""`sendback api-key`: keys for the REST API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click
import msgspec

from sendback.cli.catalog import actor, usage_errors
from sendback.cli.context import Node, NodeGroup, pass_node
from sendback.cli.output import emit
from sendback.cli.times import rfc3339

if TYPE_CHECKING:
    from sendback.database.accounts import Accounts, ApiKey


@click.group("api-key", cls=NodeGroup)
def api_key() -> None:
    """Keys for the REST API."""


@api_key.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["read", "messages", "operate", "admin"]),
    help="May be repeated. messages: submit and rewrite only.  [read]",
)
@click.option("--expires-days", type=click.IntRange(1, 3650), help="Refused after so many days.")
@pass_node
def create(node: Node, name: str, scopes: tuple[str, ...], expires_days: int | None) -> None:
    """Make a key. Its text is printed now and never again."""
    expires = None if expires_days is None else int((time.time() + expires_days * 86400) * 1000)
    with usage_errors():
        text, key = _accounts(node).create_key(
            name, scopes or ("read",), actor=actor(), expires_ms=expires
        )
    emit(node, {"key": text, **_shown(key)})


@api_key.command("list")
@pass_node
def list_(node: Node) -> None:
    """List keys, without their secrets."""
    columns = ("id", "name", "scopes", "created", "expires", "last_used", "revoked")
    emit(node, [_shown(key) for key in _accounts(node).api_keys()], columns=columns)


@api_key.command("revoke")
@click.argument("key_id", metavar="ID")
@pass_node
def revoke(node: Node, key_id: str) -> None:
    """Refuse a key from now on."""
    _accounts(node).revoke_key(key_id, actor=actor())
    emit(node, {"revoked": key_id})


def _accounts(node: Node) -> Accounts:
    from sendback.database.accounts import Accounts

    return Accounts(node.core.upgraded_database())


def _shown(key: ApiKey) -> dict[str, Any]:
    values = msgspec.to_builtins(key)
    for name in ("created", "expires", "last_used", "revoked"):
        time_ms = values[f"{name}_ms"]
        values[name] = None if time_ms is None else rfc3339(time_ms)
    return dict(values)
