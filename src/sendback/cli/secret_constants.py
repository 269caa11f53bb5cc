"""`sendback secret-constants`: the keys behind every link, shown, set, rotated (seed 000)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from sendback.cli.context import EXIT_USAGE, Node, NodeGroup, fail, pass_node
from sendback.cli.output import emit, print_json
from sendback.cli.times import rfc3339
from sendback.errors import Malformed

if TYPE_CHECKING:
    from sendback.secret_constants import Key, SecretConstantsFile

Changed = TypeVar("Changed")

_CONSTANT = "Hexadecimal, 16 bytes or more; - asks for it, so that no shell history keeps it."


@click.group("secret-constants", cls=NodeGroup, invoke_without_command=True)
@click.option("--view", is_flag=True, help="Print both constants of the key that signs.")
@click.option("--constant1", metavar="HEX", help=_CONSTANT)
@click.option("--constant2", metavar="HEX", help=_CONSTANT)
@click.pass_context
@pass_node
def secret_constants(
    node: Node,
    context: click.Context,
    view: bool,
    constant1: str | None,
    constant2: str | None,
) -> None:
    """The keys behind every link and bounce address; equal on all servers of a fleet.

    With both constants given, that pair signs from now on, and the former one stays accepted. In a
    fleet rotate like this: `add` on one server, `add` the same pair on all others, `promote` it
    everywhere, and `retire` the old one when its mail is too old to matter. A running node takes
    each change at its next reload: SIGHUP to `sendback serve`.
    """
    if constant1 is not None or constant2 is not None:
        if context.invoked_subcommand:
            raise click.UsageError("give the constants behind the sub-command")
        if constant1 is None or constant2 is None:
            raise click.UsageError("give both, --constant1 and --constant2")
        pair = _asked_for(constant1, 1), _asked_for(constant2, 2)
        _or_usage(lambda: _file(node).set_pair(*pair))
        _view(node)
        _remind(node)
    elif view:
        _view(node)
    elif not context.invoked_subcommand:
        click.echo(context.get_help())


@secret_constants.command("add")
@click.option("--constant1", metavar="HEX", help=_CONSTANT)
@click.option("--constant2", metavar="HEX", help=_CONSTANT)
@pass_node
def add(node: Node, constant1: str | None, constant2: str | None) -> None:
    """Accept a pair without signing with it yet: a new random one, or the one given."""
    pair = (
        _asked_for(constant1, 1) if constant1 is not None else None,
        _asked_for(constant2, 2) if constant2 is not None else None,
    )
    key = _or_usage(lambda: _file(node).add(*pair))
    _print_pair(node, key)
    _remind(node)
    if not node.json:
        click.echo(
            f"Key {key.key_id:02x} is accepted. Add the same pair on every other server, then on"
            f" each: sendback secret-constants promote {key.fingerprint[:8]}"
        )


@secret_constants.command("promote")
@click.argument("key_id", metavar="KEYID")
@pass_node
def promote(node: Node, key_id: str) -> None:
    """Sign with this key from now on. KEYID: as `list` shows it, or a fingerprint's beginning."""
    _print_key(node, _file(node).promote(key_id), "signing")


@secret_constants.command("rotate")
@pass_node
def rotate(node: Node) -> None:
    """Make a random pair and sign with it at once: for a node that stands alone."""
    _file(node).ensure()
    _print_key(node, _file(node).rotate(), "signing")


@secret_constants.command("retire")
@click.argument("key_id", metavar="KEYID")
@pass_node
def retire(node: Node, key_id: str) -> None:
    """Accept links and bounces of this key no more; what was taken in already is finished."""
    _print_key(node, _file(node).retire(key_id), "retired")


@secret_constants.command("fingerprint")
@pass_node
def fingerprint(node: Node) -> None:
    """Print what servers can compare without showing the constants."""
    ring = _file(node).ensure()
    if node.json:
        print_json({"key_id": f"{ring.key_id:02x}", "fingerprint": ring.fingerprint})
    else:
        click.echo(ring.fingerprint)


@secret_constants.command("list")
@pass_node
def list_keys(node: Node) -> None:
    """List every key with its state; no secret is shown."""
    _file(node).ensure()
    rows = [
        {
            "key_id": row.key_id,
            "fingerprint": row.fingerprint,
            "state": row.state,
            "created": rfc3339(row.created_at * 1000) if row.created_at else "",
            "retired": rfc3339(row.retired_at * 1000) if row.retired_at else "",
        }
        for row in _file(node).rows()
    ]
    emit(node, rows)


def _or_usage(change: Callable[[], Changed]) -> Changed:
    """Run the change; a constant that can't be used ends with exit code 2."""
    try:
        return change()
    except Malformed as error:
        fail(str(error), code="usage")
        click.get_current_context().exit(EXIT_USAGE)


def _file(node: Node) -> SecretConstantsFile:
    node.core.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return node.core.secret_constants


def _asked_for(text: str, number: int) -> str:
    """The constant, asked for without echo when it is "-"; a warning when it stood in the open."""
    if text != "-":
        if number == 1:
            click.echo(
                "sendback: warning: the constants stood on the command line, so shell history and "
                "process lists may hold them; `--constant1=- --constant2=-` asks instead",
                err=True,
            )
        return text
    if sys.stdin.isatty():
        return str(click.prompt(f"Constant {number}", hide_input=True, err=True))
    return sys.stdin.readline()


def _view(node: Node) -> None:
    _print_pair(node, _file(node).ensure().signing)


def _print_pair(node: Node, key: Key) -> None:
    one, two = key.constants
    if node.json:
        print_json(
            {
                "constant1": one,
                "constant2": two,
                "key_id": f"{key.key_id:02x}",
                "fingerprint": key.fingerprint,
            }
        )
    else:
        click.echo(f"Constant 1: {one}\nConstant 2: {two}")


def _print_key(node: Node, key: Key, state: str) -> None:
    emit(
        node,
        {"key_id": f"{key.key_id:02x}", "fingerprint": key.fingerprint, "state": state},
    )
    _remind(node)


def _remind(node: Node) -> None:
    """Say that a running node goes on with the keys it has."""
    from sendback.bootstrap.status import read_statuses

    if read_statuses(node.core.path / "control"):
        click.echo(
            "sendback: the running node takes this at its next reload: SIGHUP to `sendback serve`",
            err=True,
        )
