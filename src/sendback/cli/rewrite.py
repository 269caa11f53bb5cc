"""`sendback rewrite`: tag one message, or a stream of them, without any server."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from sendback.cli.context import EXIT_FAILED, Node, NodeCommand, fail, pass_node

if TYPE_CHECKING:
    from sendback.tagging import Prepared, TaggedMessage

#: A message larger than this isn't mail; read no more of it (a sparse file of 10 GB).
MAX_MESSAGE = 256 * 1024 * 1024


@click.command("rewrite", cls=NodeCommand)
@click.argument("file", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--rcpt", metavar="ADDR", help="The recipient of the message.")
@click.option("--mail-class", metavar="NAME", help="Mail class; beats the message's header.")
@click.option("--sender", metavar="ADDR", help="MAIL FROM of the message; '' for the null sender.")
@click.option(
    "--explain", is_flag=True, help="Say on stderr what was done with each link, and why."
)
@click.option("--jsonl", is_flag=True, help="FILE (or -) holds one JSON object a line, see below.")
@pass_node
def rewrite(
    node: Node,
    file: Path | None,
    rcpt: str | None,
    mail_class: str | None,
    sender: str | None,
    explain: bool,
    jsonl: bool,
) -> None:
    """Tag the message in FILE (or on standard input) for one recipient; print the result.

    With --jsonl each line of FILE is {"id", "rcpt", "message_b64", "mail_class"?, "sender"?}, and
    each is answered, flushed and in order, by {"id", "message_b64", "mail_from", "links",
    "skipped"}; a line that can't be read by {"id", "error"}, and the exit code is 1 at the end.
    """
    if jsonl:
        _stream(node, file)
        return
    if rcpt is None:
        raise click.UsageError("--rcpt says for whom the message is tagged")
    _one(node, file, rcpt, mail_class, sender, explain=explain)


def _one(
    node: Node,
    file: Path | None,
    rcpt: str,
    mail_class: str | None,
    sender: str | None,
    *,
    explain: bool,
) -> None:
    from sendback.tagging.stream import check_recipient

    check_recipient(rcpt)
    with _opened(file) as stream:
        # Asked before it is read: a file may be sparse, and larger than memory.
        size = os.fstat(stream.fileno()).st_size
        try:
            message = stream.read(MAX_MESSAGE + 1) if size <= MAX_MESSAGE else b""
        except OSError as error:
            raise click.FileError(str(file), error.strerror or "can't be read") from None
    if max(size, len(message)) > MAX_MESSAGE:
        fail("the message is over 256 MB", code="too-big")
        click.get_current_context().exit(EXIT_FAILED)
    if not message.strip():
        fail("there is no message to rewrite", code="empty", hint="give a FILE, or pipe it in")
        click.get_current_context().exit(EXIT_FAILED)
    prepared = node.core.tagging.prepare(
        message,
        mail_from=sender.strip("<> ") if sender is not None else None,
        mail_class=mail_class,
    )
    tagged = prepared.for_recipient(rcpt)
    if node.json:
        from sendback.cli.output import print_json

        print_json(_document(tagged))
    else:
        _write(tagged.message)
    if explain:
        _explain(prepared, tagged)


def _stream(node: Node, file: Path | None) -> None:
    from sendback.tagging import bounded_lines, rewrite_lines

    with _opened(file) as stream:
        is_fine = rewrite_lines(node.core.tagging, bounded_lines(stream), _write)
    click.get_current_context().exit(0 if is_fine else EXIT_FAILED)


def _write(data: bytes) -> None:
    """All of it is out, or the command ends here with exit code 1."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more to flush
        fail(f"output could not be written: {error.strerror}", code="output")
        click.get_current_context().exit(EXIT_FAILED)


def _opened(file: Path | None) -> BinaryIO:
    if file is None or str(file) == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise click.UsageError("give a FILE, or pipe a message in")
        return sys.stdin.buffer
    try:
        return file.open("rb")
    except OSError as error:
        raise click.FileError(str(file), error.strerror or "can't be read") from None


def _document(tagged: TaggedMessage) -> dict[str, object]:
    import base64

    return {
        "message_b64": base64.b64encode(tagged.message).decode("ascii"),
        "mail_from": tagged.mail_from,
        "links": [
            {"url": x.url, "tracked": x.tracked, "link_id": x.link_id, "universal": x.universal}
            for x in tagged.links
        ],
        "skipped": tagged.skipped,
    }


def _explain(prepared: Prepared, tagged: TaggedMessage) -> None:
    choices = prepared.choices
    facts = tagged.facts
    lines = [("envelope sender", tagged.mail_from or "<>")]
    if choices is not None:
        lines.append(("mail class", choices.mail_class.name))
        lines.append(("URL domain", choices.url_domain.domain))
    if facts is not None:
        lines += [("SendID", facts.sendid), ("ListID", facts.listid)]
    lines.append(("metadata", str(tagged.storage) if tagged.storage else "none: not tracked"))
    lines.append(("body", f"left alone: {tagged.skipped}" if tagged.skipped else "rewritten"))
    for name, value in lines:
        print(f"{name + ':':17}{value}", file=sys.stderr)
    for part, outcome, reason, url in prepared.plan.explain():
        print(f"part {part}: {outcome}: {reason} {url}".rstrip(), file=sys.stderr)
