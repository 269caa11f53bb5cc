"""`events`, `destination`, `dead-letters`: what an operator sees and does (CONTRACT section 5)."""

import json
import uuid

import pytest
from click.testing import CliRunner

from fixtures.receiver import Receiver, answer
from sendback.cli import tree
from sendback.eventlog import EventLog, Parked
from sendback.model import BounceAll, Click, uuid7

T0 = 1_750_000_000_000


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()

    def call(*args, as_json=True):
        shared = ["--data-dir", str(tmp_path / "data"), *(["--json"] if as_json else [])]
        done = CliRunner().invoke(tree(), [*args, *shared])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, json.loads(done.stdout) if as_json else done.stdout

    return call


@pytest.fixture
def log(tmp_path, run):
    made = EventLog(tmp_path / "data" / "events.sqlite")
    yield made
    made.close()


def fill(log: EventLog, count: int) -> None:
    events = []
    for n in range(count):
        kind = Click if n % 2 == 0 else BounceAll
        at = T0 + n * 1000
        events.append(
            kind(event_time=at // 1000, event_time_ms=at, seq=0, email=f"user{n}@example.net",
                 event_unique_id=str(uuid.UUID(bytes=uuid7(at))))
        )  # fmt: skip
    log.append(events)


def test_a_node_that_never_ran_has_no_events(run) -> None:
    assert run("events", "list") == (0, [])
    assert run("events", "status") == (0, [])
    assert run("events", "tail", as_json=False) == (0, "")
    assert run("dead-letters", "list") == (0, [])


def test_events_come_oldest_first_exactly_as_delivered(run, log) -> None:
    fill(log, 250)
    _, found = run("events", "list")
    assert [event["seq"] for event in found] == list(range(1, 101))
    assert found == [json.loads(event.body) for event in log.read(0, 100)]

    def seqs(*args) -> list[int]:
        return [event["seq"] for event in run("events", "list", "--limit", "0", *args)[1]]

    assert len(seqs()) == 250
    assert seqs("--after", "248") == [249, 250]
    assert seqs("--since", "2025-06-15T15:10:48Z") == [249, 250]
    assert seqs("--since", str(T0 // 1000 + 249)) == [250]
    assert len(seqs("--type", "bounce_all")) == 125
    assert seqs("--email", "USER7@example.net") == [8]
    code, _ = run("events", "list", "--type", "nonsense", as_json=False)
    assert code == 2


def test_tail_gives_one_object_a_line(run, log, tmp_path) -> None:
    fill(log, 30)
    shared = ["--json", "--data-dir", str(tmp_path / "data")]
    done = CliRunner().invoke(tree(), ["events", "tail", *shared])

    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == list(range(21, 31))


def add_destination(run, url: str) -> None:
    run("destination", "add", "app", "--type", "webhook", "--url", url, "--allow-private-networks")


def test_a_destinations_life(run, log) -> None:
    receiver = Receiver()
    add_destination(run, receiver.url)
    fill(log, 10)

    code, shown = run("destination", "test", "app")
    assert (code, shown["result"], shown["status"]) == (0, "delivered", 200)
    receiver.behave = answer(500, b"oops")
    code, shown = run("destination", "test", "app")
    assert (code, shown["result"], shown["answer"]) == (1, "failed", "oops")
    assert [a["status"] for a in run("destination", "attempts", "app")[1]] == [500, 200]
    receiver.close()

    assert run("destination", "pause", "app")[1]["state"] == "paused"
    assert log.deliveries.state("app").state == "paused"
    assert run("destination", "resume", "app")[1]["state"] == "active"
    log.set_cursor("app", 9)
    assert run("destination", "replay", "app", "--since", str(T0 // 1000 + 5))[1]["from_seq"] == 6
    assert log.cursor("app") == 5
    log.set_cursor("app", 9)
    assert run("destination", "replay", "app", "--after", "7")[1]["from_seq"] == 8
    assert log.cursor("app") == 7
    both = ("destination", "replay", "app", "--after", "7", "--since", "1")
    assert run(*both, as_json=False)[0] == 2
    run("destination", "replay", "app")
    assert log.cursor("app") == 0
    (failed,) = run("destination", "attempts", "app", "--failed")[1]
    assert failed["status"] == 500
    (row,) = run("events", "status")[1]
    assert (row["destination"], row["backlog"], row["dead_letters"]) == ("app", 10, 0)


def test_status_says_what_waits_what_is_lost_and_since_when(run, log) -> None:
    fill(log, 10)
    add_destination(run, "http://127.0.0.1:1/")
    log.deliveries.note("app", moved=(0, 4), park=[Parked(2, 1, T0 * 9, 0, "hm")], failing=True)
    log.deliveries.note("app", bury=[(3, 1, "no")])
    log.set_cursor("statistics", 10)
    log.set_cursor("gone", 1)

    rows = {row["destination"]: row for row in run("events", "status")[1]}
    assert rows.keys() == {"app", "statistics"}  # what was removed is nobody's backlog
    app = rows["app"]
    assert (app["backlog"], app["parked"], app["dead_letters"], app["expired"]) == (7, 1, 1, 0)
    assert app["failing_since"]
    assert rows["statistics"]["backlog"] == rows["statistics"]["oldest_age_seconds"] == 0
    shown = run("events", "status", as_json=False)[1].splitlines()[0].split("\t")
    assert shown[4:] == ["7", str(app["oldest_age_seconds"]), "1", "0", app["failing_since"]]
    log.deliveries.note("gone", bury=[(5, 1, "no")])
    rows = {row["destination"]: row for row in run("events", "status")[1]}
    assert (rows["gone"]["state"], rows["gone"]["dead_letters"]) == ("removed", 1)


def test_a_dead_letter_of_a_removed_destination_is_not_given_to_nobody(run, log) -> None:
    """Found by reading: it was parked for ever, and stood nowhere any more."""
    fill(log, 3)
    log.deliveries.note("gone", bury=[(2, 1, "no")])
    code, shown = run("dead-letters", "retry", "--all")

    assert (code, log.deliveries.dead_count("gone")) == (1, 1)
    assert "gone" in shown["error"]["message"]


@pytest.mark.parametrize("command", ["test", "pause", "resume", "replay", "attempts"])
def test_an_unknown_destination(run, log, command) -> None:
    code, shown = run("destination", command, "nobody")

    assert code == 1
    assert "nobody" in shown["error"]["message"]


def test_dead_letters(run, log) -> None:
    fill(log, 5)
    add_destination(run, "http://127.0.0.1:1/")
    log.deliveries.note("app", bury=[(2, 3, "refused: 400 no"), (4, 1, "x"), (5, 1, "y")])
    with log.transaction() as transaction:
        transaction.bury(b"\xc1", tries=5, reason="no known record")

    code, rows = run("dead-letters", "list", "--destination", "app")
    assert code == 0
    assert [(row["seq"], row["event"]["seq"], row["tries"]) for row in rows] == [
        (2, 2, 3), (4, 4, 1), (5, 5, 1),
    ]  # fmt: skip
    assert len(run("dead-letters", "list")[1]) == 4
    assert len(run("dead-letters", "list", "--limit", "2")[1]) == 2
    assert run("dead-letters", "retry", str(rows[0]["id"]))[1] == {"retried": 1}
    assert log.deliveries.parked_count("app") == 1
    assert run("dead-letters", "drop", "--all", "--destination", "app")[1] == {"dropped": 2}
    assert [row["destination"] for row in run("dead-letters", "list")[1]] == ["finishing"]
    assert run("dead-letters", "drop", "999")[0] == 1
    assert run("dead-letters", "drop", as_json=False)[0] == 2


def test_labels_are_made_again(run, log) -> None:
    at = T0
    event = Click(event_time=at // 1000, event_time_ms=at, email="a@b.test", engine_ip="192.0.2.1",
                  event_unique_id=str(uuid.uuid4()), user_agent="curl/8.5.0")  # fmt: skip
    log.append([event])

    assert run("events", "reclassify", "--dry-run")[1]["changed"] == 1
    assert run("events", "list")[1][0]["agent_class"] == "human"
    assert run("events", "reclassify")[1]["changed"] == 1
    after = run("events", "list")[1][0]
    assert after["agent_class"] == "scanner"
    assert after["is_bot"] is True
    assert (after["seq"], after["event_unique_id"]) == (1, event.event_unique_id)
    assert run("events", "reclassify")[1] == {"checked": 1, "changed": 0, "changes": {}}
