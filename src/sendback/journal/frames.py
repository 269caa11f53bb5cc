"""The bytes of a segment file, both ways; no I/O.

A segment is a header and frames. Header, 32 octets: magic, random segment id (16), creation time
in ms (8). Frame: mark (4), payload length (4), CRC (4), kind (1), payload. All numbers are
little-endian. The CRC covers length, kind and payload and starts from a number made of the
segment id: frames that somebody put *inside* a payload never pass for frames of the segment.
Why CRC-32 and not CRC-32C: docs/adr/0020-journal-checksum.md.
"""

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

MAGIC = b"SBJRNL\x01\n"
HEADER = struct.Struct("<8s16sQ")
MARK = b"\xa7SBR"
FRAME = struct.Struct("<4sIIB")
_CHECKED = struct.Struct("<IB")
#: Larger than any record: a returned message is cut at `bouncemaxbytes`, 64 MiB is far beyond.
MAX_PAYLOAD = 64 * 1024 * 1024
KIND_RECORD = 1


class Header(NamedTuple):
    """What the first 32 octets of a segment say."""

    segment_id: bytes
    created_ms: int


class Scan(NamedTuple):
    """What one look at a piece of a segment found."""

    records: list[tuple[int, bytes]]
    """(offset behind the frame, payload), in order."""
    consumed: int
    """Octets of whole, sound frames at the start."""
    is_damaged: bool
    """True when what follows is not just an incomplete frame."""


def encode_header(header: Header) -> bytes:
    """The 32 octets that open a segment."""
    return HEADER.pack(MAGIC, header.segment_id, header.created_ms)


def decode_header(data: bytes) -> Header | None:
    """The header, or None when `data` does not begin with one."""
    if len(data) < HEADER.size:
        return None
    magic, segment_id, created_ms = HEADER.unpack_from(data)
    return Header(segment_id, created_ms) if magic == MAGIC else None


def seed(segment_id: bytes) -> int:
    """Where the CRCs of a segment start from."""
    return zlib.crc32(segment_id)


def encode(payloads: Sequence[bytes], crc_seed: int) -> bytes:
    """The frames of `payloads`, ready for one write."""
    pieces: list[bytes] = []
    crc32 = zlib.crc32
    for payload in payloads:
        length = len(payload)
        crc = crc32(payload, crc32(_CHECKED.pack(length, KIND_RECORD), crc_seed))
        pieces.append(FRAME.pack(MARK, length, crc, KIND_RECORD))
        pieces.append(payload)
    return b"".join(pieces)


def encode_one(payload: bytes, crc_seed: int) -> bytes:
    """As `encode` of one payload; half as dear."""
    length = len(payload)
    crc = zlib.crc32(payload, zlib.crc32(_CHECKED.pack(length, KIND_RECORD), crc_seed))
    return FRAME.pack(MARK, length, crc, KIND_RECORD) + payload


def scan(data: bytes, base: int, crc_seed: int, limit: int) -> Scan:
    """At most `limit` sound records at the start of `data`, which stands at offset `base`."""
    records: list[tuple[int, bytes]] = []
    at, size = 0, len(data)
    while len(records) < limit and size - at >= FRAME.size:
        end = _frame_end(data, at, crc_seed)
        if end is None:
            return Scan(records, at, is_damaged=True)
        if end > size:
            break
        payload = data[at + FRAME.size : end]
        records.append((base + end, payload))
        at = end
    rest = data[at : at + len(MARK)]
    return Scan(records, at, is_damaged=not MARK.startswith(rest[: len(MARK)]))


def _frame_end(data: bytes, at: int, crc_seed: int) -> int | None:
    """Where the frame at `at` ends (perhaps behind the data); None when it is none."""
    mark, length, crc, kind = FRAME.unpack_from(data, at)
    if mark != MARK or length > MAX_PAYLOAD:
        return None
    start = at + FRAME.size
    end: int = start + length
    if end <= len(data):
        found = zlib.crc32(_CHECKED.pack(length, kind), crc_seed)
        if zlib.crc32(memoryview(data)[start:end], found) != crc:
            return None
    return end


def next_sound_frame(data: bytes, start: int, crc_seed: int) -> int | None:
    """Offset in `data` of the first whole and sound frame from `start` on; None without one.

    Work is bounded: candidates are checked until sixteen times the data were summed.
    """
    budget = 16 * len(data) + 4096
    at = data.find(MARK, start)
    while at >= 0 and budget > 0 and len(data) - at >= FRAME.size:
        end = _frame_end(data, at, crc_seed)
        if end is not None and end <= len(data):
            return at
        _, length, _, _ = FRAME.unpack_from(data, at)
        budget -= min(length, len(data) - at) + FRAME.size
        at = data.find(MARK, at + 1)
    return None
