"""Write the manual pages, one a command, from the command tree: `python docs/man.py FOLDER`."""

import sys
from pathlib import Path

import click
from click_man.core import generate_man_page

from sendback import __version__, cli


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/man")
    folder.mkdir(parents=True, exist_ok=True)
    write(click.Context(cli.tree(), info_name="sendback"), folder)
    print(f"{len(list(folder.glob('*.1')))} pages in {folder}")


def write(context: click.Context, folder: Path) -> None:
    """The page of a command and of all below it; click-man itself sees no lazy commands."""
    page = folder / f"{context.command_path.replace(' ', '-')}.1"
    page.write_text(generate_man_page(context, __version__), encoding="utf-8")
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            child = context.command.get_command(context, name)
            if child is not None:
                write(click.Context(child, info_name=name, parent=context), folder)


if __name__ == "__main__":
    main()
