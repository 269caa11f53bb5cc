"""Counting rules are data: read, matched in order, replaced while running."""

import pytest

from sendback.bounces import CountingRules, Rule, read_rules
from sendback.bounces.counting import Counting
from sendback.bounces.rules import milliseconds
from sendback.errors import Malformed
from sendback.model.bounce import Bounce

ONE = '[[rule]]\nname = "all"\nbounces = 2\nspan = "1d"\n'
DEFAULT = CountingRules().current()
REASONS = [
    "userunknown",
    "hostunknown",
    "hasmoved",
    "notaccept",
    "suspend",
    "mailboxfull",
    "mesgtoobig",
    "exceedlimit",
    "contenterror",
    "virusdetected",
    "syntaxerror",
    "notcompliantrfc",
    "spamdetected",
    "blocked",
    "badreputation",
    "rejected",
    "policyviolation",
    "authfailure",
    "requireptr",
    "norelaying",
    "securityerror",
    "failedstarttls",
    "speeding",
    "toomanyconn",
    "expired",
    "networkerror",
    "systemerror",
    "systemfull",
    "mailererror",
    "filtered",
    "onhold",
    "undefined",
    "suppressed",
]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def fitting(reason, *, bad_address=False, listid="news", rules=DEFAULT):
    bounce = {"bounce_type": "h", "hard": True, "bad_address": bad_address, "listid": listid}
    return next((rule.name for rule in rules if rule.fits(reason=reason, **bounce)), None)


def test_the_default_rules_speak_of_every_reason():
    found = {reason: fitting(reason) for reason in REASONS}

    assert None not in found.values()
    assert fitting("userunknown", bad_address=True) == "dead-address"
    assert found["userunknown"] == "maybe-dead"
    assert fitting("suspend", bad_address=True) == "suspended"
    assert fitting("hostunknown", bad_address=True) == "host-unknown"
    assert {found[r] for r in ("spamdetected", "blocked", "mesgtoobig")} == {"not-the-address"}


def test_only_proven_dead_addresses_go_at_once():
    at_once = [rule.name for rule in DEFAULT if rule.bounces == 1]

    assert at_once == ["dead-address"]
    assert all(milliseconds(r.span) > 0 for r in DEFAULT if r.bounces > 1)


def test_the_first_rule_that_fits_counts():
    rules = read_rules(
        '[[rule]]\nname = "vip"\nbounces = 0\nlistids = ["vip", "gold*"]\n'
        '[[rule]]\nname = "hard"\nbounces = 1\ntypes = ["h"]\n'
    )

    assert fitting("x", listid="vip", rules=rules) == "vip"
    assert fitting("x", listid="golden", rules=rules) == "vip"
    assert fitting("x", listid="vips", rules=rules) == "hard"


@pytest.mark.parametrize(
    "text",
    [
        "rule",
        "",
        "[[rule]]",
        ONE + 'colour = "red"',
        ONE + ONE,
        ONE.replace("2", '"2"'),
        ONE.replace("2", "-1"),
        ONE.replace("1d", "1 day"),
        ONE.replace("all", "All rules"),
        "x = [" * 10_000,
    ],
)
def test_what_is_no_rule_is_told(text):
    with pytest.raises(Malformed):
        read_rules(text)


def test_the_operators_file_comes_goes_and_breaks_while_running(tmp_path, caplog):
    path = tmp_path / "counting.toml"
    clock = Clock()
    rules = CountingRules(path, clock=clock)
    names = []
    for text in (None, ONE, "broken", ONE.replace("all", "new"), None):
        clock.now += 1.0
        if text is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(text)
        rules.current()
        clock.now += 1.0
        names.append([rule.name for rule in rules.current()])

    default = [rule.name for rule in DEFAULT]
    assert names == [default, ["all"], ["all"], ["new"], default]
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1


def test_one_bounce_asks_no_database():
    class Down:
        def count(self, bounces):
            raise AssertionError("asked")

    bounce = Bounce(
        email="a@a.example",
        reason="userunknown",
        bounce_type="h",
        hard=True,
        bad_address=True,
        time_ms=0,
        record_id=bytes(16),
    )
    assert Counting(Down(), CountingRules()).count([bounce] * 3) == [True] * 3


def test_spans():
    assert [milliseconds(t) for t in ("1s", "2m", "3h", "4d")] == [
        1000,
        120000,
        10800000,
        345600000,
    ]
    assert not Rule(name="x", bounces=1).needs_history
    assert Rule(name="x", bounces=1, span="1s").needs_history
