"""The ordered log: exactly once, in order, read by others while it is written."""

import re
import subprocess
import sys
import uuid

import msgspec
import pytest

from sendback.errors import Misconfigured, NotFound, Unavailable
from sendback.eventlog import Attempt, EventLog, Parked, retention
from sendback.model import Click, Complaint, uuid7
from sendback.model.mention import Mention


def click(n: int, *, email: str = "joe@example.net", time_ms: int | None = None) -> Click:
    at = 1_700_000_000_000 + n if time_ms is None else time_ms
    return Click(
        event_time=at // 1000,
        event_time_ms=at,
        event_unique_id=str(uuid.UUID(bytes=uuid7(at, n.to_bytes(10, "big")))),
        email=email,
        click_url=f"https://example.com/{n}",
    )


@pytest.fixture
def now():
    return [1_700_000_000.0]


@pytest.fixture
def log(tmp_path, now):
    made = EventLog(tmp_path / "events.sqlite", clock=lambda: now[0])
    yield made
    made.close()


def test_events_get_their_seq_and_come_back_as_delivered(log) -> None:
    assert log.append([click(1), click(2)]) == 2

    found = log.read(0, 10)

    assert [event.seq for event in found] == [1, 2]
    assert msgspec.json.decode(found[1].body)["seq"] == 2
    assert msgspec.json.decode(found[1].body, type=Click).click_url == "https://example.com/2"
    assert found[0].event_id == click(1).event_unique_id
    assert log.last_seq() == 2


def test_an_id_is_logged_once(log) -> None:
    log.append([click(1), click(1), click(2)])

    assert log.append([click(2)]) == 0
    assert len(log.read(0, 10)) == 2
    assert log.counters()["duplicate_ids"] == 2


def test_a_transaction_is_all_or_nothing(log) -> None:
    with pytest.raises(ZeroDivisionError), log.transaction() as transaction:
        transaction.append([click(1)])
        transaction.set_journal_positions({b"s" * 16: 99})
        raise ZeroDivisionError

    assert log.read(0, 10) == []
    assert log.journal_positions() == {}
    log.append([click(2)])
    assert [event.seq for event in log.read(0, 10)] == [1]


def test_seq_goes_on_after_a_restart_and_after_pruning_everything(tmp_path, now) -> None:
    for turn in range(3):
        log = EventLog(tmp_path / "events.sqlite", clock=lambda: now[0])
        log.append([click(turn)])
        now[0] += 10
        log.retention.prune(keep_ms=1000, max_bytes=1 << 40, consumers=[])
        log.close()

    log = EventLog(tmp_path / "events.sqlite", clock=lambda: now[0])
    log.append([click(9)])
    assert [event.seq for event in log.read(0, 9)] == [4]
    log.skip_to(100)
    log.append([click(10)])
    assert log.last_seq() == 101
    log.close()


def test_filters(log) -> None:
    log.append(
        [click(n, email="Joe@Example.net" if n % 2 else "joe@example.ne") for n in range(10)]
    )
    log.append([Complaint(event_time=1, event_time_ms=1, event_unique_id=str(uuid.uuid4()))])

    assert len(log.read(0, 99, types=["scomp"])) == 1
    assert len(log.read(0, 99, email="joe@example.net")) == 5
    assert len(log.read(0, 3, email="JOE@EXAMPLE.NE")) == 3
    assert len(log.read(0, 99, since_ms=1_700_000_000_005)) == 5
    assert len(log.read(log.seq_at(1_700_000_000_005), 99)) == 6
    assert [e.seq for e in log.get([2, 4, 77])] == [2, 4]


def test_a_point_in_time_is_found_by_halving(log, now) -> None:
    """Also when clocks went back for a while, and when old visits were finished late."""
    for hour in range(30):
        now[0] = 1_700_000_000.0 + 3600 * hour - (1800 if hour % 7 == 3 else 0)
        at = int(now[0] * 1000)
        log.append([click(hour * 10 + n, time_ms=at - n * 60_000) for n in range(10)])
    events = log.read(0, 1000)
    for time_ms in range(1_700_000_000_000 - 10**6, 1_700_000_000_000 + 32 * 3_600_000, 1_234_567):
        expected = [e.seq for e in events if e.time_ms >= time_ms]
        assert [e.seq for e in log.read(0, 1000, since_ms=time_ms)] == expected
        assert log.seq_at(time_ms) == (expected[0] - 1 if expected else 300)


def test_read_only_readers(tmp_path, log) -> None:
    with pytest.raises(NotFound):
        EventLog(tmp_path / "none.sqlite", readonly=True)
    reader = EventLog(tmp_path / "events.sqlite", readonly=True)
    log.append([click(1)])
    assert len(reader.read(0, 9)) == 1
    with pytest.raises(Unavailable):
        reader.append([click(2)])
    reader.close()
    log.close()
    stopped = EventLog(tmp_path / "events.sqlite", readonly=True)
    assert len(stopped.read(0, 9)) == 1
    stopped.close()


def test_another_process_reads_while_we_write(tmp_path, log) -> None:
    code = (
        "import sys; from pathlib import Path; from sendback.eventlog import EventLog;"
        "log = EventLog(Path(sys.argv[1]), readonly=True); print(len(log.read(0, 99)))"
    )
    with log.transaction() as transaction:
        transaction.append([click(1)])
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "events.sqlite")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert done.stdout == "0\n"


def test_a_newer_file_is_refused(tmp_path, log) -> None:
    with log._write() as db:
        db.execute("pragma user_version = 99")
    with pytest.raises(Misconfigured, match="newer"):
        EventLog(tmp_path / "events.sqlite")


def test_dedupe_keys_expire_and_know_their_owner(log, now) -> None:
    def is_new(owner: bytes) -> bool:
        with log.transaction() as transaction:
            return transaction.is_new(b"key", int(now[0] * 1000) + 5000, owner)

    assert is_new(b"a")
    assert is_new(b"a")
    assert not is_new(b"b")
    now[0] += 6
    log.retention.tidy()
    assert is_new(b"b")


def test_pending_records_come_when_due(log, now) -> None:
    with log.transaction() as transaction:
        transaction.pend(b"later", first_ms=0, next_ms=int(now[0] * 1000) + 5000, tries=1,
                         faults=0, reason="down")  # fmt: skip
    assert log.due_pending(9) == []
    assert log.counters()["pending"] == 1
    now[0] += 6
    due = log.due_pending(9)
    assert [item.payload for item in due] == [b"later"]
    with log.transaction() as transaction:
        transaction.drop_pending([due[0].id])
    assert log.due_pending(9) == []


# -- consumers -------------------------------------------------------------------------------


def test_an_operators_replay_is_not_undone_by_a_step_under_way(log) -> None:
    log.append([click(n) for n in range(10)])
    log.set_cursor("d", 4)
    log.set_cursor("d", 0)  # the operator, while a step from 4 to 9 is under way
    log.deliveries.note("d", moved=(4, 9), delivered=5)

    assert log.cursor("d") == 0


def test_state_parking_and_dead_letters(log, now) -> None:
    log.append([click(n) for n in range(5)])
    deliveries = log.deliveries
    attempt = Attempt("d", 1, 1, 2, 2, "failed", 500, 12, "oops")
    deliveries.note("d", moved=(0, 3), attempts=[attempt], failing=True, bury=[(1, 3, "bad")],
                    park=[Parked(2, 1, int(now[0] * 1000), 0, "hm")])  # fmt: skip
    # a first cursor is 0, so the move from 0 counts
    state = deliveries.state("d")

    assert (state.seq, state.first_attempts, state.failing_since_ms) == (3, 1, 1_700_000_000_000)
    assert [letter.seq for letter in deliveries.dead_letters("d")] == [1]
    assert [item.seq for item in deliveries.due("d", 9)] == [2]
    assert deliveries.attempts("d") == [attempt]
    letters = deliveries.dead_letters()
    assert deliveries.retry_dead_letters(letters) == 1
    assert deliveries.parked_count("d") == 2
    assert deliveries.dead_count() == 0
    deliveries.set_state("d", "paused", "why")
    assert deliveries.state("d").state == "paused"
    deliveries.forget("d")
    assert deliveries.states() == []


def test_replay_goes_back_and_never_forward(log) -> None:
    log.append([click(n) for n in range(10)])
    log.set_cursor("d", 8)

    assert log.replay("d", after=20) == (8, 8)
    assert log.replay("d", after=5) == (8, 5)
    assert log.replay("d", since_ms=1_700_000_000_003) == (5, 3)
    assert log.replay("d") == (3, 0)
    assert log.cursor("d") == 0


def test_a_dead_letter_whose_event_was_pruned_can_still_be_tried(log, now) -> None:
    """Found by reading: it was refused, and `--all` with it for every other letter."""
    log.append([click(n) for n in range(5)])
    before = log.get([2])
    log.deliveries.note("d", moved=(0, 5), bury=[(2, 1, "no"), (4, 1, "no")])
    log.retention.prune(keep_ms=10**12, max_bytes=0, consumers=["d"])
    assert log.read(0, 9) == []

    assert log.deliveries.retry_dead_letters(log.deliveries.dead_letters("d")) == 2
    assert log.get([2]) == before
    assert [item.seq for item in log.deliveries.due("d", 9)] == [2, 4]
    log.retention.prune(keep_ms=10**12, max_bytes=0, consumers=["d"])
    assert len(log.get([2, 4])) == 2
    log.deliveries.note("d", unpark=[2, 4])
    log.retention.prune(keep_ms=10**12, max_bytes=0, consumers=["d"])
    assert log.get([2, 4]) == []
    assert log.append([click(9)]) == 1
    assert log.last_seq() == 6


def test_the_oldest_that_waits_may_be_a_parked_one(log, now) -> None:
    """Found by reading: an event that waited for days was no backlog's oldest."""
    log.append([click(1)])
    recorded = int(now[0] * 1000)
    log.deliveries.note("d", moved=(0, 1), park=[Parked(1, 1, 0, 0, "hm")])
    now[0] += 100
    log.append([click(2)])

    assert log.deliveries.oldest_waiting_ms("d") == recorded
    log.deliveries.note("d", unpark=[1])
    assert log.deliveries.oldest_waiting_ms("d") == recorded + 100_000
    log.set_cursor("d", 2)
    assert log.deliveries.oldest_waiting_ms("d") is None


def test_failed_attempts_are_kept_for_days_whatever_else_was_tried(log, now, monkeypatch) -> None:
    """Found by reading: a busy destination's last 10,000 attempts were ten seconds of it."""
    monkeypatch.setattr(retention, "DELIVERED_KEPT", 30)
    monkeypatch.setattr(retention, "FAILED_KEPT", 5)

    def attempt(outcome: str, seq: int) -> Attempt:
        return Attempt("d", int(now[0] * 1000), seq, seq, 1, outcome, 200, 1, "")

    log.deliveries.note("d", attempts=[attempt("failed", n) for n in range(3)])
    log.deliveries.note("d", attempts=[attempt("delivered", n) for n in range(100)])
    log.deliveries.note("e", attempts=[attempt("refused", 1)._replace(consumer="e")])
    log.retention.tidy()

    kept = log.deliveries.attempts("d", 1000)
    assert [one.first_seq for one in kept if one.outcome == "delivered"] == [*range(99, 69, -1)]
    failed = log.deliveries.attempts("d", 1000, failed_only=True)
    assert [one.first_seq for one in failed] == [2, 1, 0]
    assert len(log.deliveries.attempts("e")) == 1
    log.deliveries.note("d", attempts=[attempt("throttled", n) for n in range(9)])
    log.retention.tidy()
    assert len(log.deliveries.attempts("d", 1000, failed_only=True)) == 5
    now[0] += 8 * 86_400
    log.retention.tidy()
    assert log.deliveries.attempts("d") == []


# -- retention -------------------------------------------------------------------------------


def test_age_takes_events_and_says_who_missed_them(log, now) -> None:
    log.append([click(n) for n in range(10)])
    log.set_cursor("quick", 10)
    log.set_cursor("slow", 4)
    now[0] += 100
    log.append([click(99)])

    assert log.retention.prune(keep_ms=50_000, max_bytes=1 << 40, consumers=["quick", "slow"]) == 10
    assert log.deliveries.state("slow").expired == 6
    assert log.cursor("slow") == 10
    assert log.deliveries.state("quick").expired == 0


def test_size_takes_only_what_everybody_had(log) -> None:
    log.append([click(n) for n in range(2000)])
    log.set_cursor("a", 2000)
    log.set_cursor("b", 500)

    log.retention.prune(keep_ms=10**12, max_bytes=1000, consumers=["a", "b"])
    assert log.first_seq() == 501
    log.retention.prune(keep_ms=10**12, max_bytes=1000, consumers=["a"])
    assert log.first_seq() == 2001
    assert log.retention.size() < 300_000


def test_the_file_gets_smaller_again(tmp_path, log) -> None:
    log.append([click(n, email="x" * 400) for n in range(5000)])
    with log._write() as db:
        before = db.execute("pragma page_count").fetchone()[0]
    log.retention.prune(keep_ms=10**12, max_bytes=0, consumers=[])
    log.close()

    assert (tmp_path / "events.sqlite").stat().st_size < before * 4096 / 5


def test_parked_events_outlive_pruning(log, now) -> None:
    log.append([click(n) for n in range(5)])
    log.deliveries.note("d", moved=(0, 5), park=[Parked(3, 1, 0, 0, "hm")])
    log.retention.prune(keep_ms=10**12, max_bytes=0, consumers=["d"])

    assert [e.seq for e in log.read(0, 9)] == [3]
    # a destination that was removed holds nothing back
    log.retention.prune(keep_ms=-1, max_bytes=0, consumers=["other"])
    log.append([click(9)])
    log.retention.prune(keep_ms=-1, max_bytes=0, consumers=["other"])
    assert log.read(0, 9) == []


def test_an_erased_address_is_in_no_page_of_the_file(tmp_path, log) -> None:
    log.append([click(n, email=f"user{n}@example.net") for n in range(50)])
    other = click(50, email="else@example.net")
    log.append([msgspec.structs.replace(other, click_url="https://x/?to=USER6%40example.net")])
    log.deliveries.note("d", moved=(0, 5), bury=[(7, 1, "user6@example.net is unknown")])
    log.deliveries.note("d", moved=(5, 9), park=[Parked(7, 1, 0, 0, "no user6@example.net")])
    with log.transaction() as transaction:
        mail = b"To: user6@example.net\n\n"
        for reason in ("down", "no row"):
            transaction.pend(mail, first_ms=1, next_ms=2, tries=1, faults=0, reason=reason)
        transaction.bury(mail, tries=1, reason="x")
        transaction.drop_pending([1])
    user6 = Mention("User6@example.net")
    assert {name: len(rows) for name, rows in log.erasure.show(user6).items()} == {
        "events": 1, "dead_letters": 2, "attempts": 0, "pending": 1,
    }  # fmt: skip

    assert log.erasure.erase(user6) == {
        "events": 1, "dead_letters": 2, "attempts": 0, "pending": 1, "redacted": 1,
    }  # fmt: skip
    assert not any(log.erasure.erase(user6).values())
    assert log.read(0, 99, email="user6@example.net") == []
    assert b"https://x/?to=erased@invalid" in log.read(50, 1)[0].body
    assert len(log.read(0, 99)) == 50
    log.close()

    for path in tmp_path.glob("events.sqlite*"):
        assert not re.search(rb"user6(@|%40)example.net", path.read_bytes(), re.IGNORECASE)


def test_a_killed_writer_loses_no_committed_event(tmp_path) -> None:
    code = """
import sys, uuid
from pathlib import Path
from sendback.eventlog import EventLog
from sendback.model import Click
log = EventLog(Path(sys.argv[1]))
for n in range(100000):
    log.append([Click(event_time=0, event_time_ms=n, event_unique_id=str(uuid.UUID(int=n)))])
    print(n, flush=True)
"""
    path = tmp_path / "events.sqlite"
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    last = [int(child.stdout.readline()) for _ in range(60)][-1]
    child.kill()
    child.wait()
    child.stdout.close()

    log = EventLog(path)
    assert [e.seq for e in log.read(0, 10**6)][: last + 1] == list(range(1, last + 2))
    log.close()
