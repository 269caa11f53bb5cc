"""`sendback serve`: the whole node, or a part of it, until SIGTERM."""

from __future__ import annotations

from pathlib import Path

import click

from sendback.cli.context import Node, NodeCommand, pass_node


@click.command("serve", cls=NodeCommand)
@click.option(
    "--only", metavar="PARTS", help="Comma separated: web, admin, smtp, submission, worker."
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the addresses here, as JSON, when every part answers.",
)
@pass_node
def serve(node: Node, only: str | None, ready_file: Path | None) -> None:
    """Run this node: tracking, admin, bounces, submission and worker, all supervised.

    SIGTERM drains and exits 0, a second one ends at once; SIGHUP reads the configuration again.
    """
    from sendback.supervisor import PARTS
    from sendback.supervisor.start import serve_node

    parts = tuple(part.strip() for part in only.split(",")) if only else PARTS
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise click.BadParameter(
            f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(sorted(PARTS))}",
            param_hint="--only",
        )
    code = serve_node(node.settings, parts=parts, ready_file=ready_file, config=node.config)
    click.get_current_context().exit(code)
