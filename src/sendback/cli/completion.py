"""`sendback completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click

from sendback.cli.context import NodeCommand


@click.command("completion", cls=NodeCommand)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  sendback completion bash > ~/.local/share/bash-completion/completions/sendback
    zsh:   sendback completion zsh > "${fpath[1]}/_sendback"
    fish:  sendback completion fish > ~/.config/fish/completions/sendback.fish
    """  # noqa: D301 - backslash-b is click's mark for "keep these lines"
    from click.shell_completion import get_completion_class

    from sendback.cli import tree

    maker = get_completion_class(shell)
    assert maker is not None
    print(maker(tree(), {}, "sendback", "_SENDBACK_COMPLETE").source())
