"""The ways out: routes, outbox, kept recipients, notices."""

import asyncio
import os
import shutil
import threading
import time
from email import message_from_bytes
from email.policy import default

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sendback.errors import Unavailable
from sendback.model import SmtpRoute
from sendback.relay import (
    Answer,
    Deferred,
    Kept,
    Outbox,
    Outgoing,
    build_relay,
    failure_report,
    outbox,
)
from sendback.relay.upstream import HourlyLimit, Upstream


class Recorder:
    """A way out that answers as told."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.sent: list[Outgoing] = []

    async def send(self, outgoing: Outgoing) -> Answer:
        self.sent.append(outgoing)
        return self.answers.pop(0) if self.answers else Answer(250, "2.0.0 ok")

    async def close(self) -> None: ...


def kept(**fields) -> Kept:
    values = {
        "mail_from": "bounce+t@mx.test",
        "rcpt": "ada@x.test",
        "message": b"Subject: x\r\n\r\nbody",
        "utf8": False,
        "client_mail_from": "news@y.test",
        "kept_at": 1000.0,
    }
    return Kept(**{**values, **fields})


# -- answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (Answer(250, "2.0.0 Ok"), b"250 2.0.0 Ok\r\n"),
        (Answer(550, "5.1.1 a\n5.1.1 a"), b"550-5.1.1 a\r\n550 5.1.1 a\r\n"),
        (Answer(451, ""), b"451 \r\n"),
        (Answer(550, "a\rb\0c\x7f"), b"550 a b c \r\n"),
        (Answer(550, "\udcff"), b"550 ?\r\n"),
    ],
)
def test_an_answer_is_handed_on_unchanged(answer, reply):
    assert answer.as_reply() == reply


@settings(max_examples=200)
@given(st.text(max_size=80))
def test_an_answer_never_breaks_out_of_its_reply(text):
    lines = Answer(550, text).as_reply().split(b"\r\n")
    assert lines.pop() == b""
    assert all(line.startswith(b"550-") for line in lines[:-1])
    assert lines[-1].startswith(b"550 ")
    assert not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)


# -- routes -----------------------------------------------------------------------------------


def test_routes_by_domain(tmp_path):  # S0.8
    relay = build_relay(
        [
            SmtpRoute(domain="Bounce.Example.com", host="127.0.0.1", port=1),
            SmtpRoute(domain="*", host="127.0.0.1", port=2),
        ],
        hostname="mx.test",
        outbox=Outbox(tmp_path),
    )
    assert set(relay._by_domain) == {"bounce.example.com"}
    assert relay._by_domain["bounce.example.com"]._route.port == 1
    assert relay._fallback._route.port == 2


def test_the_hourly_limit_counts_by_the_hour():
    now = [3600.0]
    limit = HourlyLimit(2, lambda: now[0])
    assert [limit.take() for _ in range(4)] == [True, True, False, False]
    now[0] = 7200.0
    assert limit.take()


# -- outbox -----------------------------------------------------------------------------------


def test_outbox_files(tmp_path):
    outbox = Outbox(tmp_path / "a" / "outbox")

    async def main():
        first = await outbox.send(Outgoing("", "ä@x.test", b"Subject: x\n\nbody\n"))
        second = await outbox.send(Outgoing("s@y.test", "b@x.test", b"A: b\r\n\r\nbody"))
        return first, second

    answers = asyncio.run(main())
    assert all(answer.is_accepted for answer in answers)
    files = sorted((tmp_path / "a/outbox/new").iterdir())
    assert files[0].read_bytes() == (
        "Return-Path: <>\nDelivered-To: ä@x.test\nSubject: x\n\nbody\n".encode()
    )
    assert files[1].read_bytes() == (
        b"Return-Path: <s@y.test>\r\nDelivered-To: b@x.test\r\nA: b\r\n\r\nbody"
    )
    assert files[0].name in answers[0].text
    assert files[0].stat().st_mode & 0o777 == 0o600


def test_writers_share_a_sync(tmp_path, monkeypatch):
    """Whoever waits for a sync is covered by the next one, and by none that began before."""
    synced, gate, begun = [], threading.Event(), threading.Event()

    def slow(path):
        synced.append(path)
        begun.set()
        assert gate.wait(20)

    monkeypatch.setattr(outbox, "sync_directory", slow)
    sync = outbox.SharedSync(tmp_path)
    threads = [threading.Thread(target=sync) for _ in range(10)]
    threads[0].start()
    assert begun.wait(20)
    for thread in threads[1:]:
        thread.start()
    deadline = time.monotonic() + 20
    while repr(sync._order) != "count(11)":  # all have asked, the first has begun
        assert time.monotonic() < deadline
        time.sleep(0.001)
    gate.set()
    for thread in threads:
        thread.join(20)
    assert len(synced) == 2


def test_the_outbox_comes_back_when_it_was_tidied_up(tmp_path):
    box = Outbox(tmp_path / "outbox")
    box.write(Outgoing("", "b@x.test", b"x"))
    shutil.rmtree(tmp_path / "outbox")
    box.write(Outgoing("", "b@x.test", b"x"))
    assert len(list((tmp_path / "outbox" / "new").iterdir())) == 1


def test_an_outbox_that_cannot_be_written(tmp_path):
    (tmp_path / "outbox").write_text("a file")
    answer = asyncio.run(Outbox(tmp_path / "outbox").send(Outgoing("", "b@x.test", b"x")))
    assert answer.code == 452


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    written = os.write

    def full(fd, data):
        if len(data) > 50:
            return written(fd, data[:50])
        raise OSError(28, "No space left on device")

    outbox = Outbox(tmp_path)
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Unavailable):
        outbox.write(Outgoing("", "b@x.test", b"x" * 200))
    monkeypatch.undo()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# -- deferred ---------------------------------------------------------------------------------


class Waiting:
    """A `Deferred` with a clock of its own, as after a start."""

    def __init__(self, tmp_path, *answers: Answer) -> None:
        self.now = 1_000_000.0
        self.relay = Recorder(*answers)
        self.refused: list[tuple[Kept, str]] = []
        self.notice: Kept | None = None
        self.directory = tmp_path / "deferred"
        self.deferred = Deferred(
            self.directory, self.relay, on_refused=self.on_refused, clock=lambda: self.now
        )

    async def on_refused(self, item: Kept, key: str) -> Kept | None:
        self.refused.append((item, key))
        return self.notice

    def put(self, **fields) -> Kept:
        item = kept(kept_at=self.now, **fields)
        asyncio.run(self.deferred.put([item]))
        for path in self.directory.glob("*.msg"):
            if not item.is_notice:
                os.utime(path, (self.now, self.now))
        return item

    def step(self) -> bool:
        return asyncio.run(self.deferred.step())

    def files(self) -> list[str]:
        return [path.suffix for path in self.directory.iterdir()]


def test_a_kept_recipient_waits_and_is_sent(tmp_path):
    waiting = Waiting(tmp_path, Answer(451, "4.0.0 later"))
    item = waiting.put()
    assert not waiting.step()
    waiting.now += 301
    assert waiting.step()
    assert waiting.deferred.backlog() == 1
    assert not waiting.step()
    waiting.now += 301
    assert waiting.step()
    assert waiting.deferred.backlog() == 0
    assert waiting.files() == []
    assert waiting.relay.sent == [item.outgoing] * 2
    assert waiting.refused == []


def test_it_survives_a_restart(tmp_path):
    item = Waiting(tmp_path).put()
    again = Waiting(tmp_path)
    assert not again.step()
    again.now += 301
    assert again.step()
    assert again.relay.sent == [item.outgoing]


def test_the_directory_is_read_once(tmp_path, monkeypatch):
    waiting = Waiting(tmp_path, *[Answer(451, "4.0.0 later")] * 100)
    for _ in range(50):
        waiting.put()
    monkeypatch.setattr(os, "scandir", None)
    waiting.now += 301
    steps = 0
    while waiting.step():
        steps += 1
    assert steps == 3  # 20 side by side
    assert len(waiting.relay.sent) == 50


def test_attempts_go_side_by_side(tmp_path):
    waiting = Waiting(tmp_path)
    for _ in range(10):
        waiting.put()
    together: list[int] = []
    running = 0

    async def send(outgoing):
        nonlocal running
        running += 1
        await asyncio.sleep(0.01)
        together.append(running)
        running -= 1
        return Answer(250, "2.0.0 ok")

    waiting.relay.send = send
    waiting.now += 301
    assert waiting.step()
    assert max(together) == 10


def test_waiting_grows_and_ends_after_five_days(tmp_path):
    waiting = Waiting(tmp_path, *[Answer(451, "4.0.0 later")] * 1000)
    waiting.put()
    attempts = []
    start = waiting.now

    async def main():
        while waiting.deferred.backlog():
            waiting.now += 60
            if await waiting.deferred.step():
                attempts.append(waiting.now - start)

    asyncio.run(main())
    assert 20 < len(attempts) < 60
    assert 5 * 86400 <= attempts[-1] < 5 * 86400 + 4 * 3600 + 120
    assert attempts[0] <= 360
    assert [item.refused.code for item, _ in waiting.refused] == [451]


def test_a_refusal_ends_it(tmp_path):
    waiting = Waiting(tmp_path, Answer(550, "5.1.1 no"))
    item = waiting.put()
    waiting.now += 301
    assert waiting.step()
    ((refused, _),) = waiting.refused
    assert refused == msgspec.structs.replace(
        item, refused=Answer(550, "5.1.1 no"), refused_at=waiting.now
    )
    assert waiting.deferred.backlog() == 0
    assert waiting.files() == []


def test_a_refusal_becomes_its_notice(tmp_path):
    waiting = Waiting(tmp_path, Answer(550, "5.1.1 no"))
    waiting.put()
    waiting.notice = kept(rcpt="news@y.test", is_notice=True, kept_at=waiting.now)
    waiting.now += 301
    assert waiting.step()
    assert waiting.files() == [".msg"]
    assert waiting.step()
    assert [one.rcpt for one in waiting.relay.sent] == ["ada@x.test", "news@y.test"]
    assert waiting.files() == []


def test_a_notice_that_is_put_off_waits_like_others(tmp_path):
    waiting = Waiting(tmp_path, Answer(451, "4.7.1 greylisted"))
    waiting.put(is_notice=True)
    assert waiting.step()
    assert not waiting.step()
    waiting.now += 301
    assert waiting.step()
    assert waiting.files() == []


@pytest.mark.parametrize("at", ["journal", "rename", "remove"])
def test_a_crash_repeats_nothing(tmp_path, monkeypatch, at):
    """Between refusal, report and removal: the recipient is not tried, the report the same."""
    crashing = Waiting(tmp_path, Answer(550, "5.1.1 no"))
    crashing.put()
    crashing.now += 301
    if at == "rename":
        crashing.notice = kept(rcpt="news@y.test", is_notice=True)

    async def crash_after(item, key):
        await Waiting.on_refused(crashing, item, key)
        raise KeyboardInterrupt

    if at == "journal":
        crashing.deferred._on_refused = crash_after
    else:
        files = []

        def crash_instead(*arguments):
            files.append(arguments)
            if at == "remove" or len(files) > 1:  # the first writes the refusal down
                raise KeyboardInterrupt
            write(*arguments)

        write = crashing.deferred._put_file
        name = "_put_file" if at == "rename" else "_remove"
        monkeypatch.setattr(crashing.deferred, name, crash_instead)
    with pytest.raises(KeyboardInterrupt):
        crashing.step()

    again = Waiting(tmp_path, Answer(250, "2.0.0 would be sent"))
    again.notice = crashing.notice
    again.now += 1000
    assert again.step()
    assert again.relay.sent == []
    assert again.refused == crashing.refused


def test_a_failure_that_cannot_be_recorded_is_not_forgotten(tmp_path):
    waiting = Waiting(tmp_path, Answer(550, "5.1.1 no"))
    waiting.put()
    waiting.now += 301

    async def full(item, key):
        raise Unavailable("disk full")

    waiting.deferred._on_refused, on_refused = full, waiting.on_refused
    assert waiting.step()
    assert waiting.deferred.backlog() == 1
    waiting.deferred._on_refused = on_refused
    waiting.now += 301
    assert waiting.step()
    assert len(waiting.relay.sent) == 1
    assert len(waiting.refused) == 1


def test_one_fault_does_not_stop_the_others(tmp_path):
    waiting = Waiting(tmp_path)
    waiting.put(rcpt="boom@x.test")
    waiting.put()

    async def send(outgoing):
        if outgoing.rcpt.startswith("boom"):
            raise RuntimeError("a bug")
        return Answer(250, "2.0.0 ok")

    waiting.relay.send = send
    waiting.now += 301
    assert waiting.step()
    assert waiting.deferred.backlog() == 1


def test_a_notice_goes_at_once(tmp_path):
    waiting = Waiting(tmp_path)
    waiting.put(is_notice=True)
    assert waiting.step()
    assert waiting.deferred.backlog() == 0


def test_an_unreadable_file_is_put_aside(tmp_path):
    waiting = Waiting(tmp_path)
    waiting.put()
    (path,) = waiting.directory.iterdir()
    path.write_bytes(path.read_bytes()[:20])
    waiting.now += 301
    assert waiting.step()
    assert not waiting.step()
    assert waiting.files() == [".bad"]


def test_foreign_and_half_written_files(tmp_path):
    waiting = Waiting(tmp_path)
    waiting.directory.mkdir()
    for name in ("notes.txt", "x.msg", "00000001000000000000-7.tmp"):
        (waiting.directory / name).write_text("?")
    assert not waiting.step()
    assert sorted(waiting.files()) == [".msg", ".txt"]
    waiting.put(is_notice=True)
    (waiting.directory / "00000001000000000000-9.msg").touch()  # gone again before it is due
    assert waiting.step()


def test_all_or_nothing(tmp_path, monkeypatch):
    waiting = Waiting(tmp_path)
    synced = []

    def fsync(fd):
        synced.append(fd)
        if len(synced) > 3:
            raise OSError(5, "I/O error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(Unavailable):
        asyncio.run(waiting.deferred.put([kept(), kept(), kept()]))
    assert waiting.deferred.backlog() == 0
    assert waiting.files() == []


# -- notices ----------------------------------------------------------------------------------


def report(**fields) -> bytes:
    values = {
        "reporting_mta": "mx.test",
        "to": "news@y.test",
        "rcpt": "ada@x.test",
        "answer": Answer(550, "5.1.1 no such user"),
        "message": b"Subject: x\r\nX-Mailer-Info: abc\r\n\r\nsecret body",
        "now": 1_790_000_000.0,
        "report_id": "0123456789ab",
    }
    return failure_report(**{**values, **fields})


def test_a_notice_is_a_delivery_status_notification():
    message = message_from_bytes(report(), policy=default)
    assert message.get_content_type() == "multipart/report"
    assert message["Auto-Submitted"] == "auto-replied"
    text, status, headers = message.iter_parts()
    assert "550 5.1.1 no such user" in text.get_content()
    per_message, per_recipient = status.get_payload()
    assert per_message["Reporting-MTA"] == "dns; mx.test"
    assert per_recipient["Final-Recipient"] == "rfc822; ada@x.test"
    assert per_recipient["Status"] == "5.1.1"
    assert headers.get_content_type() == "text/rfc822-headers"
    assert b"X-Mailer-Info: abc" in report()
    assert b"secret body" not in report()


def test_our_own_parser_understands_the_notice():
    from sendback.reports import parse

    made = parse(report(), local_servers=frozenset({"mx.test"}))
    assert made.kind == "bounce"
    (recipient,) = made.recipients
    assert recipient.address == "ada@x.test"


@settings(max_examples=100)
@given(st.text(max_size=60), st.text(max_size=40), st.binary(max_size=20))
def test_no_answer_forges_a_part_or_field(text, rcpt, message):
    made = report(answer=Answer(554, text), rcpt=rcpt, message=message)
    parts = made.split(b"--=_0123456789ab")
    assert len(parts) == 5
    fields = [line.split(b":")[0] for line in parts[2].strip().split(b"\n") if line]
    assert fields == [
        b"Content-Type",
        b"Reporting-MTA",
        b"Final-Recipient",
        b"Action",
        b"Status",
        b"Diagnostic-Code",
    ]


# -- a foreign server in every mood -----------------------------------------------------------


class Moody:
    """A server of a few lines, so that it can break every rule; `script` maps verbs to replies."""

    def __init__(self, **script: bytes) -> None:
        self.script = {"GREETING": b"220 hi\r\n", "EHLO": b"250 hi\r\n", **script}
        self.seen: list[bytes] = []
        self.connections = 0
        self.talks, self.writers = [], []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.talk, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for writer in self.writers:
            writer.close()
        await asyncio.gather(*self.talks, return_exceptions=True)
        await asyncio.sleep(0.01)  # lets closed transports leave the loop

    async def talk(self, reader, writer):
        self.talks.append(asyncio.current_task())
        self.writers.append(writer)
        self.connections += 1
        writer.write(self.script["GREETING"])
        body = False
        while line := await reader.readline():
            self.seen.append(line)
            if body:
                body = line != b".\r\n"
                if body:
                    continue
                reply = self.script.get("END", b"250 taken\r\n")
            else:
                verb = line.split()[0].decode().upper()
                reply = self.script.get(verb, b"354 go\r\n" if verb == "DATA" else b"250 ok\r\n")
                body = verb == "DATA" and reply.startswith(b"354")
            if reply == b"hang up":
                break
            writer.write(reply)
        writer.close()


def sent(mood: Moody, count: int = 1, outgoing=None, **route) -> list[Answer]:
    async def main():
        async with mood:
            fields = {"domain": "*", "host": "127.0.0.1", "port": mood.port, **route}
            upstream = Upstream(SmtpRoute(**fields), hostname="mx.test", timeout=2.0)
            one = outgoing or Outgoing("b@mx.test", "a@x.test", b"Subject: x\r\n\r\n.dot\r\n")
            answers = [await upstream.send(one) for _ in range(count)]
            await upstream.close()
            return answers

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ({}, Answer(250, "taken")),
        ({"GREETING": b"554 5.7.1 go away\r\n"}, None),
        ({"GREETING": b"nonsense\r\n"}, None),
        ({"EHLO": b"421 4.3.2 closing\r\n"}, None),
        ({"MAIL": b"421 4.3.2 closing\r\n"}, Answer(451, "4.3.2 closing")),
        ({"MAIL": b"550 5.7.1 not you\r\n"}, Answer(550, "5.7.1 not you")),
        ({"RCPT": b"450 4.2.1 later\r\n"}, Answer(450, "4.2.1 later")),
        ({"RCPT": b"hang up"}, None),
        ({"DATA": b"452 4.3.1 full\r\n"}, Answer(452, "4.3.1 full")),
        ({"DATA": b"250 what\r\n"}, None),
        ({"END": b"554 5.6.0 no\r\n"}, Answer(554, "5.6.0 no")),
        ({"END": b"hang up"}, None),
        ({"END": b"xyz\r\n"}, None),
        ({"RCPT": b"550 5.1.1 no\r\n", "RSET": b"hang up"}, Answer(550, "5.1.1 no")),
    ],
)
def test_whatever_the_other_server_does_there_is_an_answer(script, answer):
    (made,) = sent(Moody(**script))
    if answer is None:
        assert made.is_deferred
        assert made.text.startswith("4.4.")
    else:
        assert made == answer


def test_dots_are_stuffed_on_the_way():
    mood = Moody()
    sent(mood)
    assert b"..dot\r\n" in mood.seen


def test_a_refusal_does_not_cost_the_connection():
    mood = Moody(RCPT=b"550 5.1.1 no\r\n")
    assert sent(mood, 3) == [Answer(550, "5.1.1 no")] * 3
    assert mood.connections == 1


def test_a_421_does():
    mood = Moody(MAIL=b"421 4.3.2 closing\r\n")
    assert sent(mood, 2) == [Answer(451, "4.3.2 closing")] * 2
    assert mood.connections == 2


def test_internationalised_mail_needs_a_server_that_takes_it():
    outgoing = Outgoing("b@mx.test", "\u00fc@x.test", b"Subject: x\r\n\r\n", utf8=True)
    (answer,) = sent(Moody(), outgoing=outgoing)
    assert answer.code == 550
    assert answer.text.startswith("5.6.7")
    mood = Moody(EHLO=b"250-hi\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n")
    (answer,) = sent(mood, outgoing=outgoing)
    assert answer == Answer(250, "taken")
    assert any(line.startswith(b"MAIL FROM:<b@mx.test> SMTPUTF8") for line in mood.seen)


def test_eight_bit_mail_says_so():
    mood = Moody(EHLO=b"250-hi\r\n250 8BITMIME\r\n")
    sent(mood, outgoing=Outgoing("", "a@x.test", "Subject: x\r\n\r\n\u00fc\r\n".encode()))
    assert b"MAIL FROM:<> BODY=8BITMIME\r\n" in mood.seen


def test_max_connections():
    """Who finds no free connection in time is told to come back. S0.10"""

    async def main():
        async with Moody() as mood:
            route = SmtpRoute(domain="*", host="127.0.0.1", port=mood.port, max_connections=1)
            hasty = Upstream(route, hostname="mx.test", timeout=0.2)
            await hasty._slots.acquire()
            answer = await hasty.send(Outgoing("", "a@x.test", b"x"))
            await hasty.close()
            # twenty in turns take as long as the machine likes
            upstream = Upstream(route, hostname="mx.test", timeout=60)
            many = await asyncio.gather(
                *(upstream.send(Outgoing("", "a@x.test", b"x")) for _ in range(20))
            )
            await upstream.close()
            return answer, many, mood.connections

    answer, many, connections = asyncio.run(main())
    assert answer.text.startswith("4.4.5")
    assert [one.code for one in many] == [250] * 20
    assert connections == 1


def test_the_loop_sends_what_is_due_and_stops(tmp_path):
    waiting = Waiting(tmp_path)

    async def main():
        stop = asyncio.Event()
        running = asyncio.create_task(waiting.deferred.run(stop, every=60.0))
        await asyncio.sleep(0)
        await waiting.deferred.put([kept(is_notice=True)])
        async with asyncio.timeout(20):
            while waiting.deferred.backlog():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            stop.set()
            await running

    asyncio.run(main())
    assert len(waiting.relay.sent) == 1
