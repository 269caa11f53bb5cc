"""Labels made again from the log: nothing may turn a person into a machine on the way."""

import json
import uuid

import pytest

from sendback.agents import classify, load_rules
from sendback.eventlog import EventLog
from sendback.finishing import reclassify as module
from sendback.finishing.reclassify import reclassify
from sendback.model import Click, Open, Unsubscribe

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
T0 = 1_790_000_000_000
RULES = load_rules()


@pytest.fixture
def log(tmp_path):
    log = EventLog(tmp_path / "events.sqlite")
    yield log
    log.close()


def event(kind, after_ms=0, **fields):
    number = fields.pop("number", after_ms)
    known = {
        "event_time": T0 // 1000,
        "event_time_ms": T0 + after_ms,
        "event_unique_id": str(uuid.UUID(int=number + 1)),
        "email": "ann@example.org",
        "listid": "news",
        "sendid": "n1",
        "engine_ip": "198.51.100.7",
        "user_agent": BROWSER,
        "agent_class": "human",
        "agent_final": True,
    }
    return kind(**known | fields)


def judge_again(log, events, **options):
    log.append(events)
    done = reclassify(log, lambda seen: classify(seen, RULES), **options)
    return done, [json.loads(stored.body) for stored in log.read(0, 10_000)]


def test_a_visitor_whom_privacy_removed_keeps_his_label(log):
    """Found by reading: no address and no user agent looked like a machine's empty header."""
    nobody = {"engine_ip": "", "user_agent": ""}
    events = [
        event(Click, 0, email="", link_pos=1, **nobody),
        event(Open, 1, email="", agent_class="proxy", agent_reasons=("user_agent:x",), **nobody),
        event(Unsubscribe, 2, link_pos=9, **nobody),
    ]
    done, kept = judge_again(log, events)

    assert (done["checked"], done["changed"]) == (3, 0)
    assert [one["agent_class"] for one in kept] == ["human", "proxy", "human"]


def test_our_button_is_a_persons_and_no_link_of_a_burst(log):
    """Found by reading: that a button was pressed was not kept, so it made a burst."""
    events = [
        event(Click, 0, link_pos=1),
        event(Click, 900, link_pos=2),
        event(Unsubscribe, 1500, link_pos=3, agent_reasons=("confirmed",)),
        event(Unsubscribe, 1900, link_pos=4, agent_reasons=("one_click",)),
    ]
    done, kept = judge_again(log, events)

    assert [one["agent_class"] for one in kept] == ["human"] * 4
    assert kept[2]["agent_reasons"] == ["confirmed"]
    assert kept[3]["agent_reasons"] == ["one_click"]
    assert done["changes"].keys() <= {"human -> human"}


def test_visits_that_were_never_resolved_are_not_one_message(log):
    unknown = {"email": "", "listid": "", "sendid": "", "unresolved": True}
    events = [event(Click, n * 100, link_pos=n + 1, **unknown) for n in range(5)]
    done, _ = judge_again(log, events)

    assert done["changed"] == 0


def test_a_burst_across_two_pages_is_one(log, monkeypatch):
    monkeypatch.setattr(module, "_PAGE", 2)
    events = [event(Click, n * 100, link_pos=n + 1) for n in range(3)]
    done, kept = judge_again(log, events)

    assert done == {"checked": 3, "changed": 3, "changes": {"human -> scanner": 3}}
    assert all(one["agent_reasons"] == ["burst"] for one in kept)
    assert all(one["is_bot"] for one in kept)


def test_a_picture_that_was_taken_for_apples_is_told_again_as_a_whole(log):  # R4
    wrong = event(Open, 0, agent_class="prefetch", is_privacy_open=True, is_bot=True)
    right = event(Open, 1, user_agent="Mozilla/5.0")
    done, kept = judge_again(log, [wrong, right])

    assert done["changed"] == 2
    assert [one["agent_class"] for one in kept] == ["human", "prefetch"]
    assert [one["is_privacy_open"] for one in kept] == [False, True]


def test_an_app_that_fetched_its_link_stays_a_person(log):  # S4.23
    done, _ = judge_again(log, [event(Click, 0, user_agent="okhttp/4.12.0", universal=True)])
    assert done["changed"] == 0


def test_what_the_log_does_not_hold_is_kept(log):
    for number, reason in enumerate(("honeypot", "every_link")):
        log.append(
            [
                event(
                    Click,
                    number * 60_000,
                    agent_class="scanner",
                    is_bot=True,
                    agent_reasons=(reason,),
                )
            ]
        )
    done, _ = judge_again(log, [])
    assert (done["checked"], done["changed"]) == (2, 0)
