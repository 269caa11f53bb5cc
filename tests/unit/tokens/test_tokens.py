"""One token for one purpose: nothing but what we sealed opens, and one token has one text."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sendback import tokens
from sendback.errors import Forged
from sendback.secret_constants import Key, Keyring, Purpose
from sendback.tokens import UnknownKey, Version

RING = Keyring.from_constants(bytes(range(32)), bytes(range(32, 64)))
OTHER = Keyring.from_constants(bytes(range(1, 33)), bytes(range(32, 64)))
LINK_VERSIONS = (Version.STATELESS, Version.STATELESS_DEFLATED, Version.LOCAL, Version.EXTERNAL)
BOUNCE_VERSIONS = (Version.BOUNCE_HASHES, Version.BOUNCE_LOCAL)
LINK_PURPOSES = [purpose for purpose in Purpose if purpose is not Purpose.BOUNCE]
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def forms() -> list[tuple[Purpose, Version]]:
    links = [(purpose, version) for purpose in LINK_PURPOSES for version in LINK_VERSIONS]
    return links + [(Purpose.BOUNCE, version) for version in BOUNCE_VERSIONS]


def refused(purpose: Purpose, text: bytes | str, associated: bytes = b"", ring: Keyring = RING):
    with pytest.raises(Forged):
        tokens.open(ring, purpose, text, associated)


@settings(max_examples=150)
@given(st.sampled_from(forms()), st.binary(min_size=1, max_size=22), st.binary(max_size=20))
def test_open_is_the_inverse_of_seal(form, body, associated):
    purpose, version = form

    text = tokens.seal(RING, purpose, version, body, associated)
    opened = tokens.open(RING, purpose, text, associated)

    assert (opened.version, opened.body, opened.key) == (version, body, RING.signing)
    assert tokens.seal(RING, purpose, version, body, associated) == text


@pytest.mark.parametrize("version", [v for v in LINK_VERSIONS if v is not Version.LOCAL])
def test_many_are_sealed_as_one_is(version):
    for purpose in (Purpose.CLICK, Purpose.UNI, Purpose.UNSUB):
        one = tokens.sealing(RING, purpose, version)
        for size in range(1, 40):
            body = bytes(range(size))
            assert one(body) == tokens.seal(RING, purpose, version, body)
            assert tokens.open(RING, purpose, one(body)).body == body


@pytest.mark.parametrize("version", LINK_VERSIONS)
def test_a_token_of_one_purpose_opens_for_no_other(version):  # reliability 7A 13, 14
    for made_for in LINK_PURPOSES:
        text = tokens.seal(RING, made_for, version, b"body")
        for used_for in LINK_PURPOSES:
            if used_for is not made_for:
                refused(used_for, text)
        refused(Purpose.BOUNCE, text)


@pytest.mark.parametrize(("purpose", "version"), forms())
def test_other_constants_and_other_associated_data_are_refused(purpose, version):  # 7A 15
    text = tokens.seal(RING, purpose, version, b"body of a token", b"store")

    refused(purpose, text, b"store", OTHER)
    refused(purpose, text, b"stork")
    refused(purpose, text)


@pytest.mark.parametrize(("purpose", "version"), forms())
def test_every_flipped_character_and_every_cut_is_refused(purpose, version):  # 7A 5, 6, 11
    text = tokens.seal(RING, purpose, version, b"body of a token").encode()
    alphabet = b"abcdefghijklmnopqrstuvwxyz234567" if purpose is Purpose.BOUNCE else ALPHABET
    for at in range(len(text)):
        for other in random.Random(at).sample(sorted(alphabet), 6):
            if other != text[at]:
                refused(purpose, text[:at] + bytes((other,)) + text[at + 1 :])
        refused(purpose, text[:at])
    refused(purpose, text + b"A")
    refused(purpose, text + text)


@pytest.mark.parametrize("size", [20, 21, 22])
def test_no_second_spelling(size):
    """Unused bits, padding, the other base64 alphabet, white space: all refused. 7A 7-10"""
    for number in range(40):
        text = tokens.seal(RING, Purpose.CLICK, Version.LOCAL, bytes((number,)) * size).encode()
        for last in ALPHABET:
            if last != text[-1]:
                refused(Purpose.CLICK, text[:-1] + bytes((last,)))
        for variant in (
            text + b"=", text + b"==", b" " + text, text + b"\n", text[:9] + b"\n" + text[9:],
            text[:9] + b"!" + text[9:], text[:9] + b"%20" + text[9:], text + b"\0", b"=" + text,
            text[:9] + b"\x80" + text[9:], text.replace(b"-", b"+").replace(b"_", b"/") + b"+",
        ):  # fmt: skip
            refused(Purpose.CLICK, variant)
        if b"-" in text or b"_" in text:
            refused(Purpose.CLICK, text.replace(b"-", b"+").replace(b"_", b"/"))


def test_a_bounce_token_in_any_case_and_no_other_spelling():
    text = tokens.seal(RING, Purpose.BOUNCE, Version.BOUNCE_HASHES, bytes(16))

    assert text == text.lower()
    assert len(text) <= 56
    assert tokens.open(RING, Purpose.BOUNCE, text.upper()).body == bytes(16)
    assert tokens.open(RING, Purpose.BOUNCE, text.swapcase().title()).body == bytes(16)
    for last in "abcdefghijklmnopqrstuvwxyz234567":
        if last != text[-1]:
            refused(Purpose.BOUNCE, text[:-1] + last)
    for variant in (text + "=", text.replace("a", "1"), "0" + text[1:], text + " ", text + "ä"):
        refused(Purpose.BOUNCE, variant)
    # Unicode that lower() or upper() would turn into a letter of the alphabet
    refused(Purpose.BOUNCE, text.replace("k", "\u212a").replace("s", "\u017f") + "\u212a")


@settings(max_examples=300)
@given(st.binary(max_size=120))
def test_any_bytes_are_refused_and_nothing_else_happens(junk):  # W7
    for purpose in (Purpose.CLICK, Purpose.BOUNCE):
        refused(purpose, junk)
        refused(purpose, junk.decode("latin-1"))


@settings(max_examples=300)
@given(st.sampled_from(LINK_VERSIONS), st.binary(min_size=0, max_size=80))
def test_any_token_shaped_bytes_are_refused(version, rest):
    refused(Purpose.CLICK, tokens.encode(bytes((version, RING.key_id)) + rest))


def test_a_few_thousand_random_and_mutated_tokens():
    """The same with 10^7 stands in tests/bench/bench_metadata.py."""
    randomness = random.Random(7)
    genuine = [
        tokens.seal(RING, Purpose.CLICK, v, bytes(range(30))).encode() for v in LINK_VERSIONS
    ]
    accepted = 0
    for _ in range(5000):
        text = bytearray(randomness.choice(genuine))
        for _ in range(randomness.randint(1, 3)):
            text[randomness.randrange(len(text))] = randomness.choice(ALPHABET)
        try:
            tokens.open(RING, Purpose.CLICK, bytes(text))
            accepted += bytes(text) not in genuine
        except Forged:
            pass
    assert accepted == 0


@pytest.mark.parametrize("version", [0, 5, 6, 7, 128, 255])
def test_a_version_of_the_future_says_so(version):  # 7A 16
    text = tokens.encode(bytes((version, RING.key_id)) + bytes(40))

    with pytest.raises(Forged):
        tokens.open(RING, Purpose.CLICK, text)
    if version not in BOUNCE_VERSIONS:
        with pytest.raises(Forged, match="version"):
            tokens.open(RING, Purpose.CLICK, text)


@pytest.mark.parametrize("version", LINK_VERSIONS)
def test_a_key_that_is_not_here_is_named(version):  # reliability 3.2 (31)
    text = tokens.seal(OTHER, Purpose.CLICK, version, b"body")
    assert OTHER.key_id != RING.key_id

    with pytest.raises(UnknownKey) as caught:
        tokens.open(RING, Purpose.CLICK, text)
    assert caught.value.key_id == OTHER.key_id


@pytest.mark.parametrize(("purpose", "version"), forms())
def test_rotation_keeps_old_links_alive(purpose, version):  # S0.3, W5
    old = tokens.seal(RING, purpose, version, b"body")
    rotated = Keyring(OTHER.signing, (RING.signing,))
    retired = Keyring(OTHER.signing, (), (RING.signing,))

    assert tokens.open(rotated, purpose, old).body == b"body"
    refused(purpose, old, ring=retired)
    assert tokens.open(retired, purpose, old, include_retired=True).body == b"body"
    new = tokens.seal(rotated, purpose, version, b"body")
    refused(purpose, new, ring=RING)


@pytest.mark.parametrize(("purpose", "version"), forms())
def test_two_keys_with_one_id_are_both_tried(purpose, version):
    for number in range(20_000):
        twin = Key(bytes(range(32)), number.to_bytes(4, "big") + bytes(range(32, 64)))
        if twin.key_id == RING.key_id:
            break
    both = Keyring(twin, (RING.signing,))

    for ring in (RING, Keyring(twin)):
        text = tokens.seal(ring, purpose, version, b"body")
        assert tokens.open(both, purpose, text).key == ring.signing
    refused(purpose, tokens.seal(RING, purpose, version, b"body"), ring=Keyring(twin))


def test_over_the_length_limit_is_not_even_decoded():  # 7A 3, 4
    refused(Purpose.CLICK, b"A" * 7999)
    refused(Purpose.CLICK, b"A" * 65536)
    refused(Purpose.CLICK, b"")
    refused(Purpose.CLICK, b"A")
