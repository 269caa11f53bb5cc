"""`sendback check`: what stands around the node; exit 3 when something is wrong."""

from __future__ import annotations

import click

from sendback.cli.context import EXIT_CHECK, Node, NodeGroup, pass_node
from sendback.cli.output import emit


@click.group("check", cls=NodeGroup)
def check() -> None:
    """Check what must be right around this node."""


@check.command("dns")
@click.option(
    "--address",
    "addresses",
    multiple=True,
    help="An address of the event servers or their proxy; may be repeated.",
)
@click.option("--nameserver", multiple=True, help="Ask this server instead of the system's.")
@click.option("--port", default=53, show_default=True, type=click.IntRange(1, 65535))
@pass_node
def dns(node: Node, addresses: tuple[str, ...], nameserver: tuple[str, ...], port: int) -> None:
    """A, AAAA or CNAME of each URL domain, MX of each bounce and complaint domain.

    With --address, also whether they lead there. Exit 3 when one does not.
    """
    from sendback.checks import DnsResolver, check_dns

    findings = check_dns(
        node.core.catalog, DnsResolver(nameserver, port=port), expected=frozenset(addresses)
    )
    emit(node, findings, columns=["check", "subject", "ok", "detail", "cure"])
    if not all(finding.ok for finding in findings):
        click.get_current_context().exit(EXIT_CHECK)
