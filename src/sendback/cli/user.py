"""`sendback user`: who may use the admin port."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from sendback.cli.catalog import actor, usage_errors
from sendback.cli.context import Node, NodeGroup, pass_node
from sendback.cli.output import emit
from sendback.cli.times import rfc3339

if TYPE_CHECKING:
    from sendback.database.accounts import Accounts

_role = click.option(
    "--role",
    type=click.Choice(["read", "operate", "admin"]),
    default="read",
    help="read: look; operate: deliveries and suppression too; admin: everything.  [read]",
)
_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input."
)


@click.group("user", cls=NodeGroup)
def user() -> None:
    """Who may use the admin pages."""


@user.command("add")
@click.argument("name")
@_role
@_stdin
@pass_node
def add(node: Node, name: str, role: str, password_stdin: bool) -> None:
    """Add a user; asks for the password."""
    with usage_errors():
        made = _accounts(node).add_user(name, _password(password_stdin), role, actor=actor())
    emit(node, {"name": made.name, "role": made.role})


@user.command("list")
@pass_node
def list_(node: Node) -> None:
    """List users."""
    rows = [
        {"name": one.name, "role": one.role, "totp": one.totp, "created": rfc3339(one.created_ms)}
        for one in _accounts(node).users()
    ]
    emit(node, rows)


@user.command("passwd")
@click.argument("name")
@_stdin
@pass_node
def passwd(node: Node, name: str, password_stdin: bool) -> None:
    """Set a user's password; all sessions of the user end."""
    with usage_errors():
        _accounts(node).set_password(name, _password(password_stdin), actor=actor())
    emit(node, {"name": name})


@user.command("set")
@click.argument("name")
@click.option("--role", type=click.Choice(["read", "operate", "admin"]), help="Another role.")
@click.option("--no-totp", is_flag=True, help="Drop the second factor (a lost phone).")
@pass_node
def set_(node: Node, name: str, role: str | None, no_totp: bool) -> None:
    """Change a user's role, or drop the second factor."""
    accounts = _accounts(node)
    if role:
        accounts.set_role(name, role, actor=actor())
    if no_totp:
        accounts.set_totp(name, "", actor=actor())
    emit(node, {"name": name})


@user.command("remove")
@click.argument("name")
@pass_node
def remove(node: Node, name: str) -> None:
    """Remove a user; all sessions of the user end."""
    _accounts(node).remove_user(name, actor=actor())
    emit(node, {"removed": name})


@user.command("invite")
@_role
@pass_node
def invite(node: Node, role: str) -> None:
    """Print a link that makes one user, once, within a day."""
    secret = _accounts(node).invite(role)
    emit(node, {"path": f"/welcome?invitation={secret}", "role": role})


def _accounts(node: Node) -> Accounts:
    from sendback.database.accounts import Accounts

    return Accounts(node.core.upgraded_database())


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password
