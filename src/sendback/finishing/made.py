"""What becomes of one journal record, and the ids of its events."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from sendback.model import Event, uuid7
from sendback.model.bounce import Bounce


@dataclass(slots=True)
class Made:
    """Events of one record. An empty one is fine: the record is done, and counted as `counts`."""

    events: Sequence[Event] = ()
    once: bytes | None = None
    """Dedupe key: while it is known, the events are dropped and counted as `once_name`."""
    also_once: bytes | None = None
    """A second key that stops the events but is not set by them."""
    once_ms: int = 0
    once_name: str = ""
    retry: str = ""
    """Why the record has to come again; what it gave already keeps its ids."""
    is_final: bool = True
    """False: later visits may still change the verdict."""
    counts: list[str] = field(default_factory=list)
    bounce: Bounce | None = None
    """To be counted; `when_bad` is a further event when the address is a bad one by that."""
    when_bad: Event | None = None


def event_id(record_id: bytes, index: int, kind: str) -> str:
    """The id of a record's event: the record's own for the first, else derived from it.

    A derived one keeps the time bits and hashes record, index and type, so a replayed journal
    gives the same ids.
    """
    if index == 0:
        raw = record_id
    else:
        text = record_id + index.to_bytes(4, "big") + kind.encode()
        entropy = hashlib.blake2b(text, digest_size=10).digest()
        raw = uuid7(int.from_bytes(record_id[:6], "big"), entropy)
    h = raw.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
