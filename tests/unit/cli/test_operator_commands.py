"""The operator's commands: one validation, one JSON document, exit codes (CONTRACT section 5)."""

import json
import subprocess
import sys
import time

import msgspec
import pytest
from click.testing import CliRunner

from sendback.cli import COMMANDS, tree
from sendback.database.engine import Database
from sendback.database.kinds import KINDS
from sendback.database.statistics import Statistics
from sendback.database.suppression import Suppression
from sendback.model import BounceBadAddress, Click, Open

NOW_MS = 1_790_000_000_000


class Logged(msgspec.Struct):
    seq: int
    type: str
    time_ms: int
    event_id: str
    body: bytes


def logged(kind, seq, **fields):
    event = kind(
        event_time=NOW_MS // 1000,
        event_time_ms=NOW_MS,
        event_unique_id=f"id-{seq}",
        **{"email": "ann@a.example", "listid": "news", "sendid": "s1", **fields},
    )
    return Logged(seq, kind.__struct_config__.tag, NOW_MS, f"id-{seq}", msgspec.json.encode(event))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command on a node of its own; gives (exit code, JSON or text, stderr)."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"

    def call(*args, as_json=True, stdin=None):
        shared = ["--data-dir", str(data), *(["--json"] if as_json else [])]
        done = CliRunner().invoke(tree(), [*args, *shared], input=stdin)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        out = json.loads(done.stdout) if as_json and done.stdout else done.stdout
        return done.exit_code, out, done.stderr

    call.data = data
    return call


@pytest.fixture
def database(run):
    run("db", "upgrade")
    found = Database.in_directory(run.data)
    yield found
    found.close()


ADD = {
    "url_domain": ["links.example", "--tls", "--default"],
    "mail_class": ["news", "--track-clicks", "--privacy", "anonymous"],
    "bounce_mailbox": ["bounce@in.example"],
    "complaint_mailbox": ["fbl@in.example"],
    "database_connection": ["meta", "--hostname", "db", "--database", "x", "--password", "p4ss"],
    "destination": ["hook", "--type", "webhook", "--url", "https://x.example/", "--secret", "s3c"],
    "peer": ["other", "--admin-url", "https://o.example", "--api-key", "k3y"],
}
SET = {
    "url_domain": (["--no-tls"], {"tls": False, "link_base": "http://links.example"}),
    "mail_class": (["--no-track-clicks", "--listid", "X"], {"track_clicks": False, "listid": "x"}),
    "database_connection": (["--port", "6432"], {"port": 6432}),
    "destination": (
        ["--events", "scomp,engine_unsub", "--headers", "A=b=c", "--max-batch-size", "7"],
        {"events": ["scomp", "engine_unsub"], "headers": {"A": "********"}, "max_batch_size": 7},
    ),
    "peer": (["--admin-url", "https://p.example"], {"admin_url": "https://p.example"}),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_added_listed_shown_set_and_removed(run, name):
    kind = KINDS[name]
    key = ADD[name][0]
    code, added, _ = run(kind.slug, "add", *ADD[name])
    assert (code, added[kind.key], added["origin"]) == (0, key, "database")
    assert not {"p4ss", "s3c", "k3y"} & set(json.dumps(added).replace('"', " ").split())

    if name in SET:
        options, expected = SET[name]
        code, changed, _ = run(kind.slug, "set", key, *options)
        assert code == 0
        assert {field: changed[field] for field in expected} == expected
    assert run(kind.slug, "show", key)[1] == (changed if name in SET else added)
    assert [row[kind.key] for row in run(kind.slug, "list")[1]] == [key]
    assert run(kind.slug, "list", as_json=False)[0] == 0
    assert run(kind.slug, "remove", key)[:2] == (0, {"removed": key})
    code, error, stderr = run(kind.slug, "show", key)
    assert (code, error["error"]["code"]) == (1, "notfound")
    assert key in stderr


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["url-domain", "add", "a b"], 2),
        (["url-domain", "add", "a.example", "--android-asset-links", "{"], 2),
        (["url-domain", "add", "a.example", "--android-asset-links", "@/no/such"], 2),
        (["mail-class", "add", "news", "--url-domain", "no.example"], 2),
        (["mail-class", "add", "x"], 2),
        (["destination", "add", "d", "--url", "https://x.example"], 2),
        (
            [
                "destination",
                "add",
                "d",
                "--type",
                "webhook",
                "--url",
                "https://x",
                "--headers",
                "A",
            ],
            2,
        ),
        (["url-domain", "set", "no.example", "--tls"], 1),
        (["url-domain", "remove", "no.example"], 1),
        (["mail-class", "remove", "default"], 1),
        (["link", "override", "x", "ftp://y"], 2),
        (["link", "decode", "https://x.example/nothing"], 1),
        (["suppression", "remove", "no@a.example"], 1),
        (["suppression", "add", "no-address"], 2),
        (["bounces", "recovery", "list", "--start", "0", "--bounce-regexp", "("], 2),
        (["stats", "send", "nothing"], 1),
        (["api-key", "revoke", "nothing"], 1),
        (["user", "remove", "nobody"], 1),
    ],
)
def test_errors_have_their_code_and_their_document(run, args, code):
    """CONTRACT section 5: one line for people, one document for machines."""
    found, document, stderr = run(*args)

    assert found == code
    assert set(document["error"]) == {"code", "message", "hint"}
    assert stderr.startswith("sendback: ")
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["destination"],
        ["destination", "nonsense"],
        ["destination", "add"],
        ["destination", "show", "--nope", "x"],
        ["destination", "replay", "x", "--since", "yesterday"],
        ["destination", "replay", "x", "--since", "1", "--after", "1"],
        ["check", "all", "--ca-file", "/nonexistent"],
    ],
)
def test_a_usage_error_has_one_document_too(run, args):
    """Found by trying: machines got nothing on stdout, click says it to people alone."""
    found, document, stderr = run(*args)

    assert found == 2
    assert document["error"]["code"] == "usage"
    assert document["error"]["message"]
    assert "Usage: " in stderr


@pytest.mark.parametrize(
    "args",
    [
        ["url-domain", "add"],
        ["url-domain", "colour"],
        ["mail-class", "add", "news", "--unsubscribe-mode", "maybe"],
        ["bounces", "recovery", "list", "--start", "yesterday"],
        ["link", "override", "x"],
        ["stats", "sends", "--limit", "-1"],
    ],
)
def test_usage_errors_are_2(run, args):
    assert run(*args, as_json=False)[0] == 2


def test_documents_are_kept_byte_for_byte(run, tmp_path):  # S4.24
    text = '{ "applinks":\r\n {"details" : [ ] } }\n'
    (tmp_path / "aasa.json").write_bytes(text.encode())
    run("url-domain", "add", "a.example", "--apple-app-site-association", "@aasa.json")

    shown = run("url-domain", "show", "a.example")[1]
    assert shown["apple_app_site_association"] == text
    run("url-domain", "set", "a.example", "--apple-app-site-association", "")
    assert run("url-domain", "show", "a.example")[1]["apple_app_site_association"] == ""


def test_a_secret_can_come_from_a_file(run, tmp_path):
    (tmp_path / "pw").write_text("p4ss\nrest\n")
    run("database-connection", "add", "m", "--database", "d", "--password-file", "pw")
    store = Database.in_directory(run.data)
    with store.read() as connection:
        body = connection.exec_driver_sql("SELECT body FROM catalog_objects").scalar()
    store.close()

    assert json.loads(body)["password"] == "p4ss"


def test_what_the_file_holds_is_read_only(run, tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "sendback.toml").write_text('[[url_domain]]\ndomain = "f.example"\n')

    assert run("url-domain", "list")[1][0]["origin"] == "file"
    code, document, _ = run("url-domain", "set", "f.example", "--tls")
    assert (code, document["error"]["code"]) == (1, "conflict")


def test_links_are_overridden_and_blocked(run):
    run("link", "override", "https://a.example/x", "https://b.example/")
    run("link", "block", "Evil.Example")

    assert run("link", "rules")[1] == [
        {"rule": "override", "key": "https://a.example/x", "url": "https://b.example/"},
        {"rule": "block", "key": "evil.example", "url": ""},
    ]
    run("link", "block", "--remove", "evil.example")
    run("link", "override", "--remove", "https://a.example/x")
    assert run("link", "rules")[1] == []


def test_statistics_as_json_and_csv(run, database):
    statistics = Statistics(database, "me")
    statistics.consume([logged(Open, 1), logged(Click, 2, click_url="=cmd()", link_id="x")])

    assert [row["sendid"] for row in run("stats", "sends")[1]] == ["s1"]
    send = run("stats", "send", "S1")[1]
    assert (send["totals"][0]["opens_human"], send["domains"][0]["domain"]) == (1, "a.example")
    assert run("stats", "links", "s1")[1][0]["clicks_human"] == 1
    code, text, _ = run("stats", "links", "s1", "--csv", as_json=False)
    assert (code, text.splitlines()[0][:20], text.splitlines()[1].split(",")[1]) == (
        0,
        "listid,url,link_id,c",
        "'=cmd()",
    )


def test_suppression_by_hand_and_by_file(run, tmp_path):
    (tmp_path / "list.csv").write_text(
        "email,listid,reason\na@x.example,news,scomp\nb@x.example,,\n"
    )
    assert run("suppression", "import", "list.csv")[1] == {"imported": 2}
    assert run("suppression", "import", "-", stdin="c@x.example\n")[1] == {"imported": 1}
    run("suppression", "add", "d@y.example", "--listid", "news")

    assert run("suppression", "check", "A@x.example")[0] == 3
    assert run("suppression", "check", "z@x.example")[:2] == (
        0,
        {"email": "z@x.example", "suppressed": False, "entries": []},
    )
    emails = {row["email"] for row in run("suppression", "list", "--domain", "x.example")[1]}
    assert emails == {"a@x.example", "b@x.example", "c@x.example"}
    assert len(run("suppression", "list", "--limit", "2")[1]) == 2
    text = run("suppression", "export", as_json=False)[1]
    assert len(text.splitlines()) == 5
    (tmp_path / "again.csv").write_text(text)
    assert run("suppression", "remove", "a@x.example")[1]["removed"] == 1
    assert run("suppression", "import", "again.csv")[1] == {"imported": 4}
    assert len(run("suppression", "list", "--limit", "0")[1]) == 4
    code, document, _ = run("suppression", "import", "-", stdin="x@x.example\noops\n")
    assert (code, "line 2" in document["error"]["message"]) == (2, True)


def test_recovery_there_and_back(run, database, tmp_path):
    Suppression(database, "me").consume(
        [
            logged(BounceBadAddress, 1, email="a@v.example", bounce_text="550 alias"),
            logged(BounceBadAddress, 2, email="b@v.example", bounce_text="550 alias"),
        ]
    )
    span = ["--start", "2026-09-01T00:00:00Z", "--end", "2027-01-01", "--domain", "v.example"]
    code, text, _ = run("bounces", "recovery", "list", *span, "--csv", as_json=False)
    assert (code, len(text.splitlines())) == (0, 3)
    (tmp_path / "some.csv").write_text("\n".join(text.splitlines()[:2]) + "\n")
    some = [*span, "--source-csv", "some.csv"]

    assert len(run("bounces", "recovery", "reactivate", *some, "--dry-run")[1]) == 1
    assert len(run("bounces", "recovery", "list", *span)[1]) == 2
    assert run("bounces", "recovery", "reactivate", *some)[1][0]["email"] == "a@v.example"
    assert [r["email"] for r in run("bounces", "recovery", "list", *span)[1]] == ["b@v.example"]


def test_bounces_are_read_offline(run, tmp_path):
    (tmp_path / "plain.eml").write_text("Subject: hello\n\nHello\n")
    code, lines, _ = run("bounces", "parse", "plain.eml", "gone.eml", "--jsonl", as_json=False)
    first, second = map(json.loads, lines.splitlines())

    assert code == 1
    assert (first["file"], first["kind"]) == ("plain.eml", "other")
    assert second == {"file": "gone.eml", "error": "No such file or directory"}
    code, row, _ = run("bounces", "parse", stdin="Subject: hello\n\nHello\n")
    assert (code, row["file"], row["kind"]) == (0, "-", "other")
    assert run("bounces", "parse", "plain.eml", "--explain", as_json=False)[0] == 0


def test_users_and_keys(run):
    password = "correct horse battery\n"
    assert run("user", "add", "ann", "--role", "admin", "--password-stdin", stdin=password)[0] == 0
    assert run("user", "add", "bob", "--password-stdin", stdin="short\n")[0] == 2
    assert run("user", "set", "ann", "--role", "operate")[0] == 0
    assert run("user", "passwd", "ann", "--password-stdin", stdin=password)[0] == 0
    assert [(row["name"], row["role"]) for row in run("user", "list")[1]] == [("ann", "operate")]
    assert run("user", "invite", "--role", "read")[1]["path"].startswith("/welcome?invitation=")
    assert run("user", "remove", "ann")[0] == 0

    made = run("api-key", "create", "ci", "--scope", "messages", "--expires-days", "3")[1]
    assert made["key"].startswith(f"sb_{made['id']}_")
    assert run("api-key", "revoke", made["id"])[0] == 0
    [listed] = run("api-key", "list")[1]
    assert "key" not in listed
    assert listed["revoked"]


def test_a_recipient_is_shown_and_erased(run, database):
    Statistics(database, "me").consume([logged(Open, 1, email="Ann@a.example")])
    Suppression(database, "me").add([], actor="x")
    run("suppression", "add", "ann@a.example")

    shown = run("recipient", "show", "ann@a.example")[1]
    assert (len(shown["clicks"]), len(shown["suppressions"]), shown["events"]) == (1, 1, [])
    assert run("recipient", "erase", "ann@a.example", stdin="n\n")[0] != 0
    assert run("recipient", "erase", "ann@a.example", "--yes")[1]["clicks"] == 1
    with database.read() as connection:
        for (table,) in connection.exec_driver_sql(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).all():
            rows = connection.exec_driver_sql(f"SELECT * FROM {table}").all()
            assert "ann@" not in str(rows).lower(), table
    assert run("suppression", "check", "ann@a.example")[0] == 3


def test_the_schema_is_checked_and_upgraded(run):
    assert run("db", "check")[0] == 3
    assert run("db", "current")[1]["revision"] == ""
    assert run("db", "upgrade")[1]["before"] == ""
    assert run("db", "check")[:2] == (0, {"ok": True, "problem": "", "hint": ""})


def test_a_newer_schema_is_78(run, database):
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    code, document, _ = run("url-domain", "list")
    assert (code, "9999" in document["error"]["message"]) == (78, True)


def test_a_database_that_is_down_is_1_within_two_seconds(run, monkeypatch):
    monkeypatch.setenv("SENDBACK_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/x")
    began = time.monotonic()
    code, document, _ = run("url-domain", "list")

    assert (code, document["error"]["code"]) == (1, "unavailable")
    assert time.monotonic() - began < 4


def test_plain_commands_import_nothing_of_the_web():
    code = (
        "import sys; sys.argv = ['sendback', 'url-domain', '--help'];"
        "import sendback.cli, contextlib;"
        "contextlib.suppress(SystemExit).__enter__();"
        "\ntry: sendback.cli.main()\nexcept SystemExit: pass\n"
        "print([m for m in sys.modules if m.split('.')[0] in"
        " ('sqlalchemy', 'flask', 'psycopg', 'pydantic', 'rich', 'aiosmtpd', 'alembic')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "name",
    ["api-key", "bounces", "db", "link", "recipient", "stats", "suppression", "user"]
    + [kind.slug for kind in KINDS.values() if kind.name != "destination"],
)
def test_help_is_0_everywhere(name):
    def walk(args):
        done = CliRunner().invoke(tree(), [*args, "--help"])
        assert done.exit_code == 0, done.output
        command = tree()
        for part in args:
            command = command.get_command(None, part)
        for sub in getattr(command, "commands", ()):
            walk([*args, sub])

    assert name in COMMANDS
    walk([name])
