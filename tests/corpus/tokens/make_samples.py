"""Seal one file of samples with the code as it is: run once for a release with a new version.

    python tests/corpus/tokens/make_samples.py 2

(or with a name, when a version got something that may stand in it: `1-counts`) writes
release-2.json and refuses to touch a file that is there: what was sealed stays as it is.
"""

import json
import sys
from pathlib import Path

import msgspec

from sendback import tokens
from sendback.metadata import external_rows, record, stateless
from sendback.metadata.dictionary import deflate
from sendback.model import LinkFacts, LinkKind, MessageFacts, Privacy, TrackingData
from sendback.secret_constants import Keyring, Purpose
from sendback.tokens import Version

CONSTANTS = (bytes(range(32)).hex(), bytes(range(32, 64)).hex())
STORE = bytes(range(200, 216))

MESSAGES = [
    MessageFacts(
        email="anna.kowalska@example.org", listid="newsletter", sendid="newsletter20261124",
        mail_class="Newsletter", url_domain="links.example.com", tagged_at=1_795_514_400,
    ),
    MessageFacts(
        email="Jörg@bücher.example", listid="l-1", sendid="spring", click_tracking_id="42",
        mail_class="x_y", url_domain="t.example", instance_id="i", tagged_at=4_294_967_295,
        privacy=Privacy.ANONYMOUS,
    ),
    MessageFacts(email="a@b"),
    MessageFacts(
        email="counted@example.org", listid="newsletter", sendid="newsletter20261124",
        mail_class="Newsletter", url_domain="links.example.com", tagged_at=1_795_514_400,
        html_links=20,
    ),
    MessageFacts(email="both@example.org", tagged_at=1_795_514_400, html_links=300, text_links=7),
    MessageFacts(email="text@example.org", tagged_at=1_795_514_400, text_links=2),
]  # fmt: skip
LINKS = [
    LinkFacts(url="https://www.example.com/shop?utm_source=newsletter&utm_medium=email", pos=1),
    LinkFacts(
        url="http://example.com/é", pos=300, link_id="foot ä", universal=True, html_or_text="t"
    ),
    LinkFacts(url="ftp://odd/", kind=LinkKind.UNSUB_BODY_CONFIRM, pos=2),
    LinkFacts(url="", kind=LinkKind.UNSUB_HEADER),
    LinkFacts(url="http://www.example.com", kind=LinkKind.HONEYPOT),
]
LINK_PURPOSES = (Purpose.CLICK, Purpose.UNI, Purpose.OPEN, Purpose.UNSUB, Purpose.REPORT,
                 Purpose.FEEDBACK, Purpose.MAILTO)  # fmt: skip


def samples() -> dict[str, object]:
    """Every version, purpose and kind of body."""
    ring = Keyring.from_constants(*CONSTANTS)
    key = ring.signing
    sealed = []

    def add(
        purpose: Purpose, version: Version, body: bytes, associated: bytes = b"", **more
    ) -> None:
        token = tokens.seal(ring, purpose, version, body, associated)
        sealed.append(
            {"purpose": int(purpose), "version": int(version), "token": token,
             "associated": associated.hex(), "body": body.hex(), **more}
        )  # fmt: skip

    for number, message in enumerate(MESSAGES):
        for link in [None, *LINKS]:
            body = record.encode(message, link)
            purpose = LINK_PURPOSES[(number + LINKS.index(link)) % 7] if link else Purpose.OPEN
            facts = msgspec.to_builtins(TrackingData(message, link))
            add(purpose, Version.STATELESS, body, facts=facts)
            add(purpose, Version.STATELESS_DEFLATED, deflate(body), facts=facts)
        hashes = (
            stateless.recipient_hash(key, message.email)
            + stateless.send_hash(key, message.sendid)
            + stateless.day_of(message).to_bytes(2, "big")
        )
        add(
            Purpose.BOUNCE,
            Version.BOUNCE_HASHES,
            hashes,
            email=message.email,
            sendid=message.sendid,
        )
    ids = STORE[:2] + record.encode_number(123_456)
    for purpose in (Purpose.CLICK, Purpose.UNI, Purpose.UNSUB):
        add(purpose, Version.LOCAL, ids + record.encode_number(300) + b"?a=1", STORE)
        add(purpose, Version.EXTERNAL, bytes(range(24)))
    for purpose in (Purpose.OPEN, Purpose.REPORT, Purpose.FEEDBACK, Purpose.MAILTO):
        add(purpose, Version.LOCAL, ids, STORE)
    add(Purpose.BOUNCE, Version.BOUNCE_LOCAL, ids + (20_781).to_bytes(2, "big"), STORE)
    rows = []
    for link in LINKS:
        row = external_rows.link_row(link, "spring", "l-1", "2026-11-24")
        number = external_rows.number_of_row(key, row, link)
        rows.append(
            {"data": msgspec.json.encode(row).decode(), "number": number.hex(),
             "id": external_rows.row_id_of(key, number).hex()}
        )  # fmt: skip
    return {
        "constants": CONSTANTS,
        "key_id": key.key_id,
        "fingerprint": key.fingerprint,
        "tokens": sealed,
        "external_link_rows": rows,
        "external_message_rows": [
            {"data": msgspec.json.encode(external_rows.message_row(message)).decode(),
             "facts": msgspec.to_builtins(message)}
            for message in MESSAGES
        ],
    }  # fmt: skip


if __name__ == "__main__":
    path = Path(__file__).with_name(f"release-{sys.argv[1]}.json")
    with path.open("x", encoding="utf-8") as file:
        json.dump(samples(), file, indent=1, ensure_ascii=False)
        file.write("\n")
