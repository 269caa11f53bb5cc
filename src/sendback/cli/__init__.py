"""The command tree: one file a command group, loaded when it is called.

`sendback X` and `flask --app sendback X` run the same tree. Nothing here reads the configuration;
a command does, through its `Node`, on first use. A new group is one line in `COMMANDS`.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

import click

from sendback.cli.context import NodeGroup, fail

#: name -> (module under sendback.cli, attribute, one line of help)
COMMANDS = {
    "api-key": ("api_key", "api_key", "Keys for the REST API."),
    "bench": ("bench", "bench", "The project's own measurements."),
    "bounce-mailbox": ("catalog", "bounce_mailbox", "Addresses that take bounces."),
    "bounces": ("bounces", "bounces", "Parse bounces; undo wrong removals."),
    "check": ("check", "check", "Check what must be right around this node."),
    "complaint-mailbox": ("catalog", "complaint_mailbox", "Addresses that take complaints."),
    "completion": ("completion", "completion", "Completion for bash, zsh and fish."),
    "config": ("config", "config", "Show and check the configuration."),
    "database-connection": ("catalog", "database_connection", "External Postgres servers."),
    "db": ("db", "db", "The main database's schema."),
    "dead-letters": ("dead_letters", "dead_letters", "Events a destination refused for good."),
    "destination": ("destination", "destination", "Where events are delivered."),
    "events": ("events", "events", "List, follow and count events."),
    "health": ("health", "health", "Exit 0 when the node here is healthy."),
    "link": ("link", "link", "Decode, override and block tracking links."),
    "mail-class": ("catalog", "mail_class", "How messages of one kind are tagged."),
    "metadata": ("metadata", "metadata", "The external metadata database."),
    "peer": ("catalog", "peer", "Other nodes, for comparisons."),
    "recipient": ("recipient", "recipient", "Show or erase what is kept of a recipient."),
    "rewrite": ("rewrite", "rewrite", "Tag one message, or a stream of them."),
    "secret-constants": ("secret_constants", "secret_constants", "The keys behind every link."),
    "selftest": ("selftest", "selftest", "Send a message and see every event come back."),
    "serve": ("serve", "serve", "Run this node."),
    "stats": ("stats", "stats", "Statistics of sends and links."),
    "suppression": ("suppression", "suppression", "Addresses not to mail."),
    "url-domain": ("catalog", "url_domain", "Hosts that tracking links are made with."),
    "user": ("user", "user", "Who may use the admin pages."),
}


class Tree(NodeGroup):
    """Loads a command's module only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, sorted."""
        return sorted({*COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None when there is none."""
        import importlib

        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, attribute, _ = COMMANDS[cmd_name]
        loaded = importlib.import_module(f"sendback.cli.{module}")
        command = getattr(loaded, attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """List the commands from the table, so that help imports no group."""
        rows = [(name, COMMANDS[name][2]) for name in sorted(COMMANDS)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def tree() -> Tree:
    """The command tree, unbound to any process state."""
    return Tree(
        name="sendback",
        help="Everything that mail sends back, as signed and durable events.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def main() -> None:
    """Run the command line; exits with the codes of CONTRACT section 5."""
    from sendback import __version__

    _open_closed_streams()
    root = click.version_option(__version__, prog_name="sendback")(tree())
    if hasattr(signal, "SIGPIPE") and sys.argv[1:2] != ["serve"]:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        result = root.main(prog_name="sendback", standalone_mode=False)
        code = result if isinstance(result, int) else 0  # click returns the code of ctx.exit()
    except click.UsageError as error:
        error.show()
        code = 2
    except click.ClickException as error:
        error.show()
        code = 1
    except UnicodeEncodeError:
        fail("an argument is no UTF-8 text", code="usage")
        code = 2
    except OSError as error:
        fail(f"{error.filename or 'output'}: {error.strerror}", code="output")
        code = 1
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(_flushed(code))


def _open_closed_streams() -> None:
    """A caller may have closed them (`>&-`); then nothing comes in, and output is not wanted."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - for good


def _flushed(code: int) -> int:
    """The exit code, or 1 when what was printed never reached its file (/dev/full)."""
    try:
        sys.stdout.flush()
    except OSError as error:
        fail(f"output could not be written: {error.strerror}", code="output")
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code
