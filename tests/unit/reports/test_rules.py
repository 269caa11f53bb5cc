"""The rule table: every rule is sound, proven by its samples, and reached."""

import re

import pytest

from sendback.reports import codes, rules
from sendback.reports.classify import Fault, classify

TABLE = rules.load(rules.packaged())
RCPT = "user@example.com"
GROUPS = [("", (), TABLE.general), *TABLE.providers]
CASES = [
    pytest.param(group, rule, sample, id=f"{name or 'general'}-{rule.reason}-{sample[:40]}")
    for name, _, group in GROUPS
    for rule in group
    for sample in rule.samples
]


def test_every_rule_has_a_sample_a_known_reason_and_a_sound_expression():
    for _, _, group in GROUPS:
        for rule in group:
            assert rule.samples, rule.phrases.expression
            assert rule.reason in codes.REASONS
            re.compile(rule.phrases.expression)
            letters = re.sub(r"\\.", "", rule.phrases.expression)
            assert letters == letters.lower(), "the text is lower case"


@pytest.mark.parametrize(("group", "rule", "sample"), CASES)
def test_the_sample_matches_its_rule_and_no_earlier_one(group, rule, sample):
    text = rules.quieten(TABLE, rules.normalise(sample, RCPT))

    first = next(r for r in group if r.phrases.search(text))

    assert first is rule


def test_words_never_hide_a_match():
    """What the quick look lets pass is what the whole expression matches."""
    texts = [rules.normalise(param.values[2], RCPT) for param in CASES]
    for _, _, group in GROUPS:
        for rule in group:
            whole = re.compile(rule.phrases.expression)
            for text in texts:
                assert bool(whole.search(text)) == bool(rule.phrases.search(text))


def test_a_provider_table_speaks_only_for_its_hosts():
    text = "550 Requested action not taken: mailbox unavailable invalid DNS MX resource record"

    assert classify(Fault(RCPT, text, hosts="mx.gmx.net")).reason == "rejected"
    assert classify(Fault(RCPT, text, hosts="mx.example.net")).reason != "rejected"


def test_a_broken_table_names_the_rule():
    with pytest.raises(ValueError, match="unbalanced"):
        rules.load('[[group]]\nreason = "spamdetected"\nrules = [["(spam", "spam"]]')


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<User@Example.com>... no", "<rcpt>... no"),
        ("from spam@example.org refused", "from <addr> refused"),
        ("550-5.1.1 one 550-5.1.1 two 550 5.1.1 three", "550-5.1.1 one two 550 5.1.1 three"),
        ("5.1.0 - Unknown address error 550-'5.2.2 full'", "550-'5.2.2 full'"),
    ],
)
def test_normalised_text(text, wanted):
    assert rules.normalise(text, RCPT) == wanted
