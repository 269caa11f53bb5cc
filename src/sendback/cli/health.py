"""`sendback health`: for container and service managers; imports nothing heavy."""

from __future__ import annotations

import click

from sendback.cli.context import Node, NodeCommand, pass_node
from sendback.cli.output import print_json


@click.command("health", cls=NodeCommand)
@pass_node
def health(node: Node) -> None:
    """Exit 0 when every part of the node in this data directory answers, else 1."""
    from sendback.bootstrap.status import read_statuses

    statuses = read_statuses(node.settings.data_path / "control")
    degraded = sorted({status["part"] for status in statuses if status.get("degraded")})
    parts = sorted({status["part"] for status in statuses})
    healthy = bool(parts)
    if node.json:
        print_json({"healthy": healthy, "parts": parts, "degraded": degraded})
    elif healthy:
        print(f"healthy: {', '.join(parts)}")
    else:
        print(f"no node runs in {node.settings.data_path}")
    click.get_current_context().exit(0 if healthy else 1)
