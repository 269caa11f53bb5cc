"""`check all` on real parts: databases, peers, configuration; each mistake has its own words."""

import json

import pytest

from fixtures.nameserver import running_nameserver
from fixtures.node import run_cli, running_node
from fixtures.postgres import running_postgres

EXTERNAL = {"SENDBACK_EXTERNAL_METADATA_EVENT_TRACKING_DATABASE": "tracking"}


def checked(path, env, *arguments):
    """(exit code, (check, subject) -> finding), without what is told of URL domains."""
    done = run_cli(
        *("check", "all", "--json", "--data-dir", str(path), *arguments), env=env, check=False
    )
    rows = json.loads(done.stdout)
    assert done.returncode == (0 if all(row["ok"] for row in rows) else 3)
    return done.returncode, {(row["check"], row["subject"]): row for row in rows}


def connections(**dsns: str) -> dict[str, str]:
    rows = [{"name": name, "dsn": dsn} for name, dsn in dsns.items()]
    return {"SENDBACK_DATABASE_CONNECTION": json.dumps(rows)}


@pytest.mark.postgres
def test_external_databases(tmp_path, postgres_server):
    tracking, spare = postgres_server.new_database(), postgres_server.new_database()
    failover = {"SENDBACK_EXTERNAL_METADATA_EVENT_TRACKING_DATABASE_READ_FAILOVER": "spare"}
    env = EXTERNAL | failover | connections(tracking=tracking, spare=spare)
    for name in ("tracking", "spare"):
        one = {"SENDBACK_EXTERNAL_METADATA_EVENT_TRACKING_DATABASE": name}
        run_cli("metadata", "init", "--data-dir", str(tmp_path), env=env | one)

    _, found = checked(tmp_path, env)
    for name in ("tracking", "spare"):
        assert found["external-metadata", name]["state"] == "ok"
        assert found["clock", name]["state"] == "ok"

    def broken(sql, dbname):
        postgres_server.execute(sql, dbname)
        code, found = checked(tmp_path, env)
        row = found["external-metadata", "tracking"]
        assert (code, row["state"], found["external-metadata", "spare"]["state"]) == (
            3, "problem", "ok",
        )  # fmt: skip
        assert "sendback metadata init" in row["cure"]
        return row["detail"]

    dbname = database_of(tracking)
    assert "index" in broken("drop index ga_tracking_data__created_at_idx", dbname)
    assert "other columns" in broken("alter table ga_tracking_data add more int", dbname)
    assert "no table" in broken("drop table ga_tracking_data", dbname)

    env |= connections(tracking="host=127.0.0.1 port=1 dbname=x", spare=spare)
    _, found = checked(tmp_path, env)
    row = found["external-metadata", "tracking"]
    assert (row["state"], "running" in row["cure"]) == ("problem", True)
    _, found = checked(tmp_path, env | connections(spare=spare))
    row = found["external-metadata", "tracking"]
    assert "no database connection is called 'tracking'" in row["detail"]


def database_of(dsn: str) -> str:
    return dsn.partition("dbname=")[2].split()[0]


@pytest.mark.postgres
def test_a_standby_is_no_primary(tmp_path):
    with running_postgres() as server:
        env = EXTERNAL | connections(tracking=server.new_database())
        run_cli("metadata", "init", "--data-dir", str(tmp_path), env=env)
        server.stop("fast")
        (server.folder / "data" / "standby.signal").touch()
        server.start()
        _, found = checked(tmp_path, env)

    row = found["external-metadata", "tracking"]
    assert (row["state"], "is a standby" in row["detail"]) == ("problem", True)


@pytest.mark.postgres
def test_a_main_database_elsewhere(tmp_path, postgres_server):
    name = database_of(postgres_server.new_database())
    url = f"postgresql://postgres@127.0.0.1:{postgres_server.port}/{name}"
    env = {"SENDBACK_DATABASE_URL": url}
    _, found = checked(tmp_path, env)
    row = found["database", "main"]
    assert (row["state"], row["cure"]) == ("problem", "run `sendback db upgrade`")

    run_cli("db", "upgrade", "--data-dir", str(tmp_path), env=env)
    _, found = checked(tmp_path, env)
    assert found["database", "main"]["state"] == found["clock", "main"]["state"] == "ok"

    _, found = checked(tmp_path, {"SENDBACK_DATABASE_URL": "postgresql://x@127.0.0.1:1/none"})
    row = found["database", "main"]
    assert (row["state"], "does not answer" in row["detail"]) == ("problem", True)


def test_peers_and_a_configuration_that_does_not_fit_a_fleet(tmp_path):  # S0.3, S0.4
    with running_node(tmp_path / "other", arguments=["--only", "admin,worker"]) as other:
        made = other.cli("api-key", "create", "x", "--scope", "read", "--json").stdout
        key = json.loads(made)["key"]
        peers = [
            {"name": "other", "admin_url": other.admin, "api_key": key},
            {"name": "locked", "admin_url": other.admin, "api_key": "wrong"},
            {"name": "gone", "admin_url": "http://127.0.0.1:1"},
        ]
        env = {"SENDBACK_PEER": json.dumps(peers)}
        _, found = checked(tmp_path / "here", env)

        assert found["peer-keys", "other"]["state"] == "problem"
        assert "secret constants" in found["peer-keys", "other"]["cure"]
        assert found["peer-clock", "other"]["state"] == "ok"
        assert found["peer", "locked"]["detail"] == "refuses our API key (401)"
        assert found["peer-clock", "locked"]["state"] == "ok"
        assert found["peer", "gone"]["detail"] == "no status: connection refused"
        storage = ("config", "default_event_tracking_metadata_storage")
        assert found[storage]["state"] == "warning"
        assert found["database", "main"]["state"] == "skipped"  # no node has run here

        pair = json.loads(other.cli("secret-constants", "--view", "--json").stdout)
        run_cli(
            *("secret-constants", f"--constant1={pair['constant1']}"),
            *(f"--constant2={pair['constant2']}", "--data-dir", str(tmp_path / "here")),
        )
        env["SENDBACK_DEFAULT_EVENT_TRACKING_METADATA_STORAGE"] = "stateless"
        _, found = checked(tmp_path / "here", env)
        assert found["peer-keys", "other"]["state"] == "ok"
        assert storage not in found


def test_everything_fine_is_exit_0_and_dns_is_asked(tmp_path):
    with running_node(tmp_path / "data") as node:
        done = node.cli("check", "all", "--json")
        assert all(row["ok"] for row in json.loads(done.stdout))
        assert node.events() == []

    env = {
        "SENDBACK_URL_DOMAIN": '[{"domain": "links.example.com", "link_base": "http://localhost:1"}]',
        "SENDBACK_BOUNCE_MAILBOX": '[{"address": "b@bounces.example.com"}]',
    }
    records = {("links.example.com", "A"): ["127.0.0.1"]}
    with running_nameserver(records) as port:
        ask = ("--nameserver", "127.0.0.1", "--port", str(port), "--address", "127.0.0.1")
        _, found = checked(tmp_path / "here", env, *ask)
    bad = {key for key, row in found.items() if not row["ok"]}
    assert bad == {("mailbox", "bounces.example.com"), ("link-base", "http://localhost:1")}
    assert found["url-domain", "links.example.com"]["state"] == "ok"


def test_a_broken_configuration_is_exit_78(tmp_path):
    done = run_cli(
        "check", "all", "--data-dir", str(tmp_path), env={"SENDBACK_NOPE": "1"}, check=False
    )
    assert (done.returncode, "NOPE" in done.stderr) == (78, True)
