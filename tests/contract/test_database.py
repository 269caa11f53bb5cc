"""The main database's contract, on SQLite and on a real Postgres."""

import hashlib
import shutil
import threading
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from fixtures.postgres import postgres_server, running_postgres, wait_until  # noqa: F401
from sendback.bounces import Counting, CountingRules, Recovery
from sendback.database import audit, pruning, schema, upgrade
from sendback.database.catalog import CatalogStore
from sendback.database.counts import BounceCounts
from sendback.database.engine import Database
from sendback.database.figures import Figures
from sendback.database.kinds import KINDS
from sendback.database.statistics import Statistics
from sendback.database.suppression import Suppressed, Suppression
from sendback.errors import Conflict, Malformed, Misconfigured, NotFound, Unavailable
from sendback.model import (
    BounceAll,
    BounceBadAddress,
    BounceMailbox,
    Catalog,
    Click,
    Complaint,
    DatabaseConnection,
    Destination,
    MailClass,
    Open,
    Unsubscribe,
    UrlDomain,
)
from sendback.model.bounce import Bounce

DAY = 86_400_000
NOW_MS = 1_790_000_000_000
DOMAIN, CLASS, MAILBOX = KINDS["url_domain"], KINDS["mail_class"], KINDS["bounce_mailbox"]


class Logged(msgspec.Struct):
    seq: int
    type: str
    time_ms: int
    event_id: str
    body: bytes


def logged(kind, seq, *, time_ms=NOW_MS, **fields):
    event = kind(
        event_time=time_ms // 1000,
        event_time_ms=time_ms,
        event_unique_id=f"id-{seq}",
        seq=seq,
        **{"email": "ann@a.example", "listid": "news", "sendid": "s1", **fields},
    )
    return Logged(seq, kind.__struct_config__.tag, time_ms, f"id-{seq}", msgspec.json.encode(event))


BACK_ENDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


def on_server(server, name):
    return Database(f"postgresql://postgres@127.0.0.1:{server.port}/{name}")


@pytest.fixture(params=BACK_ENDS)
def empty(request, tmp_path):
    """A database without any table."""
    if request.param == "sqlite":
        found = Database.in_directory(tmp_path)
    else:
        server = request.getfixturevalue("postgres_server")
        found = on_server(server, server.new_database().split("dbname=")[1].split()[0])
    yield found
    found.close()


@pytest.fixture(scope="module")
def templates(request, tmp_path_factory):
    """Upgraded databases to be copied, made on first use."""
    return {}


@pytest.fixture(params=BACK_ENDS)
def database(request, templates, tmp_path, tmp_path_factory):
    """A database with all tables, a copy of one that was upgraded."""
    if request.param == "sqlite":
        if "sqlite" not in templates:
            folder = tmp_path_factory.mktemp("template")
            upgrade_and_close(Database.in_directory(folder))
            templates["sqlite"] = folder / "sendback.sqlite"
        shutil.copy(templates["sqlite"], tmp_path)
        found = Database.in_directory(tmp_path)
    else:
        server = request.getfixturevalue("postgres_server")
        if "postgres" not in templates:
            templates["postgres"] = "sendback_template"
            server.execute("create database sendback_template")
            upgrade_and_close(on_server(server, "sendback_template"))
        name = f"copy{len(templates)}"
        templates[name] = name
        server.execute(f"create database {name} template sendback_template")
        found = on_server(server, name)
    yield found
    found.close()


def upgrade_and_close(database):
    upgrade.upgrade(database)
    database.close()


@pytest.fixture
def store(database):
    return CatalogStore(database, clock=lambda: 1_790_000_000.0)


def rows(database, sql):
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(sa.text(sql))]


class TestMigrations:
    def test_they_make_exactly_the_schema(self, empty, request):
        upgrade.upgrade(empty)
        migrated = described(empty)
        with empty.write() as connection:
            schema.metadata.drop_all(connection)
        with empty.write() as connection:
            schema.metadata.create_all(connection)

        assert described(empty) == migrated
        assert len(migrated) > 40

    def test_the_last_revision_is_the_scripts_head(self):
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(upgrade.scripts()))
        scripts = list(ScriptDirectory.from_config(config).walk_revisions())

        assert tuple(one.revision for one in reversed(scripts)) == schema.REVISIONS

    def test_several_may_upgrade_at_once(self, empty):
        failures = []

        def run():
            own = Database(empty.url)
            try:
                upgrade.upgrade(own)
            except BaseException as error:  # noqa: BLE001 - reported below
                failures.append(error)
            finally:
                own.close()

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert failures == []
        assert upgrade.current(empty) == schema.REVISIONS[-1]
        upgrade.check(empty)

    def test_an_empty_database_is_refused_with_the_command(self, empty):
        with pytest.raises(Misconfigured) as caught:
            upgrade.check(empty)

        assert "sendback db upgrade" in (caught.value.hint or "")

    def test_a_newer_one_is_refused_and_left_alone(self, database):
        with database.write() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

        for refuse in (upgrade.check, upgrade.upgrade):
            with pytest.raises(Misconfigured, match="9999"):
                refuse(database)
        assert upgrade.current(database) == "9999"

    def test_the_seeds_tables_have_the_seeds_columns(self, database):  # S4.2
        with database.read() as connection:
            found = {
                table: {
                    one["name"]: str(one["type"]).replace('COLLATE "C"', "").strip()
                    for one in sa.inspect(connection).get_columns(table)
                }
                for table in ("clickthrough_clicks", "clickthrough_urls")
            }

        assert found == {
            "clickthrough_clicks": {
                "id": "INTEGER",
                "urlid": "INTEGER",
                "clicktime": "INTEGER",
                "emailaddress": "VARCHAR",
                "html_or_text": "CHAR(1)",
                "email_code": "INTEGER",
                "email_code_text": "VARCHAR",
            },
            "clickthrough_urls": {
                "id": "INTEGER",
                "sendid": "VARCHAR(100)",
                "listid": "VARCHAR(100)",
                "url": "TEXT",
            },
        }


def described(database):
    """Every table, column and index as the database itself tells them."""
    if database.is_sqlite:
        sql = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'alembic%'"
        found = rows(database, sql)
        return sorted((name, "".join((text or "").split())) for name, text in found)
    columns = rows(
        database,
        "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable,"
        " column_default FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name <> 'alembic_version'",
    )
    indexes = rows(
        database,
        "SELECT indexname, indexdef FROM pg_indexes"
        " WHERE schemaname = 'public' AND tablename <> 'alembic_version'",
    )
    constraints = rows(
        database,
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND conname NOT LIKE 'alembic%'",
    )
    return sorted(map(str, [*columns, *indexes, *constraints]))


class TestCatalog:
    def test_built_ins_stand_until_the_first_object_of_their_kind(self, store):
        assert [item.domain for item in store.load().url_domains] == ["localhost"]

        store.add(DOMAIN, UrlDomain(domain="Links.Example."), actor="ann")
        catalog = store.load()

        assert [item.domain for item in catalog.url_domains] == ["links.example"]
        assert [item.name for item in catalog.mail_classes] == ["default"]

    def test_the_files_objects_win_and_are_read_only(self, database):
        in_file = Catalog(url_domains=(UrlDomain(domain="a.example", tls=True),))
        CatalogStore(database).add(DOMAIN, UrlDomain(domain="a.example"), actor="ann")
        CatalogStore(database).add(DOMAIN, UrlDomain(domain="b.example"), actor="ann")
        store = CatalogStore(database, file_catalog=in_file)

        assert [(item.domain, item.tls) for item in store.load().url_domains] == [
            ("a.example", True),
            ("b.example", False),
        ]
        assert store.get(DOMAIN, "A.example").origin == "file"
        for change in (
            lambda: store.add(DOMAIN, UrlDomain(domain="a.example"), actor="ann"),
            lambda: store.change(DOMAIN, "a.example", {"tls": False}, actor="ann"),
            lambda: store.replace(DOMAIN, UrlDomain(domain="a.example"), actor="ann"),
            lambda: store.remove(DOMAIN, "a.example", actor="ann"),
        ):
            with pytest.raises(Conflict, match="configuration file"):
                change()

    def test_every_change_moves_the_version(self, store):
        versions = [store.version()]
        store.add(DOMAIN, UrlDomain(domain="a.example"), actor="ann")
        versions.append(store.version())
        store.change(DOMAIN, "a.example", {"tls": True}, actor="ann")
        versions.append(store.version())
        store.override("https://wrong.example/", "https://right.example/", actor="ann")
        versions.append(store.version())
        store.remove(DOMAIN, "a.example", actor="ann")
        versions.append(store.load().version)

        assert versions == sorted(set(versions))

    def test_of_two_operators_one_learns_that_he_was_late(self, store):
        read = store.add(DOMAIN, UrlDomain(domain="a.example"), actor="ann")
        store.change(DOMAIN, "a.example", {"tls": True}, actor="ann", expected=read.version)

        with pytest.raises(Conflict, match="somebody else"):
            store.change(DOMAIN, "a.example", {"default": True}, actor="bob", expected=read.version)
        item = store.get(DOMAIN, "a.example").item
        assert (item.tls, item.default) == (True, False)

    def test_changes_at_once_lose_nothing(self, store):
        store.add(CLASS, MailClass(name="news"), actor="ann")
        fields = ["track_clicks", "track_opens", "unsubscribe_links", "honeypot_link", "cfbl"]
        threads = [
            threading.Thread(
                target=store.change, args=(CLASS, "news", {field: True}), kwargs={"actor": field}
            )
            for field in fields
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        item = store.get(CLASS, "news").item
        assert [getattr(item, field) for field in fields] == [True] * 5

    def test_there_is_one_default(self, store):
        store.add(DOMAIN, UrlDomain(domain="a.example", default=True), actor="ann")
        store.add(DOMAIN, UrlDomain(domain="b.example", default=True), actor="ann")

        assert [item.domain for item in store.load().url_domains if item.default] == ["b.example"]

    def test_link_base_follows_tls_only_where_it_was_derived(self, store):
        store.add(DOMAIN, UrlDomain(domain="a.example"), actor="ann")
        own = UrlDomain(domain="b.example", link_base="http://b.example:8080")
        store.add(DOMAIN, own, actor="ann")
        for name in ("a.example", "b.example"):
            store.change(DOMAIN, name, {"tls": True}, actor="ann")

        assert store.get(DOMAIN, "a.example").item.link_base == "https://a.example"
        assert store.get(DOMAIN, "b.example").item.link_base == "http://b.example:8080"

    def test_names_are_one_in_any_case(self, store):
        store.add(CLASS, MailClass(name="News"), actor="ann")

        with pytest.raises(Conflict):
            store.add(CLASS, MailClass(name="NEWS"), actor="ann")
        assert store.get(CLASS, "news").item.name == "News"
        store.remove(CLASS, "nEWS", actor="ann")

    def test_what_is_named_must_be_there_and_stays(self, store):
        with pytest.raises(Malformed) as caught:
            store.add(CLASS, MailClass(name="news", url_domain="no.example"), actor="ann")
        assert caught.value.field == "url_domain"
        with pytest.raises(Malformed):
            store.add(CLASS, MailClass(name="news", bounce_mailbox="b@no.example"), actor="ann")

        store.add(MAILBOX, BounceMailbox(address="b@in.example"), actor="ann")
        store.add(CLASS, MailClass(name="news", bounce_mailbox="b@in.example"), actor="ann")
        with pytest.raises(Conflict, match="mail class news"):
            store.remove(MAILBOX, "b@in.example", actor="ann")

    def test_a_sending_server_may_name_a_bounce_mailbox_elsewhere(self, database):  # S0.6
        store = CatalogStore(database, validate_bounce_address=False)
        store.add(CLASS, MailClass(name="news", bounce_mailbox="b@far.example"), actor="ann")

        assert store.get(CLASS, "news").item.bounce_mailbox == "b@far.example"

    def test_masked_secrets_come_back_unchanged(self, store):
        kind = KINDS["database_connection"]
        store.add(kind, DatabaseConnection(name="x", database="d", password="p4ss"), actor="ann")
        shown = kind.plain(store.get(kind, "x").item)
        store.change(kind, "x", {**shown, "port": 6432}, actor="ann")

        item = store.get(kind, "x").item
        assert (shown["password"], item.password, item.port) == ("********", "p4ss", 6432)

    def test_a_row_that_only_an_older_version_let_in_is_named_and_can_be_removed(
        self, store, database
    ):
        """Found by trying: no command worked any more, and none said which object it was."""
        kind = KINDS["destination"]
        for name in ("one", "two"):
            hook = Destination(name=name, type="webhook", url="https://x.example:443/")
            store.add(kind, hook, actor="ann")
        with database.write() as connection:
            connection.execute(
                sa.text("update catalog_objects set body = replace(body, '443', '99999')")
            )

        with pytest.raises(Misconfigured, match="destination 'one' in the main") as told:
            store.load()
        assert "sendback destination remove one" in told.value.hint
        for name in ("one", "two"):
            store.remove(kind, name, actor="ann")
        assert store.load().destinations == ()

    def test_every_change_is_in_the_audit_log_without_secrets(self, store, database):
        kind = KINDS["destination"]
        hook = Destination(
            name="h", type="webhook", url="https://x.example", secret="s3cret", headers={"A": "t0k"}
        )
        store.add(kind, hook, actor="ann")
        store.change(kind, "h", {"gzip": True}, actor="bob")
        store.remove(kind, "h", actor="eve")
        store.block("bad.example", actor="eve")

        found = audit.entries(database)
        assert [(one.actor, one.action, one.name) for one in found] == [
            ("eve", "block", "bad.example"),
            ("eve", "remove", "h"),
            ("bob", "set", "h"),
            ("ann", "add", "h"),
        ]
        assert (found[2].before["gzip"], found[2].after["gzip"]) == (False, True)
        dump = repr(found)
        assert "s3cret" not in dump
        assert "t0k" not in dump

    def test_links_are_mended_and_blocked(self, store):
        long_url = "https://wrong.example/" + "x" * 6000
        store.override(long_url, "https://right.example/?a=1", actor="ann")
        store.override("Link-7", "https://seven.example/", actor="ann")
        store.override("Link-7", "https://eight.example/", actor="ann")
        store.block("Bad.Example", actor="ann")
        catalog = store.load()

        assert catalog.overrides == {
            long_url: "https://right.example/?a=1",
            "Link-7": "https://eight.example/",
        }
        assert catalog.blocks == ("bad.example",)
        store.lift("block", "bad.example", actor="ann")
        store.lift("override", "Link-7", actor="ann")
        assert store.load().blocks == ()
        with pytest.raises(NotFound):
            store.lift("block", "bad.example", actor="ann")

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "javascript:alert(1)",
            "/there",
            "https://",
            "data:,x",
            "http://[",
            "http://a b",
            "http://a\nb",
        ],
    )
    def test_an_override_is_a_web_address(self, store, url):
        with pytest.raises(Malformed):
            store.override("https://a.example/", url, actor="ann")


class TestStatistics:
    def test_the_seeds_own_query_counts_opens(self, database):  # S4.2, with urlid where it is meant
        statistics = Statistics(database, "me")
        statistics.consume(
            [
                logged(Open, 1, sendid="mm100525"),
                logged(Open, 2, sendid="mm100525"),
                logged(Click, 3, sendid="mm100525", click_url="https://x.example/"),
            ]
        )

        found = rows(
            database,
            "SELECT emailaddress, clicktime, html_or_text FROM clickthrough_clicks WHERE urlid ="
            " (SELECT id FROM clickthrough_urls WHERE sendid = 'mm100525' AND url = '')",
        )
        assert found == [("ann@a.example", NOW_MS // 1000, "h")] * 2

    def test_one_row_for_a_campaigns_link_whatever_follows_the_question_mark(
        self, database
    ):  # S4.5
        statistics = Statistics(database, "me")
        urls = ["https://x.example/p?u=1", "https://x.example/p?u=2", "https://x.example/q/3"]
        statistics.consume([logged(Click, i, click_url=url) for i, url in enumerate(urls, 1)])

        found = rows(database, "SELECT url FROM clickthrough_urls ORDER BY url")
        assert found == [("https://x.example/p",), ("https://x.example/q/3",)]

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("10", 10),
            ("-7", -7),
            ("007", 7),
            ("2147483647", 2147483647),
            ("2147483648", None),
            ("99999999999999999999", None),
            ("1.0", None),
            ("a|b", None),
            ("\u0663", None),
            ("", None),
        ],
    )
    def test_the_tracking_id_as_number_where_it_is_one(self, database, text, code):  # S4.3
        Statistics(database, "me").consume([logged(Open, 1, click_tracking_id=text)])

        found = rows(database, "SELECT email_code, email_code_text FROM clickthrough_clicks")
        assert found == [(code, text or None)]

    def test_a_batch_given_twice_counts_once(self, database):
        statistics = Statistics(database, "me")
        batch = [logged(Open, 1), logged(Click, 2, click_url="https://x.example/")]
        statistics.consume(batch)

        assert statistics.consume([*batch, logged(Open, 3)]) == 3
        assert Statistics(database, "me").consume(batch) == 2
        assert statistics.cursor() == 3
        [send] = Figures(database).send("s1")
        assert (send["opens_human"], send["clicks_human"]) == (2, 1)

    def test_what_is_old_is_forgotten_and_totals_stay(self, database, monkeypatch):
        monkeypatch.setattr(pruning, "_CHUNK", 2)
        statistics = Statistics(database, "me")
        names = [f"{i}@x.example" for i in range(5)]
        statistics.consume([logged(Open, i + 1, email=name) for i, name in enumerate(names)])
        late = NOW_MS + 10 * DAY
        statistics.consume([logged(Open, 6, time_ms=late), logged(Open, 7, time_ms=late)])
        before = NOW_MS // 1000 + 86_400

        assert pruning.prune_statistics(database, before=before, chunks=1) == 5
        assert pruning.prune_statistics(database, before=before) == 6
        assert pruning.prune_statistics(database, before=before) == 0
        assert rows(database, "SELECT count(*) FROM clickthrough_clicks") == [(2,)]
        assert rows(database, "SELECT count(*) FROM stats_seen") == [(1,)]
        assert rows(database, "SELECT opens_human FROM stats_hours") == [(2,)]
        [send] = Figures(database).send("s1")
        assert (send["opens_human"], send["opens_unique"]) == (7, 6)
        statistics.consume([logged(Open, 8, email=names[0], time_ms=late)])
        assert Figures(database).send("s1")[0]["opens_unique"] == 7

    def test_nodes_have_a_cursor_each_and_add_up(self, database):
        for node in ("one", "two"):
            Statistics(database, node).consume([logged(Open, 1, email=f"{node}@x.example")])

        [send] = Figures(database).send("s1")
        assert (send["opens_human"], send["opens_unique"]) == (2, 2)

    def test_nodes_at_once_add_up(self, database):
        def run(node):
            statistics = Statistics(database, node)
            for seq in range(1, 21):
                fields = {"click_url": f"https://x.example/{seq % 3}", "sendid": f"s{seq % 2}"}
                statistics.consume([logged(Click, seq, **fields)])

        threads = [threading.Thread(target=run, args=(node,)) for node in ("a", "b", "c")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        figures = Figures(database)
        sends = figures.sends()
        assert sum(send["clicks_human"] for send in sends) == 60
        assert [send["clicks_unique"] for send in sends] == [1, 1]
        assert sum(link["clicks_human"] for link in figures.links("s0")) == 30

    def test_people_and_machines_totals_and_uniques(self, database):
        clicks = [
            ("ann@a.example", True),
            ("ann@a.example", False),
            ("ann@a.example", False),
            ("bob@b.example", True),
        ]
        Statistics(database, "me").consume(
            [
                logged(Click, i, email=email, is_bot=is_bot, click_url="https://x.example/")
                for i, (email, is_bot) in enumerate(clicks, 1)
            ]
        )

        [send] = Figures(database).send("S1")
        [link] = Figures(database).links("s1")
        for row in (send, link):
            names = ("clicks_human", "clicks_machine", "clicks_unique", "clicks_unique_human")
            assert [row[name] for name in names] == [2, 2, 2, 1]

    def test_uniques_hold_over_batches(self, database):
        statistics = Statistics(database, "me")
        for seq, is_bot in enumerate([True, True, False, False], 1):
            statistics.consume([logged(Open, seq, is_bot=is_bot)])

        [send] = Figures(database).send("s1")
        assert (send["opens_unique"], send["opens_unique_human"]) == (1, 1)

    def test_links_with_link_ids_are_tracked_apart(self, database):  # S4.20
        Statistics(database, "me").consume(
            [
                logged(Click, 1, click_url="https://x.example/", link_id="top"),
                logged(Click, 2, click_url="https://x.example/", link_id="end"),
                logged(Click, 3, click_url="https://x.example/", link_id="end"),
                logged(Unsubscribe, 4, click_url="https://x.example/u"),
                logged(Unsubscribe, 5),
            ]
        )

        figures = Figures(database)
        found = [
            (r["url"], r["link_id"], r["clicks_human"], r["unsubs"]) for r in figures.links("s1")
        ]
        assert found == [
            ("https://x.example/", "end", 2, 0),
            ("https://x.example/", "top", 1, 0),
            ("https://x.example/u", "", 0, 1),
        ]
        assert figures.send("s1")[0]["unsubs"] == 2

    def test_links_nobody_clicked_are_listed(self, database):
        statistics = Statistics(database, "me")
        links = [("s1", "news", "https://x.example/a?b=1"), ("s1", "news", "https://x.example/c")]
        for _ in range(2):
            statistics.copy_links(links, source="store-1", up_to=2)
        statistics.consume([logged(Click, 1, click_url="https://x.example/c")])

        found = [(row["url"], row["clicks_human"]) for row in Figures(database).links("s1")]
        assert found == [("https://x.example/c", 1), ("https://x.example/a", 0)]
        assert (statistics.links_cursor("store-1"), statistics.links_cursor("store-2")) == (2, 0)

    def test_bounces_complaints_domains_and_hours(self, database):
        bounce = {"bounce_type": "h", "bounce_code": 10, "bounce_reason": "userunknown"}
        Statistics(database, "me").consume(
            [
                logged(BounceAll, 1, **bounce),
                logged(BounceBadAddress, 2, **bounce),
                logged(BounceAll, 3, email="bob@B.example", bounce_type="s"),
                logged(Complaint, 4, email="bob@b.example", time_ms=NOW_MS + 3_600_000),
            ]
        )

        figures = Figures(database)
        [send] = figures.send("s1")
        names = ("bounces_hard", "bounces_soft", "bounces_other", "bad_addresses", "complaints")
        assert [send[name] for name in names] == [1, 1, 0, 1, 1]
        assert [
            (row["bounce_type"], row["bounce_code"], row["bounce_reason"], row["bounces"])
            for row in figures.bounces("s1")
        ] == [("s", None, "", 1), ("h", 10, "userunknown", 1)]
        assert [
            (row["domain"], row["bounces"], row["complaints"]) for row in figures.domains("s1")
        ] == [("b.example", 1, 1), ("a.example", 1, 0)]
        assert [(row["bounces"], row["complaints"]) for row in figures.hours("s1")] == [
            (2, 0),
            (0, 1),
        ]
        assert (send["first_ms"], send["last_ms"]) == (NOW_MS, NOW_MS + 3_600_000)
        assert len(figures.hours_of(["s1"], since_hour=0)) == 2

    def test_hostile_values_stop_nothing(self, database):
        statistics = Statistics(database, "me")
        statistics.consume(
            [
                logged(Click, 1, click_url="https://x.example/" + "a" * 8000, link_id="l" * 300),
                logged(Open, 2, sendid="s" * 500, listid="l" * 500, email="\0@\0"),
                logged(BounceAll, 3, bounce_code=2**40, bounce_type="hh", bounce_reason="r" * 99),
                logged(Open, 4, time_ms=2**50, click_tracking_id="a\0b"),
                Logged(5, "engine_open", 0, "x", b"{"),
                logged(Click, 6, click_url="https://x.example/'); drop table users; --"),
            ]
        )

        assert statistics.cursor() == 6
        assert len(Figures(database).sends()) == 2

    def test_sends_come_in_pages(self, database):
        Statistics(database, "me").consume(
            [logged(Open, i, sendid=f"send{i}", time_ms=NOW_MS + i % 3) for i in range(1, 8)]
        )
        figures = Figures(database)
        found, place = [], None
        while page := figures.sends(limit=2, after=place):
            found += [row["sendid"] for row in page]
            place = (page[-1]["last_ms"], page[-1]["sendid"], page[-1]["listid"])

        assert found == ["send5", "send2", "send7", "send4", "send1", "send6", "send3"]
        assert [row["sendid"] for row in figures.sends(search="D7")] == ["send7"]
        assert figures.sends(search="%") == []
        with pytest.raises(NotFound):
            figures.send("nothing")


class TestSuppression:
    def test_events_feed_it_but_scanners_do_not(self, database):
        suppression = Suppression(database, "me")
        suppression.consume(
            [
                logged(Complaint, 1, email="Bob@B.example"),
                logged(Unsubscribe, 2, email="eve@e.example", agent_class="scanner", is_bot=True),
                logged(Unsubscribe, 3, email="ann@a.example"),
                logged(BounceAll, 4, email="zed@z.example"),
                logged(BounceBadAddress, 5, email="kim@k.example", bounce_text="no such user"),
                logged(Unsubscribe, 6, email="pre@v.example", agent_class="prefetch", is_bot=True),
            ]
        )

        def suppressed(email, listid="news"):
            return suppression.is_suppressed(email, listid)

        assert suppressed("bob@b.example")
        assert suppressed("ANN@a.example", "NEWS")
        assert suppressed("kim@k.example")
        assert not suppressed("bob@b.example", "other")
        assert not suppressed("eve@e.example")
        assert not suppressed("pre@v.example"), "a link preview is no person either"
        assert not suppressed("zed@z.example")
        assert suppression.cursor() == 6

    def test_only_a_removal_for_bouncing_gives_way(self, database):
        suppression = Suppression(database, "me")
        suppression.consume([logged(BounceBadAddress, 1), logged(Unsubscribe, 2)])
        suppression.consume([logged(BounceBadAddress, 3)])

        assert [one.reason for one in suppression.check("ann@a.example")] == ["engine_unsub"]

    def test_what_was_taken_off_does_not_come_back_by_a_replay(self, database):
        suppression = Suppression(database, "me")
        batch = [logged(Complaint, 1)]
        suppression.consume(batch)
        suppression.remove("Ann@a.example", actor="ann")
        suppression.consume(batch)

        assert suppression.check("ann@a.example") == []
        with pytest.raises(NotFound):
            suppression.remove("ann@a.example", actor="ann")

    def test_by_hand_for_every_list(self, database):
        suppression = Suppression(database, "me", clock=lambda: 5.0)
        suppression.add([Suppressed(email=" ann@a.example ")], actor="ann")

        assert suppression.is_suppressed("ann@a.example", "any")
        [entry] = suppression.check("ann@a.example")
        assert (entry.reason, entry.listid, entry.time_ms) == ("manual", "", 5000)
        for wrong in ("", "ann", "@a.example", "ann@", "a nn@a.example", "a" * 400 + "@x.example"):
            with pytest.raises(Malformed):
                suppression.add([Suppressed(email=wrong)], actor="ann")

    def test_pages_hold_each_entry_once(self, database):
        suppression = Suppression(database, "me")
        emails = {f"u{i}@d{i % 2}.example" for i in range(25)}
        suppression.add(
            [Suppressed(email=email, time_ms=7) for email in sorted(emails)], actor="ann"
        )
        found, place = suppression.page(limit=10)
        while place:
            page, place = suppression.page(limit=10, after=place)
            found += page

        assert len(found) == 25
        assert {one.email for one in found} == emails == {one.email for one in suppression.export()}
        assert len(suppression.page(domain="D1.example")[0]) == 12
        assert suppression.page(reason="scomp")[0] == []

    def test_the_wish_outlives_the_address(self, database):  # W17
        suppression = Suppression(database, "me")
        suppression.consume([logged(Unsubscribe, 1)])
        suppression.erase("ANN@a.example")

        assert "ann" not in str(rows(database, "SELECT * FROM suppressions"))
        assert suppression.is_suppressed("ann@a.example", "news")
        suppression.consume([logged(Complaint, 2)])
        assert "ann" not in str(rows(database, "SELECT * FROM suppressions"))


class TestCounting:
    @pytest.fixture
    def counting(self, database):
        return Counting(BounceCounts(database, "me"), CountingRules(), clock=lambda: NOW_MS / 1000)

    def bounce(self, counting, at_day, reason="mailboxfull", record=None, email="ann@a.example"):
        time_ms = NOW_MS + int(at_day * DAY)
        record_id = hashlib.sha256(str(record or (at_day, reason, email)).encode()).digest()[:16]
        dead = reason in {"userunknown", "hostunknown", "suspend"}
        kind = "h" if dead else "s"
        bounce = Bounce(
            email=email, listid="news", reason=reason, bounce_type=kind, hard=dead,
            bad_address=dead, time_ms=time_ms, record_id=record_id,
        )  # fmt: skip
        return counting.count([bounce])[0]

    def test_a_dead_address_is_one_at_once(self, counting):  # S0.19
        assert self.bounce(counting, 0, "userunknown")

    def test_number_and_span_must_both_be_reached(self, counting):
        assert [self.bounce(counting, day) for day in (0, 1, 2, 3, 4, 5)] == [False] * 6
        assert [self.bounce(counting, day) for day in (20.9, 21, 22)] == [False, True, True]

    def test_a_replayed_record_gets_its_answer_again(self, counting):
        first = [self.bounce(counting, 30, record=i) for i in range(7)]
        again = [self.bounce(counting, 30, record=i) for i in range(7)]
        reached = self.bounce(counting, 0, record="early")

        assert first == again == [False] * 7
        assert reached
        assert self.bounce(counting, 0, record="early")
        assert not self.bounce(counting, 30, record=3)

    def test_each_recipient_of_one_report_counts(self, counting):
        for email in ("ann@a.example", "bob@b.example"):
            for day in (0, 3):
                answer = self.bounce(counting, day, "hostunknown", record=f"dsn{day}", email=email)
            assert answer

    def test_silence_starts_anew(self, counting):
        assert not self.bounce(counting, 0, "hostunknown")
        assert not self.bounce(counting, 61, "hostunknown")
        assert self.bounce(counting, 63, "hostunknown")

    def test_blocks_are_never_counted(self, counting, database):
        answers = [self.bounce(counting, day, "spamdetected") for day in range(100)]

        assert not any(answers)
        assert rows(database, "SELECT count(*) FROM bounce_answers") == [(0,)]

    def test_a_later_open_starts_anew_an_earlier_or_a_scanners_does_not(self, counting):
        self.bounce(counting, 0, "hostunknown")
        counting.consume(
            [
                logged(Open, 1, time_ms=NOW_MS - 1),
                logged(Click, 2, time_ms=NOW_MS + DAY, is_bot=True),
                logged(Open, 3, time_ms=NOW_MS + DAY, email="other@a.example"),
            ]
        )
        assert self.bounce(counting, 3, "hostunknown")

        counting.consume([logged(Open, 4, time_ms=NOW_MS + 4 * DAY, email="ANN@a.example")])
        assert not self.bounce(counting, 5, "hostunknown")
        counting.alive("ann@a.example", NOW_MS + 6 * DAY)
        assert not self.bounce(counting, 8, "hostunknown")
        assert counting.cursor() == 4

    def test_nodes_that_share_the_database_count_together(self, database):  # S0.21
        one, two = (
            Counting(BounceCounts(Database(database.url), name), CountingRules())
            for name in ("one", "two")
        )
        assert not self.bounce(one, 0, "hostunknown")
        assert self.bounce(two, 3, "hostunknown")
        for node in (one, two):
            node._counts._database.close()

    def test_pruning_drops_only_what_starts_anew(self, counting, database):
        self.bounce(counting, -1, "hostunknown")
        self.bounce(counting, -200, "hostunknown", email="old@a.example")
        counting.prune()

        assert rows(database, "SELECT count(*) FROM bounce_counts") == [(1,)]
        assert rows(database, "SELECT count(*) FROM bounce_answers") == [(1,)]
        assert self.bounce(counting, 2, "hostunknown")

    def test_recovery_lists_and_undoes(self, database, counting):
        suppression = Suppression(database, "me")
        texts = ["550 alias gone", "550 alias gone", "552 full", "550 ALIAS"]
        people = ["a@v.example", "b@v.example", "c@v.example", "d@other.example"]
        suppression.consume(
            [
                logged(BounceBadAddress, i, email=email, bounce_text=text, time_ms=NOW_MS + i)
                for i, (email, text) in enumerate(zip(people, texts, strict=True), 1)
            ]
        )
        suppression.consume([logged(Unsubscribe, 9, email="b@v.example")])
        recovery = Recovery(suppression)
        span = {"start_ms": NOW_MS, "end_ms": NOW_MS + 100}

        def listed(**filters):
            return [one.email[0] for one in recovery.list(**span, **filters)]

        assert listed() == ["a", "c", "d"]
        assert listed(domain="V.example") == ["a", "c"]
        assert listed(bounce_regexp="alias") == ["a", "d"]
        assert listed(only=[("A@v.example", None), ("c@v.example", "other")]) == ["a"]
        assert recovery.list(start_ms=0, end_ms=NOW_MS) == []
        with pytest.raises(Malformed):
            listed(bounce_regexp="(")

        self.bounce(counting, 0, "hostunknown", email="a@v.example")
        found = recovery.list(**span, bounce_regexp="alias")
        seen = []
        assert recovery.reactivate(found, actor="ann", progress=lambda *at: seen.append(at)) == 2
        assert recovery.reactivate(found, actor="ann") == 0
        assert seen == [(2, 2)]
        assert listed() == ["c"]
        assert suppression.is_suppressed("b@v.example", "news")
        assert not self.bounce(counting, 3, "hostunknown", email="a@v.example")


@pytest.mark.postgres
class TestOutage:
    def test_down_is_unavailable_and_passes(self):
        with running_postgres() as server:
            database = Database(f"postgresql://postgres@127.0.0.1:{server.port}/postgres")
            upgrade.upgrade(database)
            counting = Counting(BounceCounts(database, "me"), CountingRules())
            statistics = Statistics(database, "me")
            bounce = TestCounting().bounce
            statistics.consume([logged(Open, 1)])
            server.stop("fast")  # keeps what was committed, also without fsync
            try:
                with pytest.raises(Unavailable):
                    database.ping()
                with pytest.raises(Unavailable):
                    statistics.consume([logged(Open, 2)])
                with pytest.raises(Unavailable):
                    bounce(counting, 0, "hostunknown")
                assert bounce(counting, 0, "userunknown")
            finally:
                server.start()

            wait_until(lambda: statistics.consume([logged(Open, 2)]) == 2)
            assert not bounce(counting, 1, "hostunknown")
            database.close()


def test_a_url_that_is_none_is_a_configuration_error():
    for url in ("nonsense", "mysql://x/y", "oracle://"):
        with pytest.raises(Misconfigured):
            Database(url)


def test_an_unusable_file_is_unavailable(tmp_path: Path):
    (tmp_path / "sendback.sqlite").mkdir()

    with pytest.raises(Unavailable):
        Database.in_directory(tmp_path).ping()
