"""Keys made of secret constants: equal where the constants are, separate by purpose and use."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendback.errors import Malformed
from sendback.secret_constants import Key, Keyring, Purpose, read_constant

ONE = bytes(range(32))
TWO = bytes(range(32, 64))


def test_equal_constants_make_equal_keys_everywhere():  # S0.3
    here, there = Keyring.from_constants(ONE.hex(), TWO.hex()), Keyring.from_constants(ONE, TWO)

    assert here.fingerprint == there.fingerprint
    assert here.key_id == there.key_id
    assert here.signing == there.signing


def test_derivation_never_changes():
    """Sent mail lives for years: these values are part of the token format."""
    key = Key(ONE, TWO)

    assert f"{key.key_id:02x} {key.fingerprint}" == "77 598102da8fc6e12e42c0"
    assert key.subkey(Purpose.CLICK, b"mac").hex() == (
        "b55ec9e95cea42facff728cffcc2010d49ac01a01bb3044293e63df13c33e720"
    )


def test_each_purpose_and_use_has_its_own_subkey():
    key = Key(ONE, TWO)
    uses = (b"seal", b"mac", b"recipient", b"send", b"link number", b"link row")

    assert len({key.subkey(p, use) for p in Purpose for use in uses}) == len(Purpose) * len(uses)


@pytest.mark.parametrize(
    "pair", [(TWO, ONE), (ONE, ONE), (ONE + TWO[:1], TWO[1:]), (ONE, TWO[:16])]
)
def test_other_constants_make_another_key(pair):
    assert Key(*pair).fingerprint != Key(ONE, TWO).fingerprint


def test_a_key_shows_no_constant():
    key = Key(ONE, TWO)
    shown = f"{key!r} {Keyring(key)!r} {key.fingerprint}"

    assert ONE.hex()[:8] not in shown
    assert TWO.hex()[:8] not in shown
    assert key.constants == (ONE.hex(), TWO.hex())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00" * 15,
        "zz" * 32,
        "00" * 32,
        "abcd" * 8,
        "0123456789abcdef" * 4,
        "ab\ncd" * 9,
        "a" * 33,
    ],
)
def test_short_placeholder_and_broken_constants_are_refused(text):
    with pytest.raises(Malformed) as caught:
        read_constant(text, 1)

    assert caught.value.field == "constant1"
    assert len(text) < 20 or text not in str(caught.value)


def test_sixteen_bytes_are_enough():  # the seed's own servers have 16
    assert read_constant(ONE[:16].hex(), 1) == ONE[:16]


def test_candidates_by_id_and_the_retired_only_on_demand():
    signing, old, gone = Key(ONE, TWO), Key(TWO, ONE), Key(ONE[::-1], TWO)
    ring = Keyring(signing, (old,), (gone,))

    assert ring.candidates(old.key_id) == (old,)
    assert ring.candidates(gone.key_id) == ()
    assert ring.candidates(gone.key_id, include_retired=True) == (gone,)


def two_keys_with_one_id() -> tuple[Key, Key]:
    first = Key(ONE, TWO)
    for number in range(20_000):
        other = Key(ONE, number.to_bytes(4, "big") + TWO)
        if other.key_id == first.key_id:
            return first, other
    raise AssertionError("no second key with the same id")


def test_two_keys_with_one_id_are_both_candidates():
    first, second = two_keys_with_one_id()

    assert Keyring(second, (first,)).candidates(first.key_id) == (second, first)


@given(st.binary(max_size=300), st.binary(max_size=48))
def test_our_hmac_is_the_standard_library_s(text, more):  # RFC 2104
    key = Key(ONE + more, TWO)
    secret = key.subkey(Purpose.CLICK, b"mac")

    for _ in range(2):  # the pads are copied, never used up
        assert key.hmac(Purpose.CLICK, b"mac")(text) == hmac.digest(secret, text, "sha256")
