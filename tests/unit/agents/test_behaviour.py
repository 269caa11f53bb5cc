"""Whole visits of scanners and people, as others described them: the labels once all are known."""

import tomllib
from pathlib import Path

import pytest

from sendback.agents import Observation, OtherVisit, classify, load_rules
from sendback.finishing.history import History
from sendback.model import Hint, VisitKind

CORPUS = tomllib.loads(
    (Path(__file__).parents[2] / "corpus/agents/behaviour.toml").read_text("utf-8")
)
NAMES = CORPUS["names"]
KINDS = {"open": VisitKind.OPEN, "click": VisitKind.CLICK, "unsub": VisitKind.UNSUB}
HINTS = {"one_click": Hint.ONE_CLICK, "confirmed": Hint.CONFIRMED, "universal": Hint.UNIVERSAL}
RULES = load_rules()
TAGGED = 1_790_000_000
HONEYPOT = -1


def seen_of(visit) -> OtherVisit:
    seconds, kind, pos, address, _agent, _label, *hints = visit
    return OtherVisit(
        int((TAGGED + seconds) * 1000),
        KINDS[kind],
        max(pos, 0),
        NAMES[address],
        pos == HONEYPOT,
        sum(HINTS[name] for name in hints),
    )


@pytest.mark.parametrize("case", CORPUS["case"], ids=lambda case: case["name"])
def test_every_visit_gets_its_label(case):  # R1, R5, R8
    history = History()
    seen = [seen_of(visit) for visit in case["visits"]]
    for one in seen:
        history.add(b"message", one)

    labels = [
        classify(
            Observation(
                kind=one.kind,
                ip=one.ip,
                user_agent=NAMES[visit[4]],
                hints=one.hints,
                time_ms=one.time_ms,
                tagged_at=TAGGED,
                pos=one.pos,
                honeypot=one.honeypot,
                others=history.others(b"message", one),
                links_in_message=case.get("links"),
                complete_until_ms=2**62,
            ),
            RULES,
        ).agent_class
        for visit, one in zip(case["visits"], seen, strict=True)
    ]

    assert labels == [visit[5] for visit in case["visits"]]


def test_the_corpus_names_its_sources_and_holds_both_sides():
    labels = [visit[5] for case in CORPUS["case"] for visit in case["visits"]]
    assert all(case["source"] for case in CORPUS["case"])
    assert labels.count("human") > 20
    assert labels.count("scanner") > 20
