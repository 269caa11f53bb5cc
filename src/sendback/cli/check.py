"""`sendback check`: what stands around the node; exit 3 when something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sendback.cli.context import EXIT_CHECK, Node, NodeGroup, pass_node
from sendback.cli.output import emit

if TYPE_CHECKING:
    from sendback.checks import DnsResolver, Finding

_COLUMNS = ("check", "subject", "state", "detail", "cure")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("check", cls=NodeGroup)
def check() -> None:
    """Check what must be right around this node.

    Each finding says what was looked at, ok, warning, problem or skipped, what was seen, and what
    to do. Exit 3 when there is a problem; nothing is changed, and no event is recorded.
    """


def _asks_dns(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--port", default=53, show_default=True, type=click.IntRange(1, 65535)),
        click.option(
            "--nameserver", multiple=True, help="Ask this server instead of the system's."
        ),
        click.option(
            "--address",
            "addresses",
            multiple=True,
            help="An address of the event servers or their proxy; may be repeated.",
        ),
    ):
        command = option(command)
    return command


_trusts = click.option(
    "--ca-file", type=_FILE, help="Trust these authorities too (PEM), beside the system's."
)


@check.command("dns")
@_asks_dns
@pass_node
def dns(node: Node, addresses: tuple[str, ...], nameserver: tuple[str, ...], port: int) -> None:
    """A, AAAA or CNAME of each URL domain, MX of each bounce and complaint domain.

    With --address, also whether they lead there. Exit 3 when one does not.
    """
    from sendback.checks import check_dns

    resolver = _resolver(nameserver, port)
    _tell(node, check_dns(node.core.catalog, resolver, expected=frozenset(addresses)))


@check.command("domain")
@click.argument("name")
@_asks_dns
@_trusts
@pass_node
def domain(
    node: Node,
    name: str,
    addresses: tuple[str, ...],
    nameserver: tuple[str, ...],
    port: int,
    ca_file: Path | None,
) -> None:
    """One URL domain as recipients meet it: DNS, TLS, our links, well-known files.

    That an event server of ours answers is shown by a link made up for nobody, asked for with
    HEAD: only who has our secret constants knows where it leads.
    """
    from sendback.bootstrap.checking import check_domains, url_domain

    wanted = url_domain(node.core, name)
    resolver = _resolver(nameserver, port)
    found = check_domains(node.core, [wanted], resolver, frozenset(addresses), ca_file)
    _tell(node, found)


@check.command("message")
@click.argument("file", type=click.File("rb"))
@pass_node
def message(node: Node, file: Any) -> None:
    """A message as it arrived, or as `rewrite` made it; - reads standard input.

    Verified with the keys of this node: links, pixel, X-Mailer-Info, Return-Path. Also the
    unsubscribe headers and whether DKIM covers them (RFC 8058).
    """
    from sendback.bootstrap.checking import checked_message

    _tell(node, checked_message(node.core, file.read()))


@check.command("all")
@_asks_dns
@_trusts
@pass_node
def all_(
    node: Node,
    addresses: tuple[str, ...],
    nameserver: tuple[str, ...],
    port: int,
    ca_file: Path | None,
) -> None:
    """Everything: configuration, databases, clocks, keys of peers, DNS, and each URL domain."""
    from sendback.bootstrap.checking import check_all

    resolver = _resolver(nameserver, port)
    found = check_all(node.core, resolver, expected=frozenset(addresses), ca_file=ca_file)
    _tell(node, found)


def _resolver(nameserver: Sequence[str], port: int) -> DnsResolver:
    from sendback.checks import DnsResolver

    return DnsResolver(nameserver, port=port)


def _tell(node: Node, findings: Sequence[Finding]) -> None:
    emit(node, findings, columns=_COLUMNS)
    if not all(finding.ok for finding in findings):
        click.get_current_context().exit(EXIT_CHECK)
