"""The rows of `ga_tracking_data`: what stands in `data`, and under which uuid and number.

A row says `"t": "message"` or `"t": "link"`, and its format `v` (1 when absent). A link's number
is a keyed hash of all that its row says, so a row that was changed is no longer the token's. Pure:
nothing here asks a database.
"""

from typing import Literal, TypeVar

import msgspec

from sendback.errors import Unavailable
from sendback.metadata.record import encode_link
from sendback.model import LinkFacts, LinkKind, MessageFacts, Privacy
from sendback.secret_constants import Key, Purpose

UUID = 16
NUMBER = 8


class MessageRow(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """`data` of a message's row."""

    v: Literal[1] = 1
    t: Literal["message"]
    email: str
    listid: str = ""
    sendid: str = ""
    click_tracking_id: str = ""
    mail_class: str = ""
    url_domain: str = ""
    instance_id: str = ""
    tagged_at: int = 0
    privacy: Privacy = Privacy.FULL
    html_links: int = 0
    text_links: int = 0


class LinkRow(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """`data` of a link's row. `sendid` and `listid`: as `...link_rows` says."""

    v: Literal[1] = 1
    t: Literal["link"]
    day: str
    """The UTC date that its number was made with."""
    url: str
    kind: int = 0
    link_id: str = ""
    pos: int = 0
    universal: bool = False
    html_or_text: str = "h"
    sendid: str = ""
    listid: str = ""


def message_row(message: MessageFacts) -> MessageRow:
    """What stands in a message's row."""
    return MessageRow(
        t="message",
        email=message.email,
        listid=message.listid,
        sendid=message.sendid,
        click_tracking_id=message.click_tracking_id,
        mail_class=message.mail_class,
        url_domain=message.url_domain,
        instance_id=message.instance_id,
        tagged_at=message.tagged_at,
        privacy=message.privacy,
        html_links=message.html_links,
        text_links=message.text_links,
    )


def message_facts(row: MessageRow) -> MessageFacts:
    """The inverse of `message_row`."""
    values = msgspec.structs.asdict(row)
    del values["v"], values["t"]
    return MessageFacts(**values)


def link_row(link: LinkFacts, sendid: str, listid: str, day: str) -> LinkRow:
    """What stands in a link's row of this UTC day."""
    return LinkRow(
        t="link",
        day=day,
        url=link.url,
        kind=int(link.kind),
        link_id=link.link_id,
        pos=link.pos,
        universal=link.universal,
        html_or_text=link.html_or_text,
        sendid=sendid,
        listid=listid,
    )


def link_facts(row: LinkRow) -> LinkFacts:
    """The link that a row tells; ValueError for a kind that never was."""
    return LinkFacts(
        url=row.url,
        kind=LinkKind(row.kind),
        link_id=row.link_id,
        pos=row.pos,
        universal=row.universal,
        html_or_text=row.html_or_text,
    )


def number_of_row(key: Key, row: LinkRow, link: LinkFacts) -> bytes:
    """Eight keyed bytes of everything in the row of `link`, its UTC date among it."""
    said = f"{row.day}\0{row.sendid}\0{row.listid}"
    return key.hmac(Purpose.CLICK, b"link number")(encode_link(link) + said.encode())[:NUMBER]


def row_id_of(key: Key, number: bytes) -> bytes:
    """The uuid under which a link's row stands: looks random (version 4), follows the number."""
    return as_uuid4(key.hmac(Purpose.CLICK, b"link row")(number)[:UUID])


def as_uuid4(octets: bytes) -> bytes:
    """With version and variant of a random uuid (RFC 9562 section 5.4)."""
    return b"%b%c%c%c%b" % (
        octets[:6],
        octets[6] & 0x0F | 0x40,
        octets[7],
        octets[8] & 0x3F | 0x80,
        octets[9:],
    )


class _VersionOnly(msgspec.Struct):
    v: int


_RowType = TypeVar("_RowType", MessageRow, LinkRow)


def decode_row(data: bytes | None, kind: type[_RowType]) -> _RowType | None:
    """The row; None when it is none of ours, Unavailable when a newer version wrote it."""
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        try:
            version = msgspec.json.decode(data, type=_VersionOnly).v
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        if version > 1:
            raise Unavailable(
                f"the row has format {version}: a newer sendback wrote it; upgrade this server"
            ) from None
        return None
