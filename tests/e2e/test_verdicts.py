"""Verdicts on a whole node: held or provisional, made again, and a scanner's unsubscribe."""

import json
import re

import pytest

from e2e.test_first_light import SAMPLE, copies, fetch, html_of, send
from e2e.test_supervisor import until
from fixtures.node import running_node

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def links(node, kind: str) -> list[str]:
    (copy,) = copies(node).values()
    return list(dict.fromkeys(re.findall(rf"/{kind}\?[\w-]+", html_of(copy))))


@pytest.mark.parametrize("hold", [0, 20])
def test_a_scanner_is_known_on_all_its_events_only_when_they_are_held(tmp_path, hold):  # R7
    env = {"SENDBACK_EVENTS__VERDICT_HOLD_SECONDS": str(hold)}
    with running_node(tmp_path / "data", env=env) as node:
        send(node, SAMPLE.read_bytes(), ["ada@example.org"])
        (copy,) = copies(node).values()
        found = re.findall(r"(/(?:uni/)?click\?[\w-]+)", html_of(copy))
        assert len(found) == 3
        fetch(node.web + found[0], agent=BROWSER)
        if not hold:
            assert len(node.wait_events(1)) == 1  # out before the others come
        for link in found[1:]:
            fetch(node.web + link, agent=BROWSER)
        events = node.wait_events(3, seconds=90)

    first, *others = sorted(events, key=lambda event: event["event_time_ms"])
    if hold:
        for event in events:
            assert (event["agent_class"], event["is_bot"]) == ("scanner", True)
            assert event["agent_final"]
    else:
        assert not first["agent_final"]
        assert not first["is_bot"]
        assert others[-1]["is_bot"]
        assert others[-1]["agent_final"]


def test_labels_are_made_again_by_the_rules_of_today(tmp_path):
    agent = f"{BROWSER} AcmeMonitor/1.0"
    with running_node(tmp_path / "data") as node:
        send(node, SAMPLE.read_bytes(), ["ada@example.org"])
        fetch(node.web + links(node, "click")[0], agent=agent)
        (before,) = node.wait_events(1)
        assert not before["is_bot"]
        # a running node obeys it too, from the next visits on
        (node.data_dir / "control" / "user_agents.toml").write_text(
            '[[agent]]\nname = "acme"\nclass = "scanner"\ncontains = ["AcmeMonitor"]\n'
        )
        dry = json.loads(node.cli("events", "reclassify", "--dry-run", "--json").stdout)
        assert (dry["checked"], dry["changed"]) == (1, 1)
        assert node.events() == [before]
        node.cli("events", "reclassify")
        (after,) = node.events()

        def is_known() -> bool:
            fetch(node.web + links(node, "click")[0], agent=agent)
            return any(event["is_bot"] for event in node.events()[1:])

        assert until(is_known, 60)

    assert after["agent_reasons"] == ["user_agent:acme"]
    assert (after["agent_class"], after["is_bot"], after["agent_final"]) == ("scanner", True, True)
    changed = {"agent_class", "agent_reasons", "is_bot", "agent_final"}
    assert {k: v for k, v in after.items() if k not in changed} == {
        k: v for k, v in before.items() if k not in changed
    }


def test_one_message_may_keep_nothing_of_its_visitors(tmp_path):
    with running_node(tmp_path / "data") as node:
        message = b"X-Sendback-Privacy: anonymous\r\n" + SAMPLE.read_bytes()
        send(node, message, ["ada@example.org"])
        fetch(node.web + links(node, "click")[0], agent=BROWSER)
        fetch(node.web + links(node, "open")[0], agent="curl/8.4.0")
        events = {event["event_type"]: event for event in node.wait_events(2)}
        node.cli("events", "reclassify")
        assert {event["event_type"]: event for event in node.events()} == events

    for event in events.values():
        assert [event[name] for name in ("email", "engine_ip", "user_agent")] == ["", "", ""]
    assert events["engine_click"]["agent_class"] == "human"
    assert events["engine_open"]["agent_class"] == "scanner"


def test_a_scanners_unsubscribe_is_told_and_not_acted_upon(tmp_path):
    with running_node(tmp_path / "data") as node:
        send(node, SAMPLE.read_bytes(), ["ada@example.org"])
        link = links(node, "unsub")[0]
        fetch(node.web + link, agent="curl/8.4.0")
        (scanner,) = node.wait_events(1)
        assert (scanner["event_type"], scanner["is_bot"]) == ("engine_unsub", True)
        fetch(node.web + link, agent=BROWSER)
        events = node.wait_events(2)
        assert [event["is_bot"] for event in events] == [True, False]

        def suppressed() -> bool:
            done = node.cli("suppression", "check", "ada@example.org", check=False)
            return done.returncode == 3

        assert until(suppressed, 30)  # by the person's word
        listed = json.loads(node.cli("suppression", "list", "--json").stdout)
    entries = listed if isinstance(listed, list) else listed["entries"]
    assert [entry["event_id"] for entry in entries] == [events[1]["event_unique_id"]]
