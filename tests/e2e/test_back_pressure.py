"""One receiver that takes nothing fills the log of a real node: what mail, visitors and the other
receivers notice, and what its operator sees (issue 7, docs/adr/0021-delivery.md)."""

import json
import smtplib
import time
import urllib.request

import msgspec

from e2e.test_delivery import delivered
from e2e.test_faults import SLACK, click, destinations, tagged
from e2e.test_supervisor import until
from fixtures.node import running_node
from fixtures.receiver import Receiver, answer
from sendback.journal import Journal, Level
from sendback.model import Visit, VisitKind, uuid7

COUNT = 6000


def journal_clicks(folder, path: str) -> None:
    journal = Journal(folder / "journal", "web")
    now = int(time.time() * 1000)
    for n in range(COUNT):
        token = path.partition("?")[2].encode()
        visit = Visit(uuid7(now), now, VisitKind.CLICK, token, "203.0.113.9", f"{n}." + "x" * 400)
        journal.append(msgspec.msgpack.encode(visit), level=Level.OS)
    journal.close()


def mail_answer(node) -> int:
    with smtplib.SMTP(*node.address("smtp"), timeout=30) as client:
        client.ehlo()
        return client.mail("")[0]


def metrics(node) -> dict[str, float]:
    with urllib.request.urlopen(f"{node.admin}/metrics", timeout=10) as found:
        lines = found.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if line[0] != "#")
    return {name: float(value) for name, _, value in pairs}


def test_a_dead_receiver_fills_the_log_and_costs_nobody_else_an_event(tmp_path):
    good, dead = Receiver(), Receiver()
    dead.behave = answer(503)
    env = {**destinations(tmp_path, good=good.url, dead=dead.url)}
    env["SENDBACK_EVENTS__MAX_BYTES"] = str(1 << 20)
    path = tagged(tmp_path, env)
    journal_clicks(tmp_path / "data", path)
    with running_node(tmp_path / "data", env=env) as node:
        # everybody else has every event, although the log is far above its cap
        assert until(lambda: len(delivered(good)) == COUNT, 120)
        assert until(lambda: mail_answer(node) == 452)
        assert click(node.web, path) < 0.25 + SLACK  # redirects go on
        assert until(lambda: len(delivered(good)) == COUNT + 1, 60)

        def counted() -> dict[str, dict]:
            rows = json.loads(node.cli("events", "status", "--json").stdout)
            return {row["destination"]: row for row in rows}

        assert until(lambda: counted()["statistics"]["backlog"] == 0, 60)
        rows = counted()
        assert rows["dead"]["backlog"] == COUNT + 1
        assert rows["dead"]["failing_since"]
        assert rows["dead"]["expired"] == rows["good"]["backlog"] == 0
        assert until(lambda: metrics(node).get('sendback_pressure_ratio{part="smtp"}', 0) > 1, 30)
        seen = metrics(node)
        assert seen['sendback_pressure_ratio{part="worker"}'] > 1
        assert seen['sendback_backlog_events{consumer="dead"}'] == COUNT + 1
        assert seen['sendback_degraded{part="smtp"}'] == 1
        assert until(lambda: node.log().count("above its cap because of dead"))
        time.sleep(2.5)  # the worker looks every second, and says nothing twice
        assert node.log().count("above its cap because of dead") == 1
        assert node.log().count("SMTP answers 452") == 1

        node.cli("destination", "pause", "dead")
        time.sleep(1.5)  # its thread looks every second
        dead.requests.clear()  # what it refused
        dead.behave = answer()
        node.cli("destination", "resume", "dead")  # tries at once
        assert until(lambda: len(delivered(dead)) == COUNT + 1, 60)
        assert until(lambda: mail_answer(node) == 250)
        assert until(lambda: metrics(node)['sendback_pressure_ratio{part="worker"}'] < 0.9)
        assert node.log().count("SMTP takes mail again") == 1
        assert counted()["dead"]["expired"] == 0
    for receiver in (good, dead):
        receiver.close()
