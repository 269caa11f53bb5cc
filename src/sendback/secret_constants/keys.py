"""Keys made of two secret constants, and the keyring that knows which one signs.

HKDF-SHA256 (RFC 5869) derives from a pair an id of one byte, a fingerprint, and a subkey for each
purpose and use: equal constants mean equal keys on every server, and a token of one purpose never
opens as another. No I/O here, and nothing prints a constant unless asked for it by name.
"""

import enum
import hmac
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from sendback.errors import Malformed

MIN_BYTES = 16


class Purpose(enum.IntEnum):
    """What a token is for. The numbers go into key derivation, for ever: only add."""

    CLICK = 1
    UNI = 2
    OPEN = 3
    UNSUB = 4
    BOUNCE = 5
    REPORT = 6
    FEEDBACK = 7
    MAILTO = 8


class Key:
    """One pair of secret constants, with its subkeys made once. Safe to share among threads."""

    __slots__ = ("_constants", "_hmacs", "_prk", "_subkeys", "fingerprint", "key_id", "sealers")

    def __init__(self, constant1: bytes, constant2: bytes) -> None:
        for number, constant in enumerate((constant1, constant2), 1):
            check_constant(constant, field=f"constant{number}")
        self._constants = (constant1, constant2)
        # The length keeps (ab, c) and (a, bc) apart; extract as in RFC 5869 section 2.2.
        material = len(constant1).to_bytes(2, "big") + constant1 + constant2
        self._prk = hmac.digest(b"sendback secret constants", material, "sha256")
        self._subkeys: dict[tuple[int, bytes], bytes] = {}
        self._hmacs: dict[tuple[int, bytes], Callable[[bytes], bytes]] = {}
        self.key_id: int = self._expand(b"key id", 1)[0]
        self.fingerprint: str = self._expand(b"fingerprint", 10).hex()
        #: AES-SIV (RFC 5297) with a 512 bit key, by purpose; the hot path indexes it.
        self.sealers: tuple[AESSIV | None, ...] = (
            None,
            *(AESSIV(self.subkey(purpose, b"seal", 64)) for purpose in Purpose),
        )

    @property
    def constants(self) -> tuple[str, str]:
        """Both constants in hexadecimal, as `secret-constants --view` prints them."""
        return self._constants[0].hex(), self._constants[1].hex()

    def subkey(self, purpose: Purpose, use: bytes, length: int = 32) -> bytes:
        """The secret for one `use` ("seal", "mac", "row", ...) of one purpose."""
        found = self._subkeys.get((purpose, use))
        if found is None:
            found = self._expand(b"%s of purpose %d" % (use, purpose), length)
            self._subkeys[purpose, use] = found
        return found

    def hmac(self, purpose: Purpose, use: bytes) -> Callable[[bytes], bytes]:
        """HMAC-SHA256 under `subkey(purpose, use)`, for many texts.

        The context with the key worked in is copied: 1.2 us a text, where `hmac.digest` makes its
        own anew for 3.2.
        """
        found = self._hmacs.get((purpose, use))
        if found is None:
            found = self._hmacs[purpose, use] = _hmac(self.subkey(purpose, use))
        return found

    def _expand(self, info: bytes, length: int) -> bytes:
        return HKDFExpand(SHA256(), length, b"sendback 1: " + info).derive(self._prk)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and hmac.compare_digest(self._prk, other._prk)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"<Key {self.key_id:02x} {self.fingerprint}>"


def _hmac(secret: bytes) -> Callable[[bytes], bytes]:
    keyed = HMAC(secret, SHA256()).copy

    def digest(text: bytes) -> bytes:
        made = keyed()
        made.update(text)
        return made.finalize()

    return digest


class Keyring:
    """The key that signs and those that open. Immutable: a reload makes a new one."""

    __slots__ = ("_accepted_by_id", "_all_by_id", "accepted", "retired", "signing")

    def __init__(
        self, signing: Key, accepted: tuple[Key, ...] = (), retired: tuple[Key, ...] = ()
    ) -> None:
        self.signing = signing
        self.accepted = tuple(key for key in accepted if key != signing)
        self.retired = tuple(key for key in retired if key != signing and key not in accepted)
        self._accepted_by_id = _by_id((signing, *self.accepted))
        self._all_by_id = _by_id((signing, *self.accepted, *self.retired))

    @classmethod
    def from_constants(cls, constant1: str | bytes, constant2: str | bytes) -> "Keyring":
        """A keyring of one pair; text is hexadecimal. Malformed when one can't be used."""
        return cls(Key(read_constant(constant1, 1), read_constant(constant2, 2)))

    @property
    def key_id(self) -> int:
        """The id of the signing key."""
        return self.signing.key_id

    @property
    def fingerprint(self) -> str:
        """20 hexadecimal digits, equal on all servers whose signing constants are equal."""
        return self.signing.fingerprint

    def candidates(self, key_id: int, *, include_retired: bool = False) -> tuple[Key, ...]:
        """Every key with this id (one byte: two may share it), the signing one first; or ()."""
        known = self._all_by_id if include_retired else self._accepted_by_id
        return known.get(key_id, ())

    def __repr__(self) -> str:
        return f"<Keyring {self.signing!r} +{len(self.accepted)} -{len(self.retired)}>"


def _by_id(keys: tuple[Key, ...]) -> dict[int, tuple[Key, ...]]:
    found: dict[int, tuple[Key, ...]] = {}
    for key in keys:
        found[key.key_id] = (*found.get(key.key_id, ()), key)
    return found


def read_constant(text: str | bytes, number: int) -> bytes:
    """The bytes of a constant given in hexadecimal (bytes pass); Malformed tells what is wrong."""
    field = f"constant{number}"
    if isinstance(text, bytes):
        return text
    try:
        constant = bytes.fromhex(text.strip())
    except ValueError:
        raise Malformed(f"{field} is not hexadecimal", field=field) from None
    check_constant(constant, field=field)
    return constant


def check_constant(constant: bytes, *, field: str) -> None:
    """Malformed unless it has 16 bytes or more and is no placeholder."""
    if len(constant) < MIN_BYTES:
        raise Malformed(
            f"{field} has {len(constant)} bytes; a secret constant has {MIN_BYTES} or more "
            f"({2 * MIN_BYTES} hexadecimal digits)",
            field=field,
        )
    if len(constant) > 1024:
        raise Malformed(f"{field} is longer than 1024 bytes", field=field)
    if len(set(constant)) < 4 or (
        len(constant) % 8 == 0
        and len({constant[i : i + 8] for i in range(0, len(constant), 8)}) == 1
    ):
        raise Malformed(
            f"{field} is a repeated pattern, so it looks like a placeholder; "
            "`sendback secret-constants rotate` makes random ones",
            field=field,
        )
