"""What a tracking URL or bounce address holds, told to an operator (`sendback link decode`).

The tag is verified offline; the facts are added where this node can get at them, and where it
can't, the reason. Nothing here is on the way of a click.
"""

import base64
import datetime as dt
from typing import Any

import msgspec

from sendback import links, tokens, verp
from sendback.errors import Malformed, NotFound, Unavailable
from sendback.metadata.base import BounceRef
from sendback.metadata.facade import Metadata
from sendback.model import Storage, TrackingData
from sendback.secret_constants import Purpose
from sendback.tokens import Version

_STORAGE = {
    Version.STATELESS: Storage.STATELESS,
    Version.STATELESS_DEFLATED: Storage.STATELESS,
    Version.LOCAL: Storage.LOCAL,
    Version.EXTERNAL: Storage.EXTERNAL,
    Version.BOUNCE_LOCAL: Storage.LOCAL,
}


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """A genuine token, taken apart."""

    purpose: str
    version: int
    storage: str
    """local, stateless, external; "stateless or external" for a hashed bounce address."""
    key_id: str
    signed_by: str
    """signing, accepted or retired: the state of its key here."""
    resolved: bool
    reason: str = ""
    """Why the facts could not be had, when `resolved` is false."""
    row: str = ""
    """External: the uuid of the message's row."""
    message: dict[str, Any] | None = None
    link: dict[str, Any] | None = None
    bounce: dict[str, Any] | None = None


def describe(metadata: Metadata, text: str) -> Description:
    """Malformed when it is neither; Forged when its MAC verifies under none of our keys.

    NotFound: a local token, and this node has no local metadata to verify it with.
    """
    if "@" in text and "?" not in text:
        token = verp.split(text)[1].encode("ascii", "replace")
        if not token:
            raise Malformed("this address has no token: mailbox+TOKEN@domain")
        binary = tokens.decode_address(token)
        ref = metadata.resolve_bounce(token)
        return _described(metadata, Purpose.BOUNCE, binary, None, ref)
    purpose, token = links.parse(text)
    binary = tokens.decode(token)
    metadata.verify(purpose, token)
    try:
        return _described(metadata, purpose, binary, metadata.resolve(purpose, token), None)
    except (NotFound, Unavailable) as error:
        return _described(metadata, purpose, binary, None, None, reason=str(error))


def _described(
    metadata: Metadata,
    purpose: Purpose,
    binary: bytes,
    data: TrackingData | None,
    ref: BounceRef | None,
    *,
    reason: str = "",
) -> Description:
    ring, key_id = metadata.keyring, binary[1]
    if key_id == ring.key_id:
        state = "signing"
    else:
        state = "accepted" if ring.candidates(key_id) else "retired"
    message = data.message if data is not None else ref.message if ref is not None else None
    link = None
    if data is not None and data.link is not None:
        link = {**msgspec.to_builtins(data.link), "kind": data.link.kind.name.lower()}
    return Description(
        purpose=purpose.name.lower(),
        version=binary[0],
        storage=str(_STORAGE.get(Version(binary[0]), "stateless or external")),
        key_id=f"{key_id:02x}",
        signed_by=state,
        resolved=message is not None,
        reason=reason,
        row=_uuid(binary[2:18]) if binary[0] == Version.EXTERNAL else "",
        message=msgspec.to_builtins(message) if message is not None else None,
        link=link,
        bounce=_bounce(ref) if ref is not None else None,
    )


def _bounce(ref: BounceRef) -> dict[str, Any]:
    day = dt.date(1970, 1, 1) + dt.timedelta(days=ref.tagged_day)
    return {
        "tagged_day": day.isoformat(),
        "expired": ref.expired,
        "recipient_hash": base64.b16encode(ref.recipient_hash).decode().lower(),
        "send_hash": base64.b16encode(ref.send_hash).decode().lower(),
    }


def _uuid(octets: bytes) -> str:
    text = octets.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
