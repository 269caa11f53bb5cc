"""Local metadata: short links, one row for a campaign's URL, nothing lost, no stranger's rows."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sendback.errors import Forged, Misconfigured, NotFound, Unavailable
from sendback.metadata import Metadata
from sendback.metadata.base import AnotherStore
from sendback.metadata.local import LocalStore
from sendback.model import LinkFacts, MessageFacts, Storage, TrackingData
from sendback.secret_constants import Keyring, Purpose

RING = Keyring.from_constants(bytes(range(32)), bytes(range(32, 64)))
NOW = 1_795_514_400
DAY = 86400
MESSAGE = MessageFacts(email="anna@example.org", listid="l", sendid="s", tagged_at=NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metadata.sqlite"


def node(path: Path, *, readonly: bool = False, log: list[str] | None = None, now: int = NOW):
    store = LocalStore(path, readonly=readonly, clock=lambda: now)
    lines = log if log is not None else []
    OPEN.append(Metadata(RING, local=store, clock=lambda: now, log=lines.append))
    return OPEN[-1]


OPEN: list[Metadata] = []


@pytest.fixture(autouse=True)
def close_all():
    yield
    while OPEN:
        OPEN.pop().close()


def token(metadata: Metadata, url: str = "https://example.com/a?x=1", **message) -> bytes:
    facts = MessageFacts(**{"email": "anna@example.org", "tagged_at": NOW, "sendid": "s"} | message)
    issued = metadata.issue(Storage.LOCAL, facts, [LinkFacts(url=url, pos=1)])
    assert issued.storage is Storage.LOCAL
    return issued.link_tokens[0][1].encode()


def rows(path: Path, sql: str):
    with sqlite3.connect(path) as connection:
        found = connection.execute(sql).fetchall()
    connection.close()
    return found


def test_one_row_a_url_whatever_follows_the_question_mark(path):  # S4.5
    sender = node(path)
    for number in range(50):
        token(sender, f"https://example.com/shop?recipient={number}", email=f"{number}@e.org")
    for number in range(3):
        token(sender, f"https://example.com/{number}/shop")
    token(sender, "https://example.com/shop?x", sendid="another")

    assert rows(path, "select count(*) from links where url = 'https://example.com/shop'") == [(2,)]
    assert rows(path, "select count(*) from links") == [(5,)]
    assert rows(path, "select count(*) from messages") == [(54,)]
    assert rows(path, "select count(*) from placements") == [(5,)]


def test_statistics_copy_each_link_once_and_in_order(path):
    sender = node(path)
    for url in ("https://a.example/1?q", "https://a.example/2", "https://a.example/1?r"):
        token(sender, url)
    reader = node(path, readonly=True).local

    found = reader.links_after(0)
    assert [(row.sendid, row.url) for row in found] == [
        ("s", "https://a.example/1"), ("s", "https://a.example/2"),
    ]  # fmt: skip
    assert reader.links_after(found[-1].id) == []


def test_links_are_short(path):  # S4.9; issue 4: <= 48 characters beyond the domain
    sender = node(path)
    with sqlite3.connect(path) as connection:  # a node that has sent a hundred million messages
        connection.execute("insert into sqlite_sequence values ('messages', 100000000)")
        connection.execute("insert into sqlite_sequence values ('placements', 1000000)")
    connection.close()

    made = token(sender, "https://example.com/a/very/long/path/that/stands/in/the/row")
    assert len("https://") + len("/click?") + len(made) <= 48
    query = "?utm_source=newsletter&id=12345"
    with_query = token(sender, f"https://example.com/a{query}")
    assert len("https://") + len("/click?") + len(with_query) <= 48 + -(-len(query) * 4 // 3)


def test_another_node_with_equal_constants_and_equal_row_numbers(tmp_path):  # S0.4
    log: list[str] = []
    here, there = node(tmp_path / "here.sqlite"), node(tmp_path / "there.sqlite", log=log)
    ours, theirs = token(here), token(there, "https://example.org/their/own")

    assert here.link(Purpose.CLICK, ours).url == "https://example.com/a?x=1"
    for use in (there.link, there.resolve, there.verify):
        with pytest.raises(Forged):
            use(Purpose.CLICK, ours)
    with pytest.raises(Forged):
        there.resolve_bounce(here.issue(Storage.LOCAL, MESSAGE, []).bounce_token)
    assert "another node" in log[0]
    assert len(log) == 1  # once a second, however many come
    assert there.link(Purpose.CLICK, theirs).url == "https://example.org/their/own"


def test_the_whole_store_id_is_bound_not_only_what_the_token_shows(tmp_path):
    here, there = node(tmp_path / "here.sqlite"), node(tmp_path / "there.sqlite")
    ours = token(here)
    token(there)
    with sqlite3.connect(tmp_path / "there.sqlite") as connection:
        shown = here.local.store_id[:2]
        connection.execute("update store set id = ?", (shown + bytes(14),))
    connection.close()

    with pytest.raises(Forged, match="bad MAC"):
        node(tmp_path / "there.sqlite", readonly=True).link(Purpose.CLICK, ours)


def test_a_recreated_file_is_another_store(path):
    sender, web = node(path), node(path, readonly=True)
    old = token(sender)
    assert web.link(Purpose.CLICK, old).url
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)

    new = token(sender, "https://example.com/new")  # the sender notices that its file is gone
    assert web.link(Purpose.CLICK, new).url == "https://example.com/new"
    with pytest.raises(AnotherStore):
        web.link(Purpose.CLICK, old)


def test_no_file_yet(path):
    web, sender = node(path, readonly=True), node(path.with_name("other.sqlite"))
    made = token(sender)
    for _ in range(2):
        with pytest.raises(NotFound):
            web.link(Purpose.CLICK, made)
        with pytest.raises(NotFound):
            web.resolve_bounce(sender.issue(Storage.LOCAL, MESSAGE, []).bounce_token)
    assert not path.exists()  # reading makes nothing
    here = token(node(path))
    assert web.link(Purpose.CLICK, here).url
    with pytest.raises(NotFound):
        Metadata(RING).link(Purpose.CLICK, here)


def test_a_reader_never_writes(path):
    token(node(path))
    web = node(path, readonly=True)

    assert web.issue(Storage.LOCAL, MESSAGE, []).storage is Storage.STATELESS
    assert rows(path, "select count(*) from messages") == [(1,)]


def test_reading_a_file_that_nobody_has_open(path):
    """The writer's end takes -wal and -shm with it; reading still works."""
    sender = node(path)
    made = token(sender)
    sender.close()
    assert not path.with_name("metadata.sqlite-wal").exists()

    assert node(path, readonly=True).link(Purpose.CLICK, made).url


def test_the_file_is_private(path):
    token(node(path))

    assert path.stat().st_mode & 0o077 == 0


def test_a_file_of_a_newer_version(path):
    token(node(path))
    with sqlite3.connect(path) as connection:
        connection.execute("update store set version = 2")
    connection.close()

    with pytest.raises(Misconfigured, match="newer version"):
        LocalStore(path)


def test_a_file_that_is_none(path):
    path.write_bytes(b"this is no database, and long enough to be looked at" * 20)

    with pytest.raises(Unavailable, match="can't be opened"):
        LocalStore(path)


def test_threads_share_commits(path):
    sender = node(path)
    made: dict[int, bytes] = {}

    def work(number: int) -> None:
        for turn in range(20):
            made[number * 100 + turn] = token(sender, f"https://e.org/?{number}-{turn}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    web = node(path, readonly=True)
    for key, text in made.items():
        assert web.link(Purpose.CLICK, text).url == f"https://e.org/?{key // 100}-{key % 100}"
    assert len(made) == 320


SENDER = """
import sys, threading
from sendback.metadata import Metadata
from sendback.metadata.local import LocalStore
from sendback.model import LinkFacts, MessageFacts, Storage
from sendback.secret_constants import Keyring
ring = Keyring.from_constants(bytes(range(32)), bytes(range(32, 64)))
sender = Metadata(ring, local=LocalStore(sys.argv[1]))
mutex = threading.Lock()
def work(number):
    turn = 0
    while True:
        turn += 1
        url = f"https://e.org/{number}/{turn}?q"
        issued = sender.issue(Storage.LOCAL, MessageFacts(email="a@b.c"), [LinkFacts(url=url)])
        with mutex:
            print(issued.link_tokens[0][1], url, flush=True)
for number in range(6):
    threading.Thread(target=work, args=(number,)).start()
"""


def test_killed_at_any_moment_no_token_given_out_is_lost(path):
    given = []
    for _ in range(3):
        sender = subprocess.Popen(
            [sys.executable, "-c", SENDER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert sender.stdout is not None
        lines = [sender.stdout.readline() for _ in range(120)]
        os.kill(sender.pid, signal.SIGKILL)
        lines += sender.stdout.readlines()
        sender.stdout.close()
        sender.wait()
        given += [line.split() for line in lines if line.endswith("\n")]

    web = node(path, readonly=True)
    assert len(given) >= 360
    for text, url in given:
        assert web.link(Purpose.CLICK, text.encode()).url == url
    assert rows(path, "pragma integrity_check") == [("ok",)]


def test_another_process_prunes_while_this_one_remembers(path):
    """Row numbers remembered by the sender are forgotten when somebody else has written."""
    sender = node(path)
    old = token(sender)
    other = LocalStore(path, clock=lambda: NOW + 100 * DAY)
    assert other.prune(NOW + 2 * DAY, dry_run=True) == 2
    assert rows(path, "select count(*) from messages") == [(1,)]
    assert other.prune(NOW + 2 * DAY) == 2
    other.close()

    new = token(sender)
    web = node(path, readonly=True)
    assert web.link(Purpose.CLICK, new).url == "https://example.com/a?x=1"
    with pytest.raises(NotFound, match="pruned"):
        web.link(Purpose.CLICK, old)
    with pytest.raises(NotFound):
        web.resolve(Purpose.CLICK, old)


def test_row_numbers_are_never_used_again(path):
    sender = node(path)
    old = token(sender, email="anna@example.org")
    sender.local.prune(NOW + 1000 * DAY)
    new = token(sender, email="bernd@example.org")

    assert sender.resolve(Purpose.CLICK, new).message.email == "bernd@example.org"
    with pytest.raises(NotFound):
        sender.resolve(Purpose.CLICK, old)


def test_a_link_in_use_is_kept_when_its_first_message_is_pruned(path):
    token(node(path, now=NOW - 100 * DAY), tagged_at=NOW - 100 * DAY)
    fresh = token(node(path))
    sender = node(path)

    assert sender.local.prune(NOW - 90 * DAY) == 1
    assert sender.resolve(Purpose.CLICK, fresh).link == LinkFacts(
        url="https://example.com/a?x=1", pos=1
    )


def test_a_bounce_of_a_pruned_message_is_genuine_and_nobody_s(path):
    sender = node(path)
    bounce = sender.issue(Storage.LOCAL, MESSAGE, []).bounce_token
    sender.local.prune(NOW + DAY)

    ref = sender.resolve_bounce(bounce)
    assert ref.message is None
    assert not sender.matches(ref, MESSAGE.email)


def test_a_full_disk_sends_stateless(path):
    """The message goes out, and a line says why; with room again it is local again."""
    log: list[str] = []
    sender = node(path, log=log)
    token(sender)
    writer = sender.local._writer
    writer._connection.execute("pragma max_page_count = 1")  # SQLite's own "disk is full"
    pages = 0
    while True:
        issued = sender.issue(
            Storage.LOCAL,
            MessageFacts(email="x" * 3000, tagged_at=NOW),
            [LinkFacts(url="https://e.org/")],
        )
        pages += 1
        if issued.storage is Storage.STATELESS:
            break
        assert pages < 100
    assert "ERROR LOCAL METADATA" in log[0]
    assert "full" in log[0]
    link = sender.link(Purpose.CLICK, issued.link_tokens[0][1].encode())
    assert link.url == "https://e.org/"
    assert token(sender)  # opened anew, without the limit


def test_somebody_holds_the_write_lock_for_long(path):
    log: list[str] = []
    store = LocalStore(path, busy_timeout=0.05)
    sender = Metadata(RING, local=store, log=log.append)
    OPEN.append(sender)
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("begin immediate")
    issued = sender.issue(Storage.LOCAL, MESSAGE, [LinkFacts(url="https://e.org/")])
    locker.execute("rollback")
    locker.close()

    assert issued.storage is Storage.STATELESS
    assert "locked" in log[0]
    assert sender.issue(Storage.LOCAL, MESSAGE, []).storage is Storage.LOCAL
    token_of_it = issued.link_tokens[0][1].encode()
    assert sender.resolve(Purpose.CLICK, token_of_it) == TrackingData(
        MESSAGE, LinkFacts(url="https://e.org/")
    )


def test_threads_that_end_leave_no_open_files(path):
    """Web servers replace idle threads: each brings its own connection, and takes it along."""
    made = token(node(path))
    web = node(path, readonly=True)

    def read() -> None:
        web.resolve(Purpose.CLICK, made)

    for _ in range(8):
        threads = [threading.Thread(target=read) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    held = [entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    assert held.count(path) <= 25  # of 160 threads, 20 at a time; SQLite keeps some for reuse


def test_counts(path):
    sender = node(path)
    token(sender)

    assert sender.local.counts() == {
        "messages": 1, "links": 1, "placements": 1, "oldest_day": NOW // DAY,
    }  # fmt: skip
