"""What every command shares: --config, --data-dir, --json, the node behind them, exit codes.

A command is made with `NodeGroup` / `NodeCommand` (so it takes the three options at any place)
and asks for its `Node` by `@pass_node`. Errors of the house become one line on stderr, or one JSON
document with --json, and the exit code of CONTRACT section 5.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from sendback.errors import Misconfigured, SendbackError

if TYPE_CHECKING:
    from sendback.bootstrap import Core
    from sendback.config import Settings

P = ParamSpec("P")
R = TypeVar("R")

EXIT_FAILED, EXIT_USAGE, EXIT_CHECK, EXIT_CONFIG = 1, 2, 3, 78


class Node:
    """The node a command works on: its settings and its parts, each built on first use."""

    def __init__(self) -> None:
        self.config: Path | None = None
        self.data_dir: Path | None = None
        self.json = False

    @cached_property
    def settings(self) -> Settings:
        """Defaults < file < environment < flags; raises Misconfigured."""
        from sendback.config import load

        return load(self.config, flags={"data_dir": str(self.data_dir)} if self.data_dir else {})

    @cached_property
    def core(self) -> Core:
        """The wired parts of this node; nothing is opened before it is used."""
        from sendback.bootstrap import Core

        return Core(self.settings)


def current_node() -> Node:
    """The node of the running command; one for the whole command line."""
    meta = click.get_current_context().find_root().meta
    node = meta.setdefault("sendback.node", Node())
    assert isinstance(node, Node)
    return node


def pass_node(function: Callable[Concatenate[Node, P], R]) -> Callable[P, R]:
    """Give the command its `Node` as the first argument."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(current_node(), *args, **kwargs)

    return call


class NodeCommand(click.Command):
    """A command with --config, --data-dir and --json, whose errors become exit codes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_shared_options())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does."""
        with _usage_as_json(ctx, args):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run; a SendbackError becomes its line and its exit code."""
        try:
            with _usage_as_json(ctx):
                return super().invoke(ctx)
        except SendbackError as error:
            ctx.exit(_explain(error))


class NodeGroup(click.Group):
    """A group whose commands are `NodeCommand`s; takes the shared options itself too."""

    command_class = NodeCommand

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_shared_options())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does."""
        with _usage_as_json(ctx, args):
            return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, naming the nearest command for a misspelt one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 1, 0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            with _usage_as_json(ctx, args):
                raise click.UsageError(f"{error.message}{hint}", ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """As a command's: a group may work without a sub-command."""
        try:
            with _usage_as_json(ctx):
                return super().invoke(ctx)
        except SendbackError as error:
            ctx.exit(_explain(error))


NodeGroup.group_class = NodeGroup


def _shared_options() -> list[click.Parameter]:
    def remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value and param.name:
            setattr(ctx.find_root().meta.setdefault("sendback.node", Node()), param.name, value)

    path = click.Path(path_type=Path)
    return [
        click.Option(
            ["--config"], type=path, help="Configuration file.", callback=remember,
            expose_value=False, is_eager=True,
        ),
        click.Option(
            ["--data-dir"], type=path, help="Data directory.", callback=remember,
            expose_value=False, is_eager=True,
        ),
        click.Option(
            ["--json"], is_flag=True, help="One JSON document.", callback=remember,
            expose_value=False, is_eager=True,
        ),
    ]  # fmt: skip


@contextlib.contextmanager
def _usage_as_json(ctx: click.Context, args: Sequence[str] = ()) -> Iterator[None]:
    """With --json a usage error has its document too, once; click says the rest on stderr.

    `args`: not parsed yet, so nobody has remembered --json.
    """
    try:
        yield
    except click.UsageError as error:
        meta = ctx.find_root().meta
        is_json = "--json" in args or meta.get("sendback.node", Node()).json
        if is_json and not meta.get("sendback.is_told"):
            meta["sendback.is_told"] = True
            _print_error(error.format_message(), "usage", None)
        raise


def _explain(error: SendbackError) -> int:
    hint = None
    message = str(error)
    code = EXIT_FAILED
    if isinstance(error, Misconfigured):
        hint, code = error.hint, EXIT_CONFIG
        message = f"{error.place}: {message}" if error.place else message
    fail(message, code=type(error).__name__.lower(), hint=hint)
    return code


def fail(message: str, *, code: str, hint: str | None = None) -> None:
    """Say what went wrong: a line on stderr, and with --json the error document on stdout."""
    context = click.get_current_context(silent=True)
    if context is not None and current_node().json:
        _print_error(message, code, hint)
    print(f"sendback: {_printable(message)}", file=sys.stderr)
    if hint:
        print(f"  {_printable(hint)}", file=sys.stderr)


def _print_error(message: str, code: str, hint: str | None) -> None:
    document = {"error": {"code": code, "message": message, "hint": hint or ""}}
    print(json.dumps(document, ensure_ascii=False))


def _printable(text: str) -> str:
    """The text with control characters escaped: a terminal must not obey what we quote."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)
