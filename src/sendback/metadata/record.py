"""Facts as few bytes: the body of stateless tokens, format 1 (docs/reference/tokens.md).

The link comes first, so that a redirect decodes nothing else; what has its usual value is left
out. Whoever changes a byte of this makes a new format under a new token version: sent mail keeps
the old one for years. Bodies are decoded after their tag was checked, so a fault here means a
record written by a newer version, and is reported as such, never guessed at.
"""

import datetime as dt

from sendback.errors import Malformed
from sendback.model import LinkFacts, LinkKind, MessageFacts, Privacy, TrackingData

# First byte: the link. 0xff in this byte: there is none.
_KIND = 0x07
_UNIVERSAL = 0x08
_TEXT = 0x10
_HAS_LINK_ID = 0x20
_HAS_POS = 0x40
_NO_LINK = 0xFF

# First byte of the message.
_LISTID_IS_CLASS = 0x01
_SENDID_IS_DAILY = 0x02
_HAS_LISTID = 0x04
_HAS_SENDID = 0x08
_HAS_TRACKING_ID = 0x10
_HAS_INSTANCE_ID = 0x20
_PRIVACY = 0xC0

_KINDS = tuple(LinkKind)
_PRIVACIES = tuple(Privacy)
#: How URLs begin; the first byte of a URL. 0: it is spelled out.
_PREFIXES = ("", "https://www.", "https://", "http://www.", "http://")
_PREFIX_LENGTHS = tuple(map(len, _PREFIXES))
_HTML_OR_TEXT = ("h", "t")
_FLAGS = {
    (kind, universal, is_text): int(kind) | _UNIVERSAL * universal | _TEXT * is_text
    for kind in LinkKind
    for universal in (False, True)
    for is_text in (False, True)
}


def encode(message: MessageFacts, link: LinkFacts | None = None) -> bytes:
    """The record; Malformed when a value can't be held (see `decode`)."""
    start = encode_link(link) if link is not None else b"\xff"
    return start + encode_message(message) + encode_counts(message)


def encode_link(link: LinkFacts) -> bytes:
    """The part of a link."""
    url, pos = link.url, link.pos
    prefix = 0
    if url.startswith("https://"):
        prefix = 1 if url.startswith("www.", 8) else 2
    elif url.startswith("http://"):
        prefix = 3 if url.startswith("www.", 7) else 4
    try:
        octets = url[_PREFIX_LENGTHS[prefix] :].encode()
    except UnicodeEncodeError:
        raise _half_a_pair("url") from None
    size = len(octets)
    flags = _FLAGS[link.kind, link.universal, link.html_or_text == "t"]
    if link.html_or_text not in _HTML_OR_TEXT:
        raise Malformed("html_or_text is h or t", field="html_or_text")
    if 0 < pos < 0x80 > size and not link.link_id:  # nearly every link
        return b"%c%c%c%b%c" % (flags | _HAS_POS, prefix, size, octets, pos)
    parts = [b"", bytes((prefix,)), encode_number(size), octets]
    if pos:
        flags |= _HAS_POS
        parts.append(encode_number(pos))
    if link.link_id:
        flags |= _HAS_LINK_ID
        parts.append(_encode_text(link.link_id, "link_id"))
    parts[0] = bytes((flags,))
    return b"".join(parts)


def encode_counts(message: MessageFacts) -> bytes:
    """How many links the message has: the end of a record, one byte for nearly all messages."""
    if not (message.html_links or message.text_links):
        return b""
    counts = encode_number(message.html_links)
    return counts + encode_number(message.text_links) if message.text_links else counts


def encode_message(message: MessageFacts) -> bytes:
    """The part of a message, without its counts."""
    if not 0 <= message.tagged_at < 1 << 32:
        raise Malformed("tagged_at is seconds since 1970, up to 2106", field="tagged_at")
    flags = _PRIVACIES.index(message.privacy) << 6
    optional = []
    mail_class = message.mail_class.lower()
    if mail_class and message.listid == mail_class:
        flags |= _LISTID_IS_CLASS
    elif message.listid:
        flags |= _HAS_LISTID
        optional.append(_encode_text(message.listid, "listid"))
    if mail_class and message.sendid == mail_class + _day(message.tagged_at):
        flags |= _SENDID_IS_DAILY
    elif message.sendid:
        flags |= _HAS_SENDID
        optional.append(_encode_text(message.sendid, "sendid"))
    if message.click_tracking_id:
        flags |= _HAS_TRACKING_ID
        optional.append(_encode_text(message.click_tracking_id, "click_tracking_id"))
    if message.instance_id:
        flags |= _HAS_INSTANCE_ID
        optional.append(_encode_text(message.instance_id, "instance_id"))
    return b"".join(
        (
            bytes((flags,)),
            message.tagged_at.to_bytes(4, "big"),
            _encode_text(message.email, "email"),
            _encode_text(message.mail_class, "mail_class"),
            _encode_text(message.url_domain, "url_domain"),
            *optional,
        )
    )


def decode(body: bytes) -> TrackingData:
    """The inverse of `encode`; Malformed for a record that this version can't have written."""
    if body[:1] == b"\xff":
        link, at = None, 1
    else:
        link, at = decode_link(body)
    message, at = _decode_message(body, at)
    if at != len(body):
        raise _newer("bytes behind its end")
    return TrackingData(message, link)


def decode_link(body: bytes) -> tuple[LinkFacts, int]:
    """The link and where the message begins: all that a redirect needs."""
    try:
        flags = body[0]
        if flags & 0x80 or flags & _KIND >= len(_KINDS):
            raise _newer("an unknown kind of link")
        prefix = _PREFIXES[body[1]]
        pos = 0
        at = 2
        # Parts stand in the order flags, URL, position, link id.
        size = body[at]
        at += 1
        if size > 0x7F:
            size, at = decode_number(body, at - 1)
        url = prefix + str(body[at : at + size], "utf-8")
        at += size
        if flags & _HAS_POS:
            pos = body[at]
            at += 1
            if pos > 0x7F:
                pos, at = decode_number(body, at - 1)
        link_id = ""
        if flags & _HAS_LINK_ID:
            link_id, at = _decode_text(body, at)
    except (IndexError, UnicodeDecodeError):
        raise _newer("a link that does not fit") from None
    if at > len(body):
        raise _newer("a link that does not fit")
    return (
        LinkFacts(
            url=url,
            kind=_KINDS[flags & _KIND],
            link_id=link_id,
            pos=pos,
            universal=flags & _UNIVERSAL != 0,
            html_or_text="t" if flags & _TEXT else "h",
        ),
        at,
    )


def _decode_message(body: bytes, at: int) -> tuple[MessageFacts, int]:
    try:
        flags = body[at]
        tagged_at = int.from_bytes(body[at + 1 : at + 5], "big")
        email, at = _decode_text(body, at + 5)
        mail_class, at = _decode_text(body, at)
        url_domain, at = _decode_text(body, at)
        listid = sendid = click_tracking_id = instance_id = ""
        if flags & _LISTID_IS_CLASS:
            listid = mail_class.lower()
        elif flags & _HAS_LISTID:
            listid, at = _decode_text(body, at)
        if flags & _SENDID_IS_DAILY:
            sendid = mail_class.lower() + _day(tagged_at)
        elif flags & _HAS_SENDID:
            sendid, at = _decode_text(body, at)
        if flags & _HAS_TRACKING_ID:
            click_tracking_id, at = _decode_text(body, at)
        if flags & _HAS_INSTANCE_ID:
            instance_id, at = _decode_text(body, at)
        privacy = _PRIVACIES[flags >> 6]
        html_links = text_links = 0
        if at < len(body):
            html_links, at = decode_number(body, at)
            if at < len(body):
                text_links, at = decode_number(body, at)
            if body[at - 1] == 0:  # what is 0 is not written
                raise _newer("bytes behind its end")
    except (IndexError, UnicodeDecodeError):
        raise _newer("a message that does not fit") from None
    return (
        MessageFacts(
            email=email,
            listid=listid,
            sendid=sendid,
            click_tracking_id=click_tracking_id,
            mail_class=mail_class,
            url_domain=url_domain,
            instance_id=instance_id,
            tagged_at=tagged_at,
            privacy=privacy,
            html_links=html_links,
            text_links=text_links,
        ),
        at,
    )


def encode_number(number: int) -> bytes:
    """A number from 0, seven bits a byte, the lowest first; the last byte is below 128."""
    if number < 0x80:
        if number < 0:
            raise Malformed("a negative number")
        return bytes((number,))
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def decode_number(body: bytes, at: int) -> tuple[int, int]:
    """The number at `at` and where it ends; IndexError when it is cut, Malformed past 63 bits."""
    number = shift = 0
    while True:
        octet = body[at]
        at += 1
        number |= (octet & 0x7F) << shift
        if octet < 0x80:
            return number, at
        shift += 7
        if shift > 56:
            raise _newer("a number that is too big")


def _encode_text(text: str, field: str) -> bytes:
    try:
        octets = text.encode()
    except UnicodeEncodeError:
        raise _half_a_pair(field) from None
    return encode_number(len(octets)) + octets


def _decode_text(body: bytes, at: int) -> tuple[str, int]:
    size = body[at]
    at += 1
    if size > 0x7F:
        size, at = decode_number(body, at - 1)
    end = at + size
    if end > len(body):
        raise IndexError
    return str(body[at:end], "utf-8"), end


def _day(tagged_at: int) -> str:
    return dt.datetime.fromtimestamp(tagged_at, dt.UTC).strftime("%Y%m%d")


def _half_a_pair(field: str) -> Malformed:
    return Malformed(f"{field} holds half a surrogate pair", field=field)


def _newer(what: str) -> Malformed:
    return Malformed(f"the record holds {what}: was it made by a newer version of sendback?")
