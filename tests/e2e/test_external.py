"""External metadata on a whole node: short links, a real Postgres, and its outage (seed 004)."""

import json
import re

import pytest

from e2e.test_first_light import SAMPLE, fetch, html_of, send
from e2e.test_supervisor import until
from fixtures.node import run_cli, running_node

pytestmark = pytest.mark.postgres


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
        events = node.wait_events(4)
        assert sorted((e["event_type"], e["email"]) for e in events) == [
            *[("engine_click", "ada@example.org")] * 3,
            ("engine_click", "bob@example.net"),
        ]
