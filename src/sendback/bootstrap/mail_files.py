"""Mail in files of the data directory: whose it is, and whether it names an address."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from sendback.model.mention import Mention
from sendback.relay.deferred import Kept

_HEAD = 8192


class Found(NamedTuple):
    """A file that names the address."""

    path: Path
    is_theirs: bool
    """Made for the recipient alone; else it is somebody else's mail."""


def in_outbox(folder: Path, mention: Mention) -> Iterator[Found]:
    """Mails of the Maildir: theirs by `Delivered-To`, written as one of the first two lines."""
    for path in _files(folder, "*/*"):
        raw = path.read_bytes()
        head = raw[:_HEAD].splitlines()[:2]
        to = [line.partition(b":")[2] for line in head if line.lower().startswith(b"delivered-to:")]
        is_theirs = any(mention.is_this(one.decode("utf-8", "replace")) for one in to)
        if is_theirs or mail_names(raw, mention):
            yield Found(path, is_theirs)


def in_deferred(folder: Path, mention: Mention) -> Iterator[Found]:
    """Mails that wait for another try."""
    decode = msgspec.msgpack.Decoder(Kept).decode
    for path in _files(folder, "*"):
        raw = path.read_bytes()
        try:
            kept = decode(raw)
        except msgspec.MsgspecError:
            if mention.is_in(raw):
                yield Found(path, is_theirs=True)  # no mail any more, so nobody's
            continue
        is_theirs = mention.is_this(kept.rcpt)
        if is_theirs or mention.is_in(raw) or mail_names(kept.message, mention):
            yield Found(path, is_theirs)


def kept_raw(folder: Path, mention: Mention) -> Iterator[Found]:
    """Mails that nothing could be made of, and damaged pieces of the journal: any that name it."""
    for path in _files(folder, "*"):
        if mail_names(path.read_bytes(), mention):
            yield Found(path, is_theirs=True)


def mail_names(raw: bytes, mention: Mention) -> bool:
    """True when the mail names the address, in clear or in an encoded part."""
    if mention.is_in(raw):
        return True
    try:
        parts = email.message_from_bytes(raw, policy=email.policy.compat32).walk()
        texts = [p.get_payload(decode=True) for p in parts if not p.is_multipart()]
    except Exception:  # noqa: BLE001 - the standard library's parser raises anything at hostile mail
        return False
    return any(mention.is_in(text) for text in texts if isinstance(text, bytes))


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.glob(pattern)) if path.is_file())
