"""`sendback secret-constants`, `metadata` and `link decode`, as an operator types them."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from fixtures.postgres import Postgres
from sendback.cli import tree
from sendback.metadata import Metadata, external_table
from sendback.metadata.external import ExternalStore
from sendback.metadata.local import LocalStore
from sendback.model import LinkFacts, MessageFacts, Storage
from sendback.secret_constants import SecretConstantsFile

ONE, TWO = bytes(range(32)).hex(), bytes(range(32, 64)).hex()
MESSAGE = MessageFacts(email="anna@example.org", sendid="s", tagged_at=1_795_514_400)
LINK = LinkFacts(url="https://example.com/a?b", pos=1)


class Shell:
    def __init__(self, data: Path) -> None:
        self.data = data

    def __call__(self, *words: str, code: int = 0, stdin: str = "", config: Path | None = None):
        """(what was printed, decoded when --json was asked for, and stderr)."""
        shared = ["--data-dir", str(self.data)] + (["--config", str(config)] if config else [])
        done = CliRunner().invoke(tree(), [*words, *shared], input=stdin)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return json.loads(done.stdout) if "--json" in words else done.stdout, done.stderr

    @property
    def file(self) -> SecretConstantsFile:
        return SecretConstantsFile(self.data / "secret-constants.json")


@pytest.fixture
def sh(tmp_path, monkeypatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path / "data")


def test_view_and_set_on_all_servers(sh, tmp_path):  # S0.3: the procedure of seed 000
    other = Shell(tmp_path / "other")
    shown, _ = sh("secret-constants", "--view")
    lines = dict(line.split(": ") for line in shown.splitlines())
    assert list(lines) == ["Constant 1", "Constant 2"]

    _, warned = other(
        "secret-constants",
        f"--constant1={lines['Constant 1']}",
        f"--constant2={lines['Constant 2']}",
    )
    assert "shell history" in warned
    assert other("secret-constants", "--view")[0] == shown
    ours, _ = sh("secret-constants", "--view", "--json")
    assert ours["constant1"] == lines["Constant 1"]
    assert ours["fingerprint"] == other("secret-constants", "fingerprint")[0].strip()
    assert sh("secret-constants", "fingerprint", "--json")[0]["key_id"] == ours["key_id"]


def test_constants_from_stdin_need_no_warning(sh):
    shown, warned = sh(
        "secret-constants", "--constant1=-", "--constant2=-", stdin=f"{ONE}\n{TWO}\n"
    )
    assert shown == f"Constant 1: {ONE}\nConstant 2: {TWO}\n"
    assert warned == ""


@pytest.mark.parametrize(
    "words",
    [["--constant1=aa", f"--constant2={TWO}"], [f"--constant1={ONE}"],
     [f"--constant1={'00' * 32}", f"--constant2={TWO}"], ["--constant1=", "--constant2="],
     ["add", f"--constant1={ONE}"], ["add", "--constant1=x", "--constant2=y"], ["promote"]],
)  # fmt: skip
def test_wrong_use_ends_with_2_and_changes_nothing(sh, words):
    before = sh.file.ensure().fingerprint
    _, said = sh("secret-constants", *words, code=2)

    assert said
    assert sh.file.load().fingerprint == before
    assert len(sh.file.rows()) == 1


def test_add_promote_retire_in_a_fleet(sh):
    first, _ = sh("secret-constants", "--view", "--json")
    added, _ = sh("secret-constants", "add", "--json")
    assert sh("secret-constants", "--view", "--json")[0] == first

    sh("secret-constants", "promote", added["fingerprint"])
    assert sh("secret-constants", "--view", "--json")[0] == added
    sh("secret-constants", "retire", first["fingerprint"])
    rows, _ = sh("secret-constants", "list", "--json")
    assert [(row["fingerprint"], row["state"]) for row in rows] == [
        (added["fingerprint"], "signing"), (first["fingerprint"], "retired"),
    ]  # fmt: skip
    assert first["constant1"] not in json.dumps(rows)
    _, said = sh("secret-constants", "retire", added["fingerprint"], code=1)
    assert "promote another" in said
    assert sh("secret-constants", "rotate", "--json")[0]["state"] == "signing"


def test_world_readable_is_78(sh):
    sh("secret-constants", "--view")
    sh.file.path.chmod(0o644)

    _, said = sh("secret-constants", "--view", code=78)
    assert "chmod 600" in said
    found, _ = sh("secret-constants", "--view", "--json", code=78)
    assert found["error"]["code"] == "misconfigured"


# -- link decode -----------------------------------------------------------------------------------


def metadata_of(sh: Shell, **stores) -> Metadata:
    return Metadata(sh.file.ensure(), clock=lambda: MESSAGE.tagged_at, **stores)


def test_decode_a_stateless_link_and_a_retired_key_s(sh):  # 7F 14, 15
    issued = metadata_of(sh).issue(Storage.STATELESS, MESSAGE, [LINK])
    url = f"https://links.example.com/click?{issued.link_tokens[0][1]}&utm=1"

    found, _ = sh("link", "decode", url, "--json")
    assert found["message"]["email"] == "anna@example.org"
    assert found["link"]["url"] == LINK.url
    assert (found["storage"], found["signed_by"], found["resolved"]) == (
        "stateless",
        "signing",
        True,
    )
    assert "anna@example.org" in sh("link", "decode", url)[0]

    first = sh.file.load().fingerprint
    sh("secret-constants", "rotate")
    sh("secret-constants", "retire", first)
    assert sh("link", "decode", url, "--json")[0]["signed_by"] == "retired"
    sh.file.path.unlink()
    _, said = sh("link", "decode", url, code=1)
    assert "bad MAC" in said


def test_decode_a_local_link_and_a_bounce_address(sh):
    store = LocalStore(sh.data / "metadata.sqlite")
    issued = metadata_of(sh, local=store).issue(Storage.LOCAL, MESSAGE, [LINK])
    store.close()

    found, _ = sh("link", "decode", f"http://d/click?{issued.link_tokens[0][1]}", "--json")
    assert found["link"]["url"] == LINK.url
    bounce, _ = sh("link", "decode", f"bounce+{issued.bounce_token.upper()}@d", "--json")
    assert bounce["message"]["email"] == "anna@example.org"
    assert bounce["bounce"]["tagged_day"] == "2026-11-24"


@pytest.mark.parametrize(
    "text",
    ["", "https://example.com/", "https://d/click?junk", "bounce@d", "bounce+x@d", "\x1b[31m"],
)
def test_decode_junk(sh, text):
    _, said = sh("link", "decode", text, code=1)
    assert said
    assert "\x1b" not in said


# -- metadata --------------------------------------------------------------------------------------


def configured(sh: Shell, dsn: str) -> Path:
    path = sh.data.parent / "sendback.toml"
    path.write_text(
        'external_metadata_event_tracking_database = "meta"\n'
        f'[[database_connection]]\nname = "meta"\ntype = "postgres"\ndsn = "{dsn}"\n'
    )
    return path


@pytest.mark.postgres
def test_metadata_from_the_command_line(sh, postgres_server: Postgres):  # S4.11, S4.18
    dsn = postgres_server.new_database()
    config = configured(sh, dsn)
    missing, _ = sh("metadata", "status", "--json", config=config, code=3)
    assert missing["databases"]["primary"]["reachable"]
    assert sh("metadata", "init", "--json", config=config)[0]["made"]
    assert not sh("metadata", "init", "--json", config=config)[0]["made"]
    assert sh("metadata", "status", "--json", config=config)[0]["databases"]["primary"]["table"]

    store = ExternalStore(dsn, clock=lambda: 1_577_880_000)
    url = "https://d/click?" + metadata_of(sh, external=store).issue(
        Storage.EXTERNAL, MESSAGE, [LINK]
    ).link_tokens[0][1]  # fmt: skip
    store.close()
    assert sh("link", "decode", url, "--json", config=config)[0]["resolved"]
    prune = ("metadata", "prune", "--older-than", "90d", "--json")
    assert sh(*prune, "--dry-run", config=config)[0]["rows"] == 3
    assert sh(*prune, config=config)[0]["rows"] == 3
    found, _ = sh("link", "decode", url, "--json", config=config)
    assert not found["resolved"]
    assert found["reason"]
    assert len(found["row"]) == 36


@pytest.mark.postgres
def test_a_recipient_is_erased_from_both_stores(sh, postgres_server: Postgres):  # W17
    dsn = postgres_server.new_database()
    config = configured(sh, dsn)
    sh("metadata", "init", config=config)
    store, local = ExternalStore(dsn), LocalStore(sh.data / "metadata.sqlite")
    metadata = metadata_of(sh, external=store, local=local)
    personal = LinkFacts(url="https://example.com/u?e=Anna%40example.org", pos=1)
    metadata.issue(Storage.EXTERNAL, MESSAGE, [LINK, personal])
    metadata.issue(Storage.LOCAL, MESSAGE, [LINK])
    metadata.close()
    sh("db", "upgrade", config=config)

    erased, _ = sh("recipient", "erase", "ANNA@example.org", "--yes", "--json", config=config)
    assert erased["metadata"] == 1
    assert erased["external_metadata"] == 2  # her message, and the link that names her
    name = dsn.partition("dbname=")[2].split()[0]
    left = postgres_server.execute("select data::text from ga_tracking_data", name)
    assert len(left) == 2
    assert "nna" not in str(left)


def test_the_schema_is_printed_without_a_database(sh):
    assert sh("metadata", "init", "--print")[0] == external_table.SCHEMA


def test_a_connection_that_a_directive_names_stays(sh, monkeypatch):
    """Without it the node would not start again."""
    sh("database-connection", "add", "Meta", "--hostname", "127.0.0.1", "--database", "m")
    monkeypatch.setenv("SENDBACK_EXTERNAL_METADATA_EVENT_TRACKING_DATABASE", "meta")
    _, said = sh("database-connection", "remove", "Meta", code=1)
    assert "is used by external_metadata_event_tracking_database" in said

    monkeypatch.delenv("SENDBACK_EXTERNAL_METADATA_EVENT_TRACKING_DATABASE")
    sh("database-connection", "remove", "Meta")


def test_a_running_node_takes_keys_at_its_next_reload(sh):
    """A change under a running node is said to need a reload: it goes on with what it has."""
    first = sh.file.ensure().fingerprint[:8]
    assert "SIGHUP" not in sh("secret-constants", "rotate")[1]
    status = sh.data / "control" / "status" / "web-1.json"
    status.parent.mkdir(parents=True)
    status.write_text(json.dumps({"part": "web", "pid": os.getpid()}))

    pair = ("--constant1", TWO, "--constant2", ONE)
    for words in (("add",), ("promote", first), ("rotate",), ("retire", first), pair):
        assert "SIGHUP to `sendback serve`" in sh("secret-constants", *words)[1]
    for words in (("--view",), ("list",), ("fingerprint",)):
        assert "SIGHUP" not in sh("secret-constants", *words)[1]


def test_no_database_is_configured(sh):
    _, said = sh("metadata", "init", code=78)
    assert "external_metadata_event_tracking_database is not set" in said


def test_a_database_that_does_not_answer(sh):
    config = configured(sh, "host=127.0.0.1 port=1 dbname=x user=y")
    found, _ = sh("metadata", "status", "--json", config=config, code=1)
    assert found["databases"]["primary"]["reason"]
    sh("metadata", "prune", "--older-than", "90d", config=config, code=1)


@pytest.mark.parametrize("age", ["0d", "soon", "-1d", "90"])
def test_ages_that_are_none(sh, age):  # 7F 19
    sh("metadata", "prune", "--older-than", age, code=2)


def test_local_pruning(sh):
    store = LocalStore(sh.data / "metadata.sqlite", clock=lambda: 1_577_880_000)
    message = MessageFacts(email="a@b.c", tagged_at=1_577_880_000)
    metadata_of(sh, local=store).issue(Storage.LOCAL, message, [LINK])
    store.close()
    words = ("metadata", "prune", "--storage", "local", "--older-than", "90d", "--json")

    assert sh(*words, "--dry-run")[0]["rows"] == 2
    assert sh(*words)[0]["rows"] == 2
    assert sh("metadata", "status", "--json")[0]["local"]["messages"] == 0
