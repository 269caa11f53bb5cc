"""Tagging as lines of JSON, one in and one out (CONTRACT section 5, `rewrite --jsonl -`)."""

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import msgspec

from sendback.errors import Malformed
from sendback.tagging.tagging import TaggedMessage, Tagging


class _Line(msgspec.Struct):
    rcpt: str
    message_b64: str
    id: msgspec.Raw = msgspec.Raw(b"null")
    mail_class: str | None = None
    sender: str | None = None


class _Link(msgspec.Struct):
    url: str
    tracked: str
    link_id: str | None
    universal: bool


class _Done(msgspec.Struct):
    id: msgspec.Raw
    message_b64: str
    mail_from: str
    links: list[_Link]
    skipped: str | None


class _Failed(msgspec.Struct):
    id: msgspec.Raw
    error: str


class _OnlyId(msgspec.Struct):
    id: msgspec.Raw = msgspec.Raw(b"null")


#: Octets of a line: a message of 96 MB in base64.
MAX_LINE = 128 * 1024 * 1024


def bounded_lines(stream: BinaryIO, limit: int = MAX_LINE) -> Iterator[bytes]:
    """The lines of a stream as they come; of one over `limit` octets only its beginning."""
    while line := stream.readline(limit):
        yield line
        # Such a beginning is no JSON, so it gets its error; the rest belongs to it.
        while len(line) == limit and not line.endswith(b"\n"):
            line = stream.readline(limit)


def rewrite_lines(
    tagging: Tagging, lines: Iterable[bytes], write: Callable[[bytes], object]
) -> bool:
    """Answer each line with one line, in order; True when every line could be read.

    `write` gets whole lines and must flush them. Empty lines are passed over.
    """
    decode = msgspec.json.Decoder(_Line).decode
    encode = msgspec.json.Encoder().encode
    is_fine = True
    for line in lines:
        if not line.strip():
            continue
        answer: _Done | _Failed
        try:
            asked = decode(line)
            answer = _answer(tagging, asked)
        except (msgspec.DecodeError, Malformed, UnicodeError) as error:
            is_fine = False
            answer = _Failed(_id_of(line), str(error))
        write(encode(answer) + b"\n")
    return is_fine


def _answer(tagging: Tagging, asked: _Line) -> _Done:
    check_recipient(asked.rcpt)
    try:
        message = base64.b64decode(asked.message_b64, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"message_b64 is not base64: {error}", field="message_b64") from None
    sender = asked.sender.strip("<> ") if asked.sender is not None else None
    tagged = tagging.tag(message, asked.rcpt, mail_from=sender, mail_class=asked.mail_class)
    return _Done(
        id=asked.id,
        message_b64=base64.b64encode(tagged.message).decode("ascii"),
        mail_from=tagged.mail_from,
        links=_links(tagged),
        skipped=tagged.skipped,
    )


def _links(tagged: TaggedMessage) -> list[_Link]:
    return [_Link(one.url, one.tracked, one.link_id, one.universal) for one in tagged.links]


def check_recipient(rcpt: str) -> None:
    """Malformed unless it can stand in an envelope: one `@`-address, without control characters."""
    local, at, domain = rcpt.rpartition("@")
    if not (at and local and domain) or not rcpt.isprintable() or set("<> ") & set(domain):
        raise Malformed(f"{rcpt!r} is not a recipient's address", field="rcpt")


def _id_of(line: bytes) -> msgspec.Raw:
    try:
        return msgspec.json.decode(line, type=_OnlyId).id
    except (msgspec.DecodeError, UnicodeError):
        return msgspec.Raw(b"null")
