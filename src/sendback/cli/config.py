"""`sendback config`: what the settings are, where each came from, whether they work."""

from __future__ import annotations

import click
import msgspec

from sendback.cli.context import Node, NodeGroup, pass_node
from sendback.cli.output import emit
from sendback.model.endpoint import MASK, masked_url

_SECRET = frozenset({"password", "secret", "secrets", "api_key", "users", "dsn", "headers"})


@click.group("config", cls=NodeGroup)
def config() -> None:
    """Show and check the configuration."""


@config.command("show")
@click.option("--origin", is_flag=True, help="Say where each value came from.")
@pass_node
def show(node: Node, origin: bool) -> None:
    """Print every setting; secrets are masked."""
    from sendback.config import load_with_origins

    flags = {"data_dir": str(node.data_dir)} if node.data_dir else {}
    settings, origins = load_with_origins(node.config, flags=flags)
    rows = [
        {"key": key, "value": value, **({"origin": origins.get(key, "default")} if origin else {})}
        for key, value in _flat("", msgspec.to_builtins(settings))
    ]
    if node.json and not origin:
        emit(node, {row["key"]: row["value"] for row in rows})
    else:
        emit(node, rows)


@config.command("check")
@pass_node
def check(node: Node) -> None:
    """Exit 0 when the configuration works, 78 when not, with file, line and key."""
    settings = node.settings
    emit(node, {"ok": True, "data_dir": settings.data_dir, "server_id": settings.server_id})


def _flat(prefix: str, value: object) -> list[tuple[str, object]]:
    if isinstance(value, dict) and value and not _is_secret(prefix):
        return [
            pair
            for key, inner in value.items()
            for pair in _flat(f"{prefix}.{key}" if prefix else str(key), inner)
        ]
    if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        return [pair for n, inner in enumerate(value) for pair in _flat(f"{prefix}.{n}", inner)]
    masked = value and (_is_secret(prefix) or (prefix == "database_url" and "@" in str(value)))
    if prefix.rpartition(".")[2] == "url":
        value = masked_url(str(value))
    return [(prefix, MASK if masked else value)]


def _is_secret(key: str) -> bool:
    return key.rpartition(".")[2] in _SECRET
