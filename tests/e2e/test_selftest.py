"""`selftest`: seed 000's sequence on real nodes, and each mistake named by the step it breaks."""

import contextlib
import json
import re
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from fixtures.node import run_cli, running_node
from fixtures.postfix import free_port, running_postfix

ALL = ["send", "copy", "images", "click", "unsubscribe", "complaint", "bounce", "bad-address"]
MAIL_CLASS = {
    "name": "default",
    "default": True,
    "track_clicks": True,
    "track_opens": True,
    "unsubscribe_links": True,
    "bounce_mailbox": "return@bounces.example.com",
}
EVENT = {
    "SENDBACK_SERVER_ID": "event-1",
    "SENDBACK_BOUNCE_MAILBOX": '[{"address": "return@bounces.example.com"}]',
    "SENDBACK_COMPLAINT_MAILBOX": '[{"address": "fbl@bounces.example.com"}]',
    "SENDBACK_DESTINATION": '[{"name": "all", "type": "ndjson", "url": "events/all.ndjson"}]',
}


def sending_env(link_base: str, **mail_class) -> dict[str, str]:
    domain = {"domain": "links.example.com", "default": True, "link_base": link_base}
    return {
        "SENDBACK_SERVER_ID": "sending-1",
        "SENDBACK_URL_DOMAIN": json.dumps([domain]),
        "SENDBACK_MAIL_CLASS": json.dumps([MAIL_CLASS | mail_class]),
        "SENDBACK_COMPLAINT_MAILBOX": '[{"address": "fbl@bounces.example.com"}]',
        "SENDBACK_SIMPLEMH_VALIDATE_BOUNCE_ADDRESS": "false",
        "SENDBACK_DEFAULT_EVENT_TRACKING_METADATA_STORAGE": "stateless",
    }


def share_constants(source: Path, *others: Path) -> None:
    pair = json.loads(
        run_cli("secret-constants", "--view", "--json", "--data-dir", str(source)).stdout
    )
    for other in others:
        run_cli(
            *("secret-constants", f"--constant1={pair['constant1']}"),
            *(f"--constant2={pair['constant2']}", "--data-dir", str(other)),
        )


@pytest.fixture(scope="module")
def event(tmp_path_factory):
    """The Event Server."""
    folder = tmp_path_factory.mktemp("event")
    arguments = ["--only", "web,smtp,admin,worker"]
    with running_node(folder / "data", env=EVENT, arguments=arguments) as node:
        node.api_key = folder / "key"
        made = node.cli("api-key", "create", "selftest", "--scope", "read", "--json").stdout
        node.api_key.write_text(json.loads(made)["key"] + "\n")
        yield node


@contextlib.contextmanager
def sending_node(path: Path, event, **mail_class):
    """A Sending Server whose links lead to the Event Server."""
    share_constants(event.data_dir, path)
    peer = {"name": "event", "admin_url": event.admin, "api_key": event.api_key.read_text().strip()}
    env = sending_env(event.web, **mail_class) | {"SENDBACK_PEER": json.dumps([peer])}
    with running_node(path, env=env, arguments=["--only", "submission,worker"]) as node:
        yield node


@pytest.fixture(scope="module")
def sending(tmp_path_factory, event):
    with sending_node(tmp_path_factory.mktemp("sending") / "data", event) as node:
        yield node


def tried(node, *arguments, env=None):
    """(exit code, the document, step -> finding) of a self-test on this node's directory."""
    done = run_cli(
        *("selftest", "--json", "--data-dir", str(node.data_dir), *arguments),
        env={**node.environment, **(env or {})},
        check=False,
    )
    document = json.loads(done.stdout)
    if "error" in document:
        return done.returncode, document, {}
    assert done.returncode == (0 if document["ok"] else 3)
    return done.returncode, document, {step["check"]: step for step in document["steps"]}


def at(event, *, timeout="60"):
    """The options that name the Event Server."""
    host, port = event.address("smtp")
    return (
        *("--events-from", event.admin, "--api-key-file", str(event.api_key)),
        *("--mail-to", f"{host}:{port}", "--timeout", timeout),
    )


def states(steps) -> dict[str, str]:
    return {name: step["state"] for name, step in steps.items()}


# -- what works -------------------------------------------------------------------------------


def test_one_node_by_itself(tmp_path):  # S0.19
    with running_node(tmp_path / "data") as node:
        code, document, steps = tried(node, "--timeout", "60")

        assert (code, list(steps)) == (0, ALL)
        assert set(states(steps).values()) == {"ok"}
        kinds = {event["event_type"] for event in node.events()}
        assert len(kinds) == 6
        assert {event["email"] for event in node.events()} == {document["address"]}
        assert document["address"].endswith(".invalid")
        # what is ours is taken away, what stays is said
        assert list((node.data_dir / "outbox" / "new").iterdir()) == []
        assert document["left"][0].startswith("6 events on ")
        command = re.search(r"sendback (recipient erase \S+)", document["left"][0])[1]
        node.cli(*command.split(), "--yes")
        assert node.events() == []

        lines = node.cli("selftest", "--timeout", "60").stdout.splitlines()
        assert [line.split("\t")[:2] for line in lines[:-1]] == [[name, "ok"] for name in ALL]


def test_a_sending_server_and_an_event_server(sending, event):  # S0.1, S0.19
    code, _, steps = tried(sending, *at(event))

    assert (code, list(steps), set(states(steps).values())) == (0, ALL, {"ok"})
    assert steps["images"]["detail"].startswith("engine_open of event-1 after")


def test_events_of_a_file_and_the_key_of_a_peer(sending, event):
    file = str(event.data_dir / "events" / "all.ndjson")
    _, _, steps = tried(sending, *at(event)[4:], "--events-from", file)
    assert set(states(steps).values()) == {"ok"}

    # the sending server knows the event server as a peer, so its key too
    _, _, steps = tried(sending, *at(event)[4:], "--events-from", f"{event.admin}/api/v1")
    assert set(states(steps).values()) == {"ok"}


@pytest.mark.mta
def test_through_a_mail_server_to_a_mailbox_that_somebody_reads(tmp_path, event):  # S0.19
    """The copy lies in a person's mailbox; events, and so suppressions, name another address."""
    home = Path(tempfile.mkdtemp(prefix="sendback-maildir-", dir="/tmp"))
    home.chmod(0o755)
    (home / "mail").mkdir()
    shutil.chown(home / "mail", "nobody")
    uid, gid = (home / "mail").stat().st_uid, 65534
    main = (
        f"virtual_mailbox_domains = home.test\nvirtual_mailbox_base = {home}\n"
        "virtual_mailbox_maps = inline:{ { ops@home.test = mail/box/ } }\n"
        f"virtual_uid_maps = static:{uid}\nvirtual_gid_maps = static:{gid}\n"
    )
    port = free_port()
    share_constants(event.data_dir, tmp_path / "data")
    route = {"SENDBACK_SMTP_ROUTE": json.dumps([
        {"domain": "*", "host": "127.0.0.1", "port": port},
    ])}  # fmt: skip
    env = sending_env(event.web) | route
    try:
        with (
            running_postfix(
                port=port,
                transports={},
                main=main,
                master="virtual   unix  -       n       n       -       -       virtual\n",
            ) as postfix,
            running_node(
                tmp_path / "data", env=env, arguments=["--only", "submission,worker"]
            ) as node,
        ):
            box = home / "mail" / "box"
            to = ("--to", "ops@home.test", "--copy-from", str(box))
            code, document, steps = tried(node, *at(event), *to)
            assert (code, set(states(steps).values())) == (0, {"ok"}), postfix.log()
            assert document["left"][0].startswith(f"the message: {box}/new/")
            assert not any("ops@home.test" in json.dumps(one) for one in event.events())

            # the smarthost takes the mail elsewhere: the outbox can't be asked
            code, document, _ = tried(node, *at(event))
            assert code == 2
            assert "--copy-from" in document["error"]["message"]
    finally:
        shutil.rmtree(home)


@pytest.mark.parametrize(
    "mail_class", [{"unsubscribe_mode": "confirm"}, {"unsubscribe_links": False}]
)
def test_the_other_ways_to_leave(tmp_path, event, mail_class):
    with sending_node(tmp_path / "data", event, **mail_class) as node:
        code, _, steps = tried(node, *at(event))

    assert (code, set(states(steps).values())) == (0, {"ok"})


# -- what is wrong ----------------------------------------------------------------------------


def failed(steps) -> list[str]:
    return [name for name, state in states(steps).items() if state == "problem"]


def test_other_secret_constants(tmp_path, event):  # S0.3
    env = sending_env(event.web)
    arguments = ["--only", "submission,worker"]
    with running_node(tmp_path / "data", env=env, arguments=arguments) as node:
        code, _, steps = tried(node, *at(event, timeout="1"))

    assert code == 3
    assert failed(steps) == ["images", "click", "unsubscribe", "complaint", "bounce"]
    assert "no engine_open came within 1 s" in steps["images"]["detail"]
    assert "not known there (404)" in steps["click"]["detail"]
    assert "550 5.1.1" in steps["bounce"]["detail"]
    for name in failed(steps):
        assert "secret-constants fingerprint" in steps[name]["cure"]


def test_local_metadata_in_a_split(tmp_path, event):  # S0.4
    with sending_node(tmp_path / "data", event, event_tracking_metadata_storage="local") as node:
        _, _, steps = tried(node, *at(event, timeout="1"))

    assert {"click", "unsubscribe", "bounce"} <= set(failed(steps))
    assert "local metadata" in steps["click"]["cure"]


def test_nobody_answers_where_the_links_lead(tmp_path, event):
    share_constants(event.data_dir, tmp_path / "data")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening
        env = sending_env(f"http://127.0.0.1:{held.getsockname()[1]}")
        with running_node(
            tmp_path / "data", env=env, arguments=["--only", "submission,worker"]
        ) as node:
            _, _, steps = tried(node, *at(event))

    assert failed(steps) == ["images", "click", "unsubscribe"]
    assert steps["click"]["detail"] == "no answer: connection refused"
    assert "sendback check domain" in steps["click"]["cure"]


def test_nobody_takes_bounce_and_complaint(sending, event):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening
        nobody = f"127.0.0.1:{held.getsockname()[1]}"
        _, _, steps = tried(sending, *at(event), "--mail-to", nobody)

    assert failed(steps) == ["complaint", "bounce"]
    assert states(steps)["bad-address"] == "skipped"
    assert "connection refused" in steps["bounce"]["detail"]
    assert "--mail-to" in steps["bounce"]["cure"]


def test_an_untracked_class_and_a_mailbox_that_is_not_there(tmp_path, event):
    with sending_node(tmp_path / "data", event, track_clicks=False) as node:
        _, _, steps = tried(node, *at(event))
    assert (failed(steps), steps["click"]["state"]) == (["copy"], "skipped")
    assert "track_clicks" in steps["copy"]["cure"]

    with sending_node(
        tmp_path / "data", event, track_opens=False, bounce_mailbox="return@other.example"
    ) as node:
        _, _, steps = tried(node, *at(event), "--complaint-mailbox", "none@bounces.example.com")
    assert failed(steps) == ["complaint", "bounce"]
    assert steps["images"]["state"] == "warning"
    assert "550" in steps["complaint"]["detail"]
    assert "complaint mailbox" in steps["complaint"]["cure"]


def test_a_link_that_an_operator_blocked(sending, event):
    def click():
        return tried(sending, *at(event))[2]["click"]

    assert click()["ok"]
    event.cli("link", "block", "selftest.invalid")
    try:
        while (found := click())["ok"]:  # in force within two seconds
            pass
    finally:
        event.cli("link", "block", "selftest.invalid", "--remove")
    while not click()["ok"]:  # the next test shall not meet it
        pass
    assert "sendback link rules" in found["cure"]


def test_what_cannot_be_read_or_reached_is_said_before_anything_is_sent(sending, event, tmp_path):
    wrong = tmp_path / "key"
    wrong.write_text("nonsense")
    _, _, steps = tried(sending, *at(event)[:2], "--api-key-file", str(wrong))
    assert (failed(steps), len(steps)) == (["events"], 9)
    assert "refuses the API key (401)" in steps["events"]["detail"]
    _, _, steps = tried(sending, "--events-from", event.web, "--api-key-file", str(wrong))
    assert "is no REST API" in steps["events"]["detail"]

    another = event.admin.replace("127.0.0.1", "localhost")  # no peer has this one
    code, document, _ = tried(sending, "--events-from", another)
    assert (code, "--api-key-file" in document["error"]["message"]) == (2, True)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening
        nobody = f"127.0.0.1:{held.getsockname()[1]}"
        copies = ("--copy-from", str(tmp_path))
        _, _, steps = tried(sending, *at(event), "--send-via", nobody, *copies)
    assert (failed(steps), states(steps)["copy"]) == (["send"], "skipped")
    assert "allowed_networks" in steps["send"]["cure"]

    # a copy that never comes
    send_via = ":".join(map(str, sending.address("submission")))
    _, _, steps = tried(sending, *at(event, timeout="1"), "--send-via", send_via, *copies)
    assert failed(steps) == ["copy"]
    assert "no copy came within 1 s" in steps["copy"]["detail"]


def test_no_node_and_half_a_wish(tmp_path):
    place = ("--data-dir", str(tmp_path / "data"))
    done = run_cli("selftest", *place, check=False)
    assert (done.returncode, "start it, or name one with --send-via" in done.stderr) == (1, True)
    done = run_cli("selftest", *place, "--send-via", "nowhere", check=False)
    assert (done.returncode, "is not HOST:PORT" in done.stderr) == (2, True)
    done = run_cli("selftest", *place, "--send-via", "127.0.0.1:1", check=False)
    assert (done.returncode, "--copy-from" in done.stderr) == (2, True)


def test_no_worker_and_rules_that_want_more(tmp_path):
    with running_node(tmp_path / "data", arguments=["--only", "submission,web,smtp"]) as node:
        _, _, steps = tried(node, "--timeout", "1")
    assert "images" in failed(steps)
    assert "does the worker run" in steps["images"]["cure"]

    env = {"SENDBACK_EVENTS__RECORD": json.dumps(
        ["engine_open", "engine_click", "engine_unsub", "scomp", "bounce_all"]
    )}  # fmt: skip
    with running_node(tmp_path / "data", env=env) as node:
        code, _, steps = tried(node, "--timeout", "60")
    assert (code, steps["bad-address"]["state"]) == (0, "warning")
