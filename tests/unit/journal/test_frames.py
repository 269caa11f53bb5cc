"""The bytes of a segment, both ways."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sendback.journal import frames

SEED = frames.seed(b"s" * 16)


@settings(max_examples=150)
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_what_is_encoded_is_scanned(payloads: list[bytes]) -> None:
    data = frames.encode(payloads, SEED)

    found = frames.scan(data, 100, SEED, limit=1000)

    assert payloads == [payload for _, payload in found.records]
    assert len(data) == found.consumed
    assert not found.is_damaged
    assert [100 + len(data)] == [end for end, _ in found.records[-1:]] or not payloads


def test_header_both_ways() -> None:
    header = frames.Header(os.urandom(16), 1_700_000_000_123)

    assert header == frames.decode_header(frames.encode_header(header) + b"more")
    assert frames.decode_header(frames.encode_header(header)[:-1]) is None
    assert frames.decode_header(b"x" * 32) is None


def test_a_frame_inside_a_payload_is_no_frame() -> None:
    """A mail may quote a frame of a file with another id: the CRC starts elsewhere there."""
    foreign = frames.encode([b"forged"], frames.seed(b"t" * 16))
    data = frames.encode([b"a" + foreign, b"b"], SEED)
    damaged = b"\0" + data[1:]

    at = frames.next_sound_frame(damaged, 1, SEED)

    assert at is not None
    assert [p for _, p in frames.scan(damaged[at:], 0, SEED, 9).records] == [b"b"]


@pytest.mark.parametrize("cut", range(1, 40))
def test_an_incomplete_frame_is_no_damage(cut: int) -> None:
    data = frames.encode([b"first", b"x" * 30], SEED)

    found = frames.scan(data[:-cut], 0, SEED, 9)

    assert [payload for _, payload in found.records] == [b"first"]
    assert not found.is_damaged


def test_searching_a_hostile_segment_is_bounded() -> None:
    """Every four octets claim to begin a frame as long as the rest."""
    data = (frames.MARK + (2**20).to_bytes(4, "little") + b"\0" * 5) * 20_000

    assert frames.next_sound_frame(data, 0, SEED) is None
