"""Every token ever released still opens: tests/corpus/tokens has a file for each release. S0.2

A failure here means that mail already sent would lose its links. Don't change a sample: give the
new format a new version, and add a file with `make_samples.py`.
"""

import json
from pathlib import Path

import msgspec
import pytest

from sendback import tokens
from sendback.metadata import external_rows, stateless
from sendback.metadata.stateless import Stateless
from sendback.model import MessageFacts, TrackingData
from sendback.secret_constants import Keyring, Purpose
from sendback.tokens import Version

FILES = sorted((Path(__file__).parents[2] / "corpus" / "tokens").glob("release-*.json"))


def test_there_are_samples_of_every_version():
    versions = {s["version"] for file in FILES for s in json.loads(file.read_text())["tokens"]}

    assert versions == set(Version)


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def release(request):
    return json.loads(request.param.read_text())


def test_every_token_opens_to_what_was_sealed(release):
    ring = Keyring.from_constants(*release["constants"])
    assert (ring.key_id, ring.fingerprint) == (release["key_id"], release["fingerprint"])

    for sample in release["tokens"]:
        purpose = Purpose(sample["purpose"])
        opened = tokens.open(ring, purpose, sample["token"], bytes.fromhex(sample["associated"]))
        assert (opened.version, opened.body.hex()) == (sample["version"], sample["body"])
        if "facts" in sample:
            expected = msgspec.convert(sample["facts"], TrackingData)
            assert Stateless().resolve(purpose, opened) == expected
        if "email" in sample:
            ref = stateless.bounce_ref(opened)
            key = ring.signing
            assert ref.recipient_hash == stateless.recipient_hash(key, sample["email"])
            assert ref.send_hash == stateless.send_hash(key, sample["sendid"])


def test_every_external_row_is_still_read(release):
    key = Keyring.from_constants(*release["constants"]).signing

    for sample in release["external_link_rows"]:
        row = external_rows.decode_row(sample["data"].encode(), external_rows.LinkRow)
        link = external_rows.link_facts(row)
        assert external_rows.number_of_row(key, row, link).hex() == sample["number"]
        assert external_rows.row_id_of(key, bytes.fromhex(sample["number"])).hex() == sample["id"]
    for sample in release["external_message_rows"]:
        row = external_rows.decode_row(sample["data"].encode(), external_rows.MessageRow)
        assert external_rows.message_facts(row) == msgspec.convert(sample["facts"], MessageFacts)
