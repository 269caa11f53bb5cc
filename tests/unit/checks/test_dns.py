"""DNS of URL domains and mailboxes, asked from a real name server on loopback (S0.18)."""

import json
import time

import pytest

from fixtures.nameserver import running_nameserver
from fixtures.node import run_cli
from sendback.checks import DnsResolver, NoAnswer, check_dns
from sendback.model import BounceMailbox, Catalog, ComplaintMailbox, MailClass, UrlDomain

RECORDS = {
    ("links.example.com", "A"): ["192.0.2.10"],
    ("links.example.com", "AAAA"): ["2001:db8::10"],
    ("alias.example.com", "CNAME"): ["links.example.com."],
    ("empty.example.com", "TXT"): ['"nothing to see"'],
    ("bounces.example.com", "MX"): ["20 mx2.example.com.", "10 MX1.example.com."],
    ("mx1.example.com", "A"): ["192.0.2.11"],
    ("mx2.example.com", "A"): ["192.0.2.12"],
    ("null.example.com", "MX"): ["0 ."],
    ("hollow.example.com", "MX"): ["10 nowhere.example.com."],
}
OURS = {"192.0.2.10", "2001:db8::10", "192.0.2.11", "192.0.2.12"}


def catalog(*, urls=(), bounces=(), complaints=()) -> Catalog:
    return Catalog(
        url_domains=tuple(UrlDomain(domain=domain) for domain in urls),
        bounce_mailboxes=tuple(BounceMailbox(address=f"b@{domain}") for domain in bounces),
        complaint_mailboxes=tuple(ComplaintMailbox(address=f"fbl@{d}") for d in complaints),
    )


@pytest.fixture(scope="module")
def resolver():
    with running_nameserver(RECORDS) as port:
        yield DnsResolver(["127.0.0.1"], port=port)


def test_what_leads_to_us_is_fine(resolver):
    found = check_dns(
        catalog(
            urls=["links.example.com", "alias.example.com"],
            bounces=["bounces.example.com"],
            complaints=["bounces.example.com"],
        ),
        resolver,
        expected=OURS,
    )

    assert [(f.check, f.subject, f.ok) for f in found] == [
        ("url-domain", "alias.example.com", True),
        ("url-domain", "links.example.com", True),
        ("mailbox", "bounces.example.com", True),
    ]
    assert found[1].detail == "192.0.2.10, 2001:db8::10"
    assert found[2].detail == "mx1.example.com, mx2.example.com"


@pytest.mark.parametrize(
    ("kind", "domain", "detail"),
    [
        ("urls", "missing.example.com", "no address"),
        ("urls", "empty.example.com", "no address"),
        ("bounces", "missing.example.com", "no MX record"),
        ("complaints", "links.example.com", "no MX record"),
        ("bounces", "null.example.com", "null MX"),
        ("bounces", "hollow.example.com", "MX without an address: nowhere.example.com"),
    ],
)
def test_what_is_missing_is_named_with_its_cure(resolver, kind, domain, detail):
    (finding,) = check_dns(catalog(**{kind: [domain]}), resolver)

    assert (finding.ok, finding.detail) == (False, detail)
    assert finding.cure


@pytest.mark.parametrize(
    ("kind", "domain"), [("urls", "links.example.com"), ("bounces", "bounces.example.com")]
)
def test_what_leads_elsewhere_is_said(resolver, kind, domain):
    (finding,) = check_dns(catalog(**{kind: [domain]}), resolver, expected={"198.51.100.1"})

    assert not finding.ok
    assert finding.detail.startswith("leads elsewhere: 192.0.2.")


def test_the_bounce_mailbox_of_a_mail_class_counts_too(resolver):  # S0.6
    known = Catalog(mail_classes=(MailClass(name="news", bounce_mailbox="b@missing.example.com"),))
    (finding,) = check_dns(known, resolver)

    assert (finding.check, finding.detail) == ("mailbox", "no MX record")


def test_names_of_this_machine_are_asked_of_nobody(resolver):  # RFC 6761
    found = check_dns(catalog(urls=["localhost", "a.localhost"], bounces=["localhost"]), resolver)

    assert {(finding.state, finding.ok) for finding in found} == {("skipped", True)}


def test_a_dead_name_server_is_an_answer_in_bounded_time():  # fault matrix 27
    with running_nameserver({}, silent=True) as port:
        resolver = DnsResolver(["127.0.0.1"], port=port, lifetime=0.3)
        began = time.monotonic()
        with pytest.raises(NoAnswer, match="A of links"):
            resolver.addresses("links.example.com")
        found = check_dns(catalog(urls=["links.example.com"]), resolver)

    assert [finding.ok for finding in found] == [False]
    assert time.monotonic() - began < 20


def test_the_command_exits_3_when_something_is_wrong(tmp_path):
    env = {
        "SENDBACK_URL_DOMAIN": '[{"domain": "links.example.com"}]',
        "SENDBACK_BOUNCE_MAILBOX": '[{"address": "b@bounces.example.com"}]',
        "SENDBACK_COMPLAINT_MAILBOX": '[{"address": "fbl@bounces.example.com"}]',
    }
    with running_nameserver(RECORDS) as port:
        asked = ("check", "dns", "--json", "--nameserver", "127.0.0.1", "--port", str(port))
        place = ("--data-dir", str(tmp_path / "data"))
        fine = run_cli(*asked, *place, env=env)
        wrong = run_cli(*asked, "--address", "192.0.2.99", *place, env=env, check=False)

    assert [row["ok"] for row in json.loads(fine.stdout)] == [True, True]
    assert wrong.returncode == 3
    assert [row["ok"] for row in json.loads(wrong.stdout)] == [False, False]
