"""Stateless metadata: the whole record travels in the link, sealed (seed 004, "Stateless").

Nothing is stored, so any server with equal secret constants answers. Also the source of the
tokens that external storage makes like stateless: opens, complaints, bounces.
"""

from collections.abc import Callable, Sequence

from sendback.errors import Malformed
from sendback.metadata import dictionary, record
from sendback.metadata.base import HEADER_LINK, MAX_TOKEN, BounceRef, NotStorable, purpose_of
from sendback.model import LinkFacts, MessageFacts, TrackingData
from sendback.secret_constants import Key, Keyring, Purpose
from sendback.tokens import Opened, Version, seal, sealing

_RECIPIENT_HASH = 8
_SEND_HASH = 6
_DAY = 86400
_TOO_LONG = "the message's metadata passes the limit of a URL"


class Stateless:
    """The back-end without a store. `compress`: `simplemh_compress_links`."""

    def __init__(self, *, compress: bool = True) -> None:
        self._compress = compress

    def issue(
        self, keyring: Keyring, message: MessageFacts, links: Sequence[LinkFacts]
    ) -> tuple[list[str], str]:
        """See the port; NotStorable when even the message does not fit a URL."""
        tail = _encode_message(message) + record.encode_counts(message)
        deflate = dictionary.deflate if self._compress else None
        encode = record.encode_link
        sealers: dict[int, Callable[[bytes], str]] = {}
        tokens = []
        for link in (*links, HEADER_LINK):
            try:
                body = encode(link) + tail
            except Malformed:
                tokens.append("")
                continue
            if len(body) > dictionary.MAX_INFLATED:
                tokens.append("")
                continue
            packed = deflate(body) if deflate else body
            is_deflated = len(packed) < len(body)
            route = body[0] << 1 | is_deflated  # the first byte tells the link's purpose
            seal_one = sealers.get(route)
            if seal_one is None:
                version = Version.STATELESS_DEFLATED if is_deflated else Version.STATELESS
                seal_one = sealers[route] = sealing(keyring, purpose_of(link), version)
            token = seal_one(packed if is_deflated else body)
            tokens.append(token if len(token) <= MAX_TOKEN else "")
        header = tokens.pop()
        if not header:
            raise NotStorable(_TOO_LONG)
        return tokens, header

    def message_tokens(
        self, keyring: Keyring, message: MessageFacts, purposes: Sequence[Purpose]
    ) -> list[str]:
        """A token of the message alone for each purpose; NotStorable when it fits no URL."""
        version, body = self._pack(b"\xff" + _encode_message(message))
        made = [seal(keyring, purpose, version, body) for purpose in purposes]
        if len(made[0]) > MAX_TOKEN:
            raise NotStorable(_TOO_LONG)
        return made

    def link(self, purpose: Purpose, opened: Opened) -> LinkFacts:  # noqa: ARG002 - the port
        """See the port."""
        return link_of(opened.version, opened.body)

    def resolve(self, purpose: Purpose, opened: Opened) -> TrackingData:  # noqa: ARG002 - the port
        """See the port."""
        body = opened.body if opened.version == 1 else dictionary.inflate(opened.body)
        return record.decode(body)

    def erase(self, email: str) -> int:  # noqa: ARG002 - the port
        """Nothing is stored, so nothing is to forget."""
        return 0

    def ping(self) -> None:
        """Always well."""

    def close(self) -> None:
        """Nothing to close."""

    def _pack(self, body: bytes) -> tuple[Version, bytes]:
        if self._compress:
            deflated = dictionary.deflate(body)
            if len(deflated) < len(body):
                return Version.STATELESS_DEFLATED, deflated
        return Version.STATELESS, body


def link_of(version: int, sealed: bytes) -> LinkFacts:
    """The link in the body of an opened token; Malformed when it has none. For the hot path."""
    body = sealed if version == 1 else dictionary.inflate(sealed)
    if body[:1] == b"\xff":
        raise Malformed("this token has no link")
    return record.decode_link(body)[0]


def _encode_message(message: MessageFacts) -> bytes:
    try:
        return record.encode_message(message)
    except Malformed as error:
        raise NotStorable(str(error)) from None


def bounce_token(keyring: Keyring, message: MessageFacts) -> str:
    """The bounce token of a message whose facts are stored nowhere: 45 characters."""
    key = keyring.signing
    body = (
        recipient_hash(key, message.email)
        + send_hash(key, message.sendid)
        + day_of(message).to_bytes(2, "big")
    )
    return seal(keyring, Purpose.BOUNCE, Version.BOUNCE_HASHES, body)


def bounce_ref(opened: Opened) -> BounceRef:
    """What such a token says."""
    body = opened.body
    if len(body) != _RECIPIENT_HASH + _SEND_HASH + 2:
        raise Malformed("a bounce token of an unknown length")
    return BounceRef(
        recipient_hash=body[:_RECIPIENT_HASH],
        send_hash=body[_RECIPIENT_HASH:-2],
        tagged_day=int.from_bytes(body[-2:], "big"),
        key_id=opened.key_id,
    )


def recipient_hash(key: Key, email: str) -> bytes:
    """Eight keyed bytes of an address, its case ignored: servers on the way may change it."""
    return _keyed(key, b"recipient", email.strip().lower())[:_RECIPIENT_HASH]


def send_hash(key: Key, sendid: str) -> bytes:
    """Six keyed bytes of a SendID."""
    return _keyed(key, b"send", sendid.lower())[:_SEND_HASH]


def day_of(message: MessageFacts) -> int:
    """Days since 1970, UTC, held in two bytes (to 2149)."""
    return min(max(message.tagged_at // _DAY, 0), 0xFFFF)


def _keyed(key: Key, use: bytes, text: str) -> bytes:
    return key.hmac(Purpose.BOUNCE, use)(text.encode("utf-8", "surrogatepass"))
