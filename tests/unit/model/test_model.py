"""The vocabulary: events carry every field, catalog values check themselves, ids sort by time."""

import json
import typing
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendback.errors import Malformed
from sendback.model import (
    BounceMailbox,
    CapturedMail,
    Catalog,
    DatabaseConnection,
    Destination,
    Event,
    MailClass,
    MessageFacts,
    UrlDomain,
    Visit,
    uuid7,
)
from sendback.model.catalog import built_in, normal_host
from sendback.model.events import EVENT_TYPES


@pytest.mark.parametrize("struct", typing.get_args(Event))
def test_an_event_says_every_field_and_reads_back(struct):
    event = struct(event_time=1, event_time_ms=1000, event_unique_id="x")
    raw = msgspec.json.encode(event)

    assert list(json.loads(raw)) == ["event_type", *struct.__struct_fields__]
    assert msgspec.json.decode(raw, type=Event) == event


def test_the_wire_names_are_those_of_the_seeds():
    tags = {struct.__struct_config__.tag for struct in typing.get_args(Event)}

    assert tags == set(EVENT_TYPES)


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_uuid7_is_one(time_ms, entropy):  # RFC 9562 section 5.7
    made = uuid.UUID(bytes=uuid7(time_ms, entropy))

    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert int.from_bytes(made.bytes[:6], "big") == time_ms


@pytest.mark.parametrize(
    "record",
    [
        Visit(b"i" * 16, 1, 1, b"t", "192.0.2.1", "UA", 3, "h"),
        CapturedMail(b"i" * 16, 1, "", "b@x", "bounce", "192.0.2.1", b"raw", 3),
    ],
)
def test_captured_records_read_back(record):
    decoder = msgspec.msgpack.Decoder(Visit | CapturedMail)

    assert decoder.decode(msgspec.msgpack.encode(record)) == record


def test_a_catalog_survives_its_snapshot():
    catalog = built_in(8080)

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(catalog), type=Catalog) == catalog
    assert catalog.default_url_domain.link_base == "http://localhost:8080"
    assert catalog.default_mail_class.track_clicks
    assert catalog.bounce_mailbox_by_address["bounce@localhost"].domain == "localhost"


def test_a_message_is_named_by_its_facts():
    one = MessageFacts(email="a@x", sendid="s", tagged_at=1)

    assert one.key == MessageFacts(email="a@x", sendid="s", tagged_at=1).key
    assert one.key != MessageFacts(email="a@x", sendid="s", tagged_at=2).key
    assert len(one.key) == 8


@pytest.mark.parametrize(
    ("text", "host"),
    [("Links.Example.COM.", "links.example.com"), ("bücher.example", "xn--bcher-kva.example")],
)
def test_hosts_are_normal(text, host):
    assert normal_host(text) == host


@pytest.mark.parametrize("text", ["", ".", "a..b", "a b", "-a.example", "a" * 64, "x." * 200])
def test_hosts_refused(text):
    with pytest.raises(Malformed):
        normal_host(text)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: UrlDomain(domain="a.example", link_base="ftp://a"), "link_base"),
        (lambda: UrlDomain(domain="a.ex", android_asset_links="nope"), "android_asset_links"),
        (lambda: UrlDomain(domain="a.ex", apple_app_site_association='"' + "x" * 140_000 + '"'),
         "apple_app_site_association"),
        (lambda: MailClass(name="news", listid="a b"), "listid"),
        (lambda: MailClass(name="news", statistic_report_grouping="fixed"), "sendid"),
        (lambda: BounceMailbox(address="no-at"), "address"),
        (lambda: DatabaseConnection(name="pg"), "database"),
        (lambda: DatabaseConnection(name="pg", dsn="host=a options='-c x'"), "dsn"),
        (lambda: DatabaseConnection(name="pg", dsn="dbname=a", database="b"), "dsn"),
        (lambda: Destination(name="d", type="ndjson", url="x", events=("click",)), "events"),
        (lambda: Destination(name="d", type="webhook", url="file:///etc"), "url"),
        (lambda: Destination(name="d", type="webhook", url="https://x:99999/"), "url"),
        (lambda: Destination(name="d", type="jetstream", url="nats://x:y/z"), "url"),
    ],
)  # fmt: skip
def test_a_wrong_catalog_value_names_its_field(make, field):
    with pytest.raises(Malformed) as caught:
        make()
    assert caught.value.field == field


def test_a_mail_class_is_lower_case_where_events_are():
    made = MailClass(name="News", listid="T99")

    assert (made.name, made.listid) == ("News", "t99")
    assert MailClass(name="News").listid == "news"


def test_apple_documents_are_kept_byte_for_byte():  # S4.24
    text = '{ "applinks" :\n  {} }\n'

    assert (
        UrlDomain(domain="a.example", apple_app_site_association=text).apple_app_site_association
        == text
    )
