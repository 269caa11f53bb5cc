"""Which recipients are ours, and what is journaled for them."""

import asyncio

import msgspec
import pytest

from sendback.errors import Forged, NotFound, Unavailable
from sendback.inbound import Inbound
from sendback.model import BounceMailbox, CapturedMail, Catalog, ComplaintMailbox

CATALOG = Catalog(
    bounce_mailboxes=(BounceMailbox(address="bounce@mx.test"),),
    complaint_mailboxes=(ComplaintMailbox(address="fbl@fbl.test"),),
)


class Tokens:
    """Answers by the token's text."""

    def resolve_bounce(self, token):
        if token == "down":
            raise Unavailable("the store does not answer")
        if token == "another":
            raise NotFound("no local metadata")
        if token != "good":
            raise Forged("no")

    def verify(self, purpose, token):
        raise Forged("no")


class Slow:
    """A journal whose appends end when they are let."""

    full = False

    def __init__(self, *errors):
        self.errors = list(errors)
        self.payloads = []

    async def append_async(self, payload):
        error = self.errors.pop(0) if self.errors else None
        if isinstance(error, float):
            await asyncio.sleep(error)
        elif error is not None:
            raise error
        self.payloads.append(payload)


def inbound(journal=None, **options):
    return Inbound(
        Tokens(), journal or Slow(), lambda: CATALOG, server_names=["Node.test"], **options
    )


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("bounce@mx.test", "bounce"),
        ("BOUNCE@MX.TEST", "bounce"),
        ("bounce+good@mx.test", "bounce"),
        ("Bounce+GOOD@mx.test", "bounce"),
        ("bounce+down@mx.test", "bounce"),
        ("fbl@fbl.test", "complaint"),
        ("postmaster", "postmaster"),
        ("PostMaster", "postmaster"),
        ("postmaster@mx.test", "postmaster"),
        ("abuse@fbl.test", "abuse"),
        ("abuse@node.test", "abuse"),
    ],
)
def test_ours(address, kind):
    assert inbound().recognise(address) == kind


@pytest.mark.parametrize(
    "address",
    [
        "bounce+bad@mx.test",
        "bounce+another@mx.test",
        "bounce+@mx.test",
        "fbl+good@fbl.test",
        "bounce@fbl.test",
        "abuse",
        "abuse@elsewhere.test",
        "postmaster+x@mx.test",
        "x@mx.test",
        "bounce@sub.mx.test",
        "",
    ],
)
def test_not_ours(address):
    with pytest.raises(NotFound):
        inbound().recognise(address)


def take(made, *recipients):
    return asyncio.run(
        made.take(
            mail_from="", recipients=recipients, raw=b"x" * 100, size=100, peer_ip="192.0.2.1"
        )
    )


def test_one_record_a_recipient():
    journal = Slow()
    take(inbound(journal, max_bytes=10), ("a@x.test", "bounce"), ("b@x.test", "abuse"))
    mails = [msgspec.msgpack.decode(payload, type=CapturedMail) for payload in journal.payloads]
    assert [mail.rcpt_to for mail in mails] == ["a@x.test", "b@x.test"]
    assert len({mail.record_id for mail in mails}) == 2
    assert all((mail.raw, mail.size) == (b"x" * 10, 100) for mail in mails)


def test_one_that_fails_fails_the_message():
    with pytest.raises(Unavailable):
        take(
            inbound(Slow(None, Unavailable("full"))), ("a@x.test", "bounce"), ("b@x.test", "bounce")
        )


def test_a_journal_that_never_answers():
    with pytest.raises(Unavailable, match="seconds"):
        take(inbound(Slow(5.0), timeout=0.05), ("a@x.test", "bounce"))
