"""`config show` never prints a secret, wherever it stands."""

import json
from pathlib import Path

from fixtures.node import run_cli

SECRETS = """\
[submission]
tls_certificate = "/c"
tls_key = "/k"
users = { app = "HUSH-user" }
[[smtp_route]]
domain = "*"
host = "smtp.example.com"
username = "shop"
password = "HUSH-route"
[[database_connection]]
name = "pg"
hostname = "db"
database = "d"
username = "u"
password = "HUSH-database"
[[destination]]
name = "hook"
type = "webhook"
url = "https://example.com/"
secret = "HUSH-hook"
[[peer]]
name = "b"
admin_url = "https://b.example.com"
api_key = "HUSH-peer"
"""


def test_secrets_are_masked(tmp_path: Path):
    (tmp_path / "sendback.toml").write_text(SECRETS)
    arguments = ("--config", str(tmp_path / "sendback.toml"), "--data-dir", str(tmp_path / "data"))
    for how in (["--json"], ["--origin"], []):
        shown = run_cli("config", "show", *how, *arguments).stdout
        assert "HUSH" not in shown
    values = json.loads(run_cli("config", "show", "--json", *arguments).stdout)
    assert values["smtp_route.0.username"] == "shop"
    assert values["smtp_route.0.password"] == "********"
    assert values["peer.0.api_key"] == "********"
