"""The parts of the self-test that need no node: its messages, where copies and events are found."""

import email
import json
import os
import socket

import pytest

from fixtures.nameserver import running_nameserver
from sendback.checks import DnsResolver
from sendback.checks.event_sources import NdjsonSource
from sendback.checks.picking import Picker
from sendback.checks.posting import Mailing, post
from sendback.checks.trial import Trial
from sendback.checks.watching import Watch, until
from sendback.errors import Unavailable
from sendback.reports import parse

NOW = 1_790_000_000.0
TRIAL = Trial.made(NOW)
PERSON = "Ops@example.com"
COPY = (
    b"Return-Path: <b+token@mx.test>\r\nX-Original-To: ops@example.com\r\n"
    b"Delivered-To: ops@example.com\r\n"
    b"Received: from a by b\r\n\tfor <ops@example.com>; Mon, 1 Jan 2026 00:00:00 +0000\r\n"
    b"X-Mailer-Info: abc\r\n" + TRIAL.message(PERSON)
)


def test_the_message_names_nobody_but_the_made_up_address():
    message = email.message_from_bytes(TRIAL.message(TRIAL.address))

    assert message["To"] == TRIAL.address
    assert TRIAL.address.endswith(".invalid")
    assert "X-GreenArrow-Obscured-Email" not in message
    body = message.get_payload()
    assert f'"##unsubscribetag##{TRIAL.goodbye}"' in body
    assert TRIAL.page.replace("&", "&amp;") in body
    assert all(len(line) < 998 for line in body.splitlines())


def test_a_real_mailbox_stands_in_no_event_and_no_report():
    message = TRIAL.message(PERSON, mail_class="news")
    assert PERSON.encode() not in message
    assert f"X-GreenArrow-Obscured-Email: {TRIAL.address}".encode() in message
    assert b"X-GreenArrow-MailClass: news\r\n" in message

    returned = TRIAL.returned(COPY, PERSON)
    for report in (
        TRIAL.complaint(returned, "fbl@mx.test"),
        TRIAL.bounce(returned, "b+token@mx.test"),
    ):
        assert PERSON.lower().encode() not in report.lower()
        assert b"X-Mailer-Info: abc\r\n" in report
        assert b"\n" not in report.replace(b"\r\n", b"")


def test_the_bounce_is_read_as_what_it_is():
    report = parse(TRIAL.bounce(TRIAL.returned(COPY, PERSON), "b+token@mx.test"))

    (recipient,) = report.recipients
    assert (report.kind, recipient.address) == ("bounce", TRIAL.address)
    assert (recipient.status, recipient.bad_address) == ("5.1.1", True)
    assert report.mailer_info == ("abc",)


def test_two_runs_never_meet():
    assert len({Trial.made(NOW).address for _ in range(100)}) == 100


# -- copies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["new", "cur"])
def test_a_maildir_is_searched_for_the_one_message(tmp_path, folder):
    picker = Picker(tmp_path, TRIAL.message_id, since=NOW)
    assert picker.pick() is None
    for name in ("new", "cur", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "new" / "1.other").write_bytes(Trial.made(NOW).message(PERSON))
    (tmp_path / "tmp" / "2.half").write_bytes(COPY)
    assert picker.pick() is None

    (tmp_path / folder / "3.ours:2,S").write_bytes(COPY)
    old = tmp_path / folder / "4.old"
    old.write_bytes(COPY)
    os.utime(old, (NOW - 86_400, NOW - 86_400))
    assert picker.pick() == COPY
    assert picker.found == tmp_path / folder / "3.ours:2,S"


def test_a_file_is_taken_once_it_stops_growing(tmp_path):
    path = tmp_path / "saved.eml"
    picker = Picker(path, TRIAL.message_id, since=NOW)
    assert picker.pick() is None
    path.write_bytes(COPY[:-20])
    assert picker.pick() is None
    path.write_bytes(COPY)
    assert picker.pick() is None
    assert picker.pick() == COPY


# -- events -----------------------------------------------------------------------------------


def line(number: int, address: str, kind: str = "engine_open") -> str:
    event = {"event_type": kind, "email": address, "event_unique_id": str(number)}
    return json.dumps(event) + "\n"


def numbers(source) -> list[str]:
    return [event["event_unique_id"] for event in source.events("a@x.invalid")]


def test_an_ndjson_file_is_read_from_now_on_through_its_rotation(tmp_path):
    path = tmp_path / "events.ndjson"
    path.write_text(line(1, "a@x.invalid"))
    source = NdjsonSource(path)
    assert numbers(source) == []

    with path.open("a") as file:
        file.write(line(2, "A@x.invalid") + line(3, "b@x.invalid") + "no json\n" + '{"email": ')
    assert numbers(source) == ["2"]
    with path.open("a") as file:
        file.write('"a@x.invalid", "event_unique_id": "4"}\n')
    path.rename(tmp_path / "events.ndjson.20260101T000000")
    assert numbers(source) == ["4"]  # and nothing there for the moment
    path.write_text(line(5, "a@x.invalid"))
    assert numbers(source) == ["5"]
    source.close()


def test_an_ndjson_file_may_come_later_and_must_be_readable(tmp_path):
    path = tmp_path / "events.ndjson"
    source = NdjsonSource(path)
    assert numbers(source) == []
    path.write_text(line(1, "a@x.invalid"))
    assert numbers(source) == ["1"]
    source.close()

    with pytest.raises(Unavailable, match="directory"):
        NdjsonSource(tmp_path)


class Source:
    name = "source"

    def __init__(self, *answers):
        self.answers = list(answers)

    def events(self, email):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_waiting_goes_on_over_errors_and_ends():
    event = {"event_type": "engine_click", "click_url": "u", "event_unique_id": "1"}
    watch = Watch([Source(Unavailable("down"), [], [event]), Source([event])], "a@x.invalid")

    assert watch.wait("engine_click", 30, click_url="u") == event
    assert watch.wait("engine_click", 0, click_url="other") is None
    assert watch.wait("engine_open", 0) is None
    assert watch.events == [event]
    assert until(lambda: None, 0) is None


# -- mail -------------------------------------------------------------------------------------


def test_the_server_of_a_mailbox():
    records = {("mx.test", "MX"): ["10 two.mx.test.", "5 one.mx.test."]}
    with running_nameserver(records) as port:
        resolver = DnsResolver(["127.0.0.1"], port=port)
        by_dns = Mailing(resolver, routes={"static.test": ("10.0.55.2", 2525)})

        assert by_dns._servers("mx.test") == [("one.mx.test", 25), ("two.mx.test", 25)]
        assert by_dns._servers("static.test") == [("10.0.55.2", 2525)]
        with pytest.raises(Unavailable, match="no MX record"):
            by_dns.send("fbl@none.test", COPY)
        named = Mailing(resolver, server=("192.0.2.1", 25), routes={"mx.test": ("x", 1)})
        assert named._servers("mx.test") == [("192.0.2.1", 25)]


def test_a_server_that_is_not_there():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening
        server = held.getsockname()
        with pytest.raises(Unavailable, match=f"127.0.0.1:{server[1]}: connection refused"):
            post(server, "", "a@x.invalid", COPY)
