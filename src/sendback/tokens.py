"""Seal and open one binary token for one purpose. The format stands in docs/reference/tokens.md.

A token is version (1 byte), key id (1 byte), and what the version's *construction* makes of the
body: AES-SIV (authenticated and unreadable), or the body in clear with an HMAC-SHA256 tag. Text is
base64url without padding, or base32 for addresses. One token has one text; the tag is checked
before anything in the body is looked at. Versions are never reused and stay openable for ever.
"""

import base64
import binascii
import enum
import hmac
from collections.abc import Callable

import msgspec
from cryptography.exceptions import InvalidTag

from sendback.errors import Forged
from sendback.secret_constants import Key, Keyring, Purpose


class Version(enum.IntEnum):
    """Every token version ever released. Only add."""

    STATELESS = 1
    """The whole record, sealed."""
    STATELESS_DEFLATED = 2
    """The same, deflated with preset dictionary 1 before sealing."""
    LOCAL = 3
    """Row numbers of one node's metadata file, and a query string."""
    EXTERNAL = 4
    """A row's uuid and a link's number in the external Postgres."""
    BOUNCE_HASHES = 5
    """Bounce address: keyed hashes of recipient and send."""
    BOUNCE_LOCAL = 6
    """Bounce address: a row number of one node's metadata file."""


#: Longest text that is looked at: a request line holds no more (CONTRACT section 6).
MAX_TEXT = 8192
HEADER = 2
SIV_TAG = 16
TAG = 12
ADDRESS_TAG = 10

_SEALED = frozenset([Version.STATELESS, Version.STATELESS_DEFLATED])
_TAG_LENGTH = {
    Version.LOCAL: TAG,
    Version.EXTERNAL: TAG,
    Version.BOUNCE_HASHES: ADDRESS_TAG,
    Version.BOUNCE_LOCAL: ADDRESS_TAG,
}


class UnknownKey(Forged):
    """No key that this server accepts has the token's key id."""

    def __init__(self, key_id: int) -> None:
        super().__init__(
            f"the token names key {key_id:02x}, which this server does not know; "
            "compare `sendback secret-constants list` on the servers"
        )
        self.key_id = key_id


class Opened(msgspec.Struct, frozen=True):
    """What a genuine token held, and the key that made it."""

    version: int
    key: Key
    body: bytes

    @property
    def key_id(self) -> int:
        """The key id in the token."""
        return self.key.key_id


def seal(
    keyring: Keyring, purpose: Purpose, version: Version, body: bytes, associated: bytes = b""
) -> str:
    """The token's text: base32 for BOUNCE, else base64url. Equal arguments give equal text.

    `associated` is bound by the tag and not carried; `open` needs the same.
    """
    binary = seal_binary(keyring.signing, purpose, version, body, associated)
    return encode_address(binary) if purpose is Purpose.BOUNCE else encode(binary)


def sealing(keyring: Keyring, purpose: Purpose, version: Version) -> Callable[[bytes], str]:
    """`seal` for many bodies of one purpose and version, nothing associated, at half its cost."""
    key = keyring.signing
    header = bytes((version, key.key_id))
    to_text, to_url = binascii.b2a_base64, _TO_URL
    if version in _SEALED:
        sealer = key.sealers[purpose]
        assert sealer is not None
        encrypt, associated = sealer.encrypt, [header]

        def sealed(body: bytes) -> str:
            binary = header + encrypt(body, associated)
            return to_text(binary, newline=False).translate(to_url).rstrip(b"=").decode()

        return sealed
    digest, length, nothing = key.hmac(purpose, b"mac"), _TAG_LENGTH[version], _mac_input(b"", b"")

    def signed(body: bytes) -> str:
        binary = header + body
        binary += digest(nothing + binary)[:length]
        return to_text(binary, newline=False).translate(to_url).rstrip(b"=").decode()

    return signed


def seal_binary(
    key: Key, purpose: Purpose, version: Version, body: bytes, associated: bytes = b""
) -> bytes:
    """As `seal`, before it is made text."""
    header = bytes((version, key.key_id))
    if version in _SEALED:
        sealer = key.sealers[purpose]
        assert sealer is not None
        return header + sealer.encrypt(body, [header + associated])
    tag = key.hmac(purpose, b"mac")(_mac_input(header + body, associated))
    return header + body + tag[: _TAG_LENGTH[version]]


def open(  # noqa: A001 - the pair of `seal`, used as tokens.open
    keyring: Keyring,
    purpose: Purpose,
    text: bytes | str,
    associated: bytes = b"",
    *,
    include_retired: bool = False,
) -> Opened:
    """The body of a genuine token; Forged for any other purpose, key, version or text."""
    raw = text.encode("ascii", "replace") if isinstance(text, str) else text
    binary = decode_address(raw) if purpose is Purpose.BOUNCE else decode(raw)
    return open_binary(keyring, purpose, binary, associated, include_retired=include_retired)


def open_binary(
    keyring: Keyring,
    purpose: Purpose,
    binary: bytes,
    associated: bytes = b"",
    *,
    include_retired: bool = False,
) -> Opened:
    """As `open`, for a token already decoded."""
    keys = keyring.candidates(binary[1], include_retired=include_retired)
    version = binary[0]
    if version in _SEALED:
        header = binary[:HEADER]
        for key in keys:
            sealer = key.sealers[purpose]
            assert sealer is not None
            try:
                return Opened(version, key, sealer.decrypt(binary[HEADER:], [header + associated]))
            except InvalidTag:
                continue
        raise _refusal(keys, binary)
    length = _TAG_LENGTH.get(version)  # type: ignore[call-overload]
    if length is None:
        raise Forged(f"token version {version} is none this server knows; is it older?")
    signed, tag = binary[:-length], binary[-length:]
    for key in keys:
        wanted = key.hmac(purpose, b"mac")(_mac_input(signed, associated))
        if hmac.compare_digest(wanted[:length], tag):
            return Opened(version, key, signed[HEADER:])
    raise _refusal(keys, binary)


def unseal(keys: tuple[Key, ...], purpose: Purpose, binary: bytes) -> bytes:
    """The body of a token whose version is a stateless one; errors as `open`. The hot path's.

    `keys` are the keyring's candidates for the token's key id.
    """
    sealed, associated = binary[HEADER:], [binary[:HEADER]]
    for key in keys:
        try:
            return key.sealers[purpose].decrypt(sealed, associated)  # type: ignore[union-attr]
        except InvalidTag:
            continue
    raise _refusal(keys, binary)


def _refusal(keys: tuple[Key, ...], binary: bytes) -> Forged:
    if not keys:
        return UnknownKey(binary[1])
    return Forged("bad MAC: the token was altered, or made for another purpose or by another key")


def _mac_input(signed: bytes, associated: bytes) -> bytes:
    # The length keeps (ab, c) and (a, bc) apart.
    return len(associated).to_bytes(2, "big") + associated + signed


# -- text: one token, one text ---------------------------------------------------------------------

_TO_URL = bytes.maketrans(b"+/", b"-_")
_STANDARD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_URL_SAFE = _STANDARD.translate(_TO_URL)
#: Everything outside the alphabet becomes NUL, which strict decoding refuses.
_FROM_URL = bytes(
    _STANDARD[_URL_SAFE.index(octet)] if octet in _URL_SAFE else 0 for octet in range(256)
)
_PADDING = (b"", b"", b"==", b"=")
#: By length modulo 4: the last characters whose unused bits are zero.
_LAST: tuple[frozenset[int], ...] = (
    frozenset(_URL_SAFE),
    frozenset(),
    frozenset(_URL_SAFE[::16]),
    frozenset(_URL_SAFE[::4]),
)
_SHORTEST = HEADER + 1 + ADDRESS_TAG


def encode(binary: bytes) -> str:
    """Base64url (RFC 4648 section 5) without padding."""
    return binascii.b2a_base64(binary, newline=False).translate(_TO_URL).rstrip(b"=").decode()


def decode(text: bytes) -> bytes:
    """The token's bytes; Forged unless this is the one text that `encode` gives for them."""
    rest = len(text) & 3
    if not _SHORTEST < len(text) <= MAX_TEXT or text[-1] not in _LAST[rest]:
        raise Forged("this is no token: wrong length or last character")
    try:
        return binascii.a2b_base64(text.translate(_FROM_URL) + _PADDING[rest], strict_mode=True)
    except binascii.Error:
        raise Forged("this is no token: a character that is not base64url") from None


_TO_BASE32_UPPER = bytes(
    octet - 32 if octet in b"abcdefghijklmnopqrstuvwxyz" else octet for octet in range(256)
)


def encode_address(binary: bytes) -> str:
    """Base32 (RFC 4648 section 6) in lower case without padding: for local parts."""
    return base64.b32encode(binary).rstrip(b"=").lower().decode()


def decode_address(text: bytes) -> bytes:
    """The token's bytes, from base32 in any case; Forged for every other spelling."""
    if not _SHORTEST < len(text) <= 64:
        raise Forged("this is no bounce token: wrong length")
    upper = text.translate(_TO_BASE32_UPPER)
    try:
        binary = base64.b32decode(upper + b"=" * (-len(upper) % 8))
    except binascii.Error:
        raise Forged("this is no bounce token: a character that is not base32") from None
    if base64.b32encode(binary).rstrip(b"=") != upper:
        raise Forged("this is no bounce token: unused bits are set")
    return binary
