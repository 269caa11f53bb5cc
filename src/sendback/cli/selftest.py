"""`sendback selftest`: the testing sequence of seed 000, one line a step; exit 3 when one fails."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sendback.cli.catalog import usage_errors
from sendback.cli.context import EXIT_CHECK, Node, NodeCommand, pass_node
from sendback.cli.output import line_of, print_json

if TYPE_CHECKING:
    from sendback.checks import Finding
    from sendback.checks.selftest import Selftest

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("selftest", cls=NodeCommand)
@click.option(
    "--send-via",
    metavar="HOST:PORT",
    default="",
    help="Submission port of the Sending Server to try.  [this node's]",
)
@click.option(
    "--events-from",
    metavar="NDJSON-OR-URL",
    multiple=True,
    help="File of an ndjson destination, or admin port of an Event Server; may be repeated.  "
    "[this node's log]",
)
@click.option(
    "--api-key-file",
    type=_FILE,
    help="Holds the API key for the URLs.  [that of the peer with this URL]",
)
@click.option(
    "--to",
    metavar="ADDRESS",
    default="",
    help="A mailbox that you read; events name the made-up address all the same.  "
    "[the made-up address]",
)
@click.option(
    "--copy-from",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Maildir where mail to that address lies, or a file that you save the raw message to.  "
    "[this node's outbox]",
)
@click.option(
    "--mail-to",
    metavar="HOST:PORT",
    default="",
    help="Event Server that gets bounce and complaint.  "
    "[this node's smtp port, else smtp_route, else the MX]",
)
@click.option("--complaint-mailbox", metavar="ADDRESS", default="", help="[the first one here]")
@click.option(
    "--mail-class",
    metavar="NAME",
    default="",
    help="Mail class of the message.  [the default one]",
)
@click.option("--nameserver", multiple=True, help="Ask this server for MX records.")
@click.option("--port", default=53, show_default=True, type=click.IntRange(1, 65535))
@click.option("--ca-file", type=_FILE, help="Trust these authorities too (PEM).")
@click.option(
    "--timeout",
    "seconds",
    default=30.0,
    show_default=True,
    type=click.FloatRange(1, 3600),
    help="Seconds that each step may take.",
)
@pass_node
def selftest(node: Node, /, nameserver: tuple[str, ...], port: int, **wishes: Any) -> None:
    """Send a message, do all that can be done to it, and see each event come.

    Loads its picture, clicks, unsubscribes, mails its headers to the complaint mailbox and bounces
    it: engine_open, engine_click, engine_unsub, scomp, bounce_all, and bounce_bad_address by the
    counting rules. All of it names a made-up address that ends in .invalid: nobody is suppressed.

    By itself it tries the node that runs in this data directory. For a fleet, run it on one of its
    servers for each pair: --send-via, --to with --copy-from, --events-from.
    """
    from sendback.bootstrap.selftesting import Wishes, build_selftest
    from sendback.checks import DnsResolver

    with usage_errors():
        run = build_selftest(node.core, DnsResolver(nameserver, port=port), Wishes(**wishes))
    found: list[Finding] = []
    for step in run.steps():
        found.append(step)
        if not node.json:
            print(line_of([step.check, step.state, step.subject, step.detail, step.cure]))
            sys.stdout.flush()
    run.close()
    ok, left = all(step.ok for step in found), _left(node, run)
    if node.json:
        print_json({"ok": ok, "address": run.trial.address, "steps": found, "left": left})
    else:
        for line in left:
            print(line_of(["left", line]))
    if not ok:
        click.get_current_context().exit(EXIT_CHECK)


def _left(node: Node, run: Selftest) -> list[str]:
    """Clean up what is ours, and say what stays where."""
    from sendback.bootstrap.selftesting import is_own_outbox

    left = []
    copy = run.route.picker.found
    if copy is not None and is_own_outbox(node.core, run.route.picker.place):
        copy.unlink(missing_ok=True)
    elif copy is not None:
        left.append(f"the message: {copy}")
    events = run.watch.events
    if events:
        servers = ", ".join(sorted({str(event.get("server_id", "?")) for event in events}))
        left.append(
            f"{len(events)} events on {servers}, statistics and suppression with them; there: "
            f"sendback recipient erase {run.trial.address}"
        )
    return left
