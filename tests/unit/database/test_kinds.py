"""The table of kinds: built, shown, masked and looked up the same way everywhere."""

import msgspec
import pytest

from sendback.database.kinds import KINDS, MASK, kind_named, objects
from sendback.errors import Malformed, NotFound
from sendback.model.catalog import Catalog

EXAMPLES = {
    "url_domain": {"domain": "a.example", "tls": True, "apple_app_site_association": "{}"},
    "mail_class": {"name": "news", "event_tracking_metadata_storage": "external"},
    "bounce_mailbox": {"address": "b@a.example"},
    "complaint_mailbox": {"address": "fbl@a.example"},
    "database_connection": {"name": "db", "database": "x", "password": "p"},
    "destination": {
        "name": "d",
        "type": "webhook",
        "url": "https://x.example/",
        "secret": "s",
        "secrets": ["t", "u"],
        "headers": {"A": "b"},
    },
    "peer": {"name": "p", "admin_url": "https://x.example", "api_key": "k"},
}


@pytest.mark.parametrize("name", KINDS)
def test_plain_values_there_and_back(name):
    kind = KINDS[name]
    item = kind.build(EXAMPLES[name])

    assert kind.build(kind.plain(item, secrets=True)) == item
    assert kind.key_of(item) == EXAMPLES[name][kind.key]
    assert kind_named(kind.slug) is kind_named(kind.plural_slug) is kind


@pytest.mark.parametrize("name", KINDS)
def test_secrets_are_masked_and_masks_mean_unchanged(name):
    kind = KINDS[name]
    item = kind.build(EXAMPLES[name])
    shown = kind.plain(item)

    assert all(shown[field] in (MASK, [MASK] * 2, {"A": MASK}, "") for field in kind.secrets)
    assert kind.build(kind.unmasked(shown, item)) == item


def test_every_kind_of_the_catalog_is_there():
    kinds = {kind.plural for kind in KINDS.values()}
    others = {"version", "overrides", "blocks"}

    assert kinds == set(Catalog.__struct_fields__) - others
    assert all(objects(Catalog(), kind) == () for kind in KINDS.values())


def test_no_secret_is_forgotten():
    for kind in KINDS.values():
        suspicious = [f for f in kind.fields if f in {"password", "dsn", "api_key", "headers"}]
        suspicious += [f for f in kind.fields if "secret" in f]
        assert set(suspicious) == set(kind.secrets)


@pytest.mark.parametrize(
    ("name", "values", "field"),
    [
        ("url_domain", {}, "domain"),
        ("url_domain", {"domain": "a b"}, "domain"),
        ("url_domain", {"domain": "a.example", "tls": "yes"}, "tls"),
        ("url_domain", {"domain": "a.example", "colour": 1}, "colour"),
        ("url_domain", {"domain": "a.example", "android_asset_links": "{"}, "android_asset_links"),
        ("mail_class", {"name": "x"}, "name"),
        ("mail_class", {"name": "news", "unsubscribe_mode": "maybe"}, "unsubscribe_mode"),
        ("mail_class", {"name": "news", "privacy": None}, "privacy"),
        ("destination", {"name": "d", "type": "webhook", "url": "ftp://x"}, "url"),
        ("destination", {"name": "d", "type": "webhook"}, "url"),
        ("destination", {"name": "d", "type": "ndjson", "url": "x", "events": ["no"]}, "events"),
        ("destination", {"name": "d", "type": "ndjson", "url": "x", "events": [1]}, "events"),
        ("destination", {"name": "d", "type": "ndjson", "url": "x", "events": []}, "events"),
        (
            "destination",
            {"name": "d", "type": "ndjson", "url": "x", "mail_classes": []},
            "mail_classes",
        ),
        (
            "destination",
            {"name": "d", "type": "webhook", "url": "https://x", "max_retry_hours": 169},
            "max_retry_hours",
        ),
        (
            "destination",
            {"name": "d", "type": "webhook", "url": "https://x", "max_retry_hours": 0},
            "max_retry_hours",
        ),
        (
            "destination",
            {"name": "d", "type": "postgres", "url": "postgresql://h/d", "parallel": 2},
            "parallel",
        ),
        (
            "destination",
            {"name": "d", "type": "webhook", "url": "https://x", "secret": "whsec_???"},
            "secret",
        ),
        (
            "destination",
            {"name": "d", "type": "webhook", "url": "https://x", "secrets": ["whsec_"]},
            "secrets",
        ),
        (
            "destination",
            {"name": "d", "type": "webhook", "url": "https://x", "headers": {"a b": "c"}},
            "headers",
        ),
        (
            "destination",
            {"name": "d", "type": "webhook", "url": "https://x", "headers": {"A": "b\nc"}},
            "headers",
        ),
        (
            "destination",
            {"name": "d", "type": "webhook", "url": "https://x", "headers": {"TE": "x"}},
            "headers",
        ),
        ("bounce_mailbox", {"address": "toolong-name@a.example"}, "address"),
    ],
)
def test_wrong_values_name_their_field(name, values, field):
    with pytest.raises(Malformed) as caught:
        KINDS[name].build(values)

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:secret@x.example/a?b=c", "https://u:********@x.example/a?b=c"),
        ("postgresql://u:se:cret@h:1/d", "postgresql://u:********@h:1/d"),
        ("host=h password = 'a \\' b' user=u", "host=h password = ******** user=u"),
        ("postgresql://h/d?password=x&user=y", "postgresql://h/d?password=********&user=y"),
        ("https://x.example:8443/a@b:c", "https://x.example:8443/a@b:c"),
    ],
)
def test_a_password_in_a_url_is_shown_to_nobody(url, shown):
    # found by reading: a key that may only read saw the password of a Postgres destination
    kind = KINDS["destination"]
    kind_of = "webhook" if url.startswith("https") else "postgres"
    item = kind.build({"name": "d", "type": kind_of, "url": url})

    assert kind.plain(item)["url"] == shown
    assert kind.unmasked(kind.plain(item), item)["url"] == url
    assert kind.plain(item, secrets=True)["url"] == url


def test_a_masked_password_is_not_carried_to_another_host():
    kind = KINDS["destination"]
    item = kind.build({"name": "d", "type": "postgres", "url": "postgresql://u:p@h/d"})
    with pytest.raises(Malformed) as caught:
        kind.unmasked({"url": f"postgresql://u:{MASK}@other/d"}, item)

    assert caught.value.field == "url"


def test_unknown_kinds():
    with pytest.raises(NotFound):
        kind_named("users")
    assert isinstance(msgspec.to_builtins(KINDS["peer"].build(EXAMPLES["peer"])), dict)
