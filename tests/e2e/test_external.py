"""External metadata on a whole node: short links, a real Postgres, and its outage (seed 004)."""

import json
import re

import pytest

from e2e.test_first_light import SAMPLE, fetch, html_of, send
from e2e.test_supervisor import until
from fixtures.node import run_cli, running_node

pytestmark = pytest.mark.postgres


def processes(node) -> dict[str, dict]:
    status = node.cli("metadata", "status", "--json", check=False)
    return {row["part"]: row for row in json.loads(status.stdout)["processes"]}


def newest_copy(node) -> bytes:
    new = (node.data_dir / "outbox" / "new").iterdir()
    return max(new, key=lambda path: path.stat().st_mtime_ns).read_bytes()


def clicks_in(copy: bytes) -> list[str]:
    return re.findall(r"http://localhost:\d+(/(?:uni/)?click\?[\w-]+)", html_of(copy))


def test_clicks_live_through_an_outage(
    tmp_path, postgres_server
):  # S4.11, S4.12, S4.13, S4.14, S4.16, S4.19
    connection = {
        "name": "tracking",
        "dsn": postgres_server.new_database(),
    }
    env = {
        "SENDBACK_DATABASE_CONNECTION": json.dumps([connection]),
        "SENDBACK_EXTERNAL_METADATA_EVENT_TRACKING_DATABASE": "tracking",
        "SENDBACK_DEFAULT_EVENT_TRACKING_METADATA_STORAGE": "external",
    }
    run_cli("metadata", "init", "--data-dir", str(tmp_path / "data"), env=env)
    with running_node(tmp_path / "data", env=env) as node:
        send(node, SAMPLE.read_bytes(), ["ada@example.org"])
        links = clicks_in(newest_copy(node))
        assert len(links) == 3
        for link in links:
            assert len(link) <= 70 - len("https://")  # S4.13
        assert fetch(node.web + links[0])[0] == 302
        assert len(node.wait_events(1)) == 1
        # S4.15: the formula of docs/howto/external-metadata.md, web + submission + worker + admin
        (opened,) = postgres_server.execute(
            "select count(*) from pg_stat_activity"
            " where application_name = 'sendback' and datname <> 'postgres'"
        )[0]
        assert 1 <= opened <= 2 * 4
        assert until(lambda: "hit_rate" in str(processes(node).get("web")))
        assert fetch(node.web + links[0])[0] == 302
        assert until(lambda: (processes(node)["web"]["link_hit_rate"] or 0) > 0)

        postgres_server.stop()
        try:
            # known here: redirects; the event waits for nothing it does not need
            assert fetch(node.web + links[0])[0] == 302
            # never read by this node: the page says so, and the log says which
            status, headers, page = fetch(node.web + links[1])
            assert status == 503
            assert "Location" not in headers
            assert headers["Retry-After"]
            assert b"Traceback" not in page
            assert until(lambda: "ERROR EXTERNAL METADATA: original_url=" in node.log())
            # degraded, and ready all the same: recipients get their answers (G7)
            for _ in range(3):
                assert fetch(node.web + links[1])[0] == 503
            assert until(lambda: b"web: external metadata" in fetch(node.admin + "/readyz")[2])
            assert fetch(node.admin + "/readyz")[0] == 200
            # new mail goes out all the same
            send(node, SAMPLE.read_bytes(), ["bob@example.net"])
            spare = newest_copy(node)
            assert b"X-Mailer-Info-Extra:" in spare
            stateless = clicks_in(spare)
            assert fetch(node.web + stateless[0])[0] == 302
            assert re.search("ERROR EXTERNAL METADATA: (?!original_url)", node.log())
        finally:
            postgres_server.start()

        assert until(lambda: fetch(node.web + links[1])[0] == 302)
        events = node.wait_events(5)
        assert sorted((e["event_type"], e["email"]) for e in events) == [
            *[("engine_click", "ada@example.org")] * 4,
            ("engine_click", "bob@example.net"),
        ]


def test_what_is_missing_is_said_at_the_start_and_mail_goes_out(tmp_path, postgres_server):
    """Fault 19: the start-up look says which; nothing waits for it."""
    connection = {"name": "tracking", "dsn": postgres_server.new_database()}
    env = {
        "SENDBACK_DATABASE_CONNECTION": json.dumps([connection]),
        "SENDBACK_EXTERNAL_METADATA_EVENT_TRACKING_DATABASE": "tracking",
        "SENDBACK_DEFAULT_EVENT_TRACKING_METADATA_STORAGE": "external",
    }
    with running_node(tmp_path / "data", env=env) as node:
        assert until(lambda: "looked at the primary at the start: there is no table" in node.log())
        send(node, SAMPLE.read_bytes(), ["ada@example.org"])
        assert fetch(node.web + clicks_in(newest_copy(node))[0])[0] == 302
        run_cli("metadata", "init", "--data-dir", str(tmp_path / "data"), env=env)
        send(node, SAMPLE.read_bytes(), ["bob@example.org"])
        assert len(clicks_in(newest_copy(node))[0]) == len("/click?") + 51
