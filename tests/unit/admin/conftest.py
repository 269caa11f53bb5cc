"""A node's admin application on a real database, without any process."""

import json
import shutil
import uuid

import pytest
from flask import Flask

from sendback.admin.api import Services, mount
from sendback.admin.auth import Access, add_login_pages
from sendback.database import upgrade
from sendback.database.accounts import Accounts
from sendback.database.catalog import CatalogStore
from sendback.database.engine import Database
from sendback.errors import NotFound, Unavailable
from sendback.eventlog import EventLog
from sendback.model import Catalog, Click, Open, UrlDomain


class Clock:
    """Seconds that pass when the test says so."""

    now = 1_790_000_000.0

    def __call__(self):
        return self.now


class Tagged:
    message = b"tagged"
    mail_from = "bounce+x@localhost"
    links = ()
    skipped = None


class Deliveries:
    """Remembers what was asked."""

    def __init__(self):
        self.asked = []

    def statuses(self):
        return [{"name": "hook", "backlog": 0}]

    def attempts(self, name, limit):
        return [{"consumer": name, "outcome": "delivered"}][:limit]

    def test(self, name):
        return {"ok": True, "status": 200, "answer": "", "duration_ms": 1}

    def set_state(self, name, state):
        self.asked.append((name, state))

    def replay(self, name, since_ms):
        self.asked.append((name, since_ms))
        return 7

    def dead_letters(self, name, after, limit):
        return [{"id": i, "consumer": name or "hook"} for i in range(after + 1, 6)][:limit]

    def retry(self, ids):
        if any(one > 5 for one in ids):
            raise NotFound("there is no such dead letter")
        return len(ids)

    def drop(self, ids):
        return len(ids)


class Node:
    """The application, its parts, and a client."""

    def __init__(self, path, events):
        self.clock = Clock()
        self.database = Database.in_directory(path)
        self.accounts = Accounts(self.database, clock=self.clock)
        self.access = Access(self.accounts, b"s" * 32, clock=self.clock)
        in_file = Catalog(url_domains=(UrlDomain(domain="file.example"),))
        self.store = CatalogStore(self.database, file_catalog=in_file)
        self.deliveries = Deliveries()
        self.submitted = []
        self.app = Flask("sendback.admin")
        services = Services(
            database=self.database,
            store=self.store,
            server_id="me",
            status=lambda: {"problems": []},
            parse_bounce=lambda raw: {"kind": "other", "size": len(raw)},
            decode_link=lambda url: {"url": url},
            events=events,
            deliveries=self.deliveries,
            rewrite=lambda message, rcpt, *, mail_from, mail_class: Tagged(),
            submit=self.submit,
        )
        add_login_pages(self.app, self.access)
        mount(self.app, services, self.access)
        self.keys = {
            scope: self.accounts.create_key(scope, [scope], actor="test")[0]
            for scope in ("read", "messages", "operate", "admin")
        }

    def submit(self, message, mail_from, rcpt):
        self.submitted.append((message, mail_from, rcpt))
        if rcpt.startswith("down"):
            raise Unavailable("submission does not answer")
        return (550, "5.1.1 no") if rcpt.startswith("no") else (250, "2.0.0 ok")

    def call(self, method, path, body=None, *, scope="admin", **headers):
        """(status, JSON, headers) of an API call with the key of this scope."""
        sent = {"Authorization": f"Bearer {self.keys[scope]}"} if scope else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        more = {}
        if body is not None:
            more = {"data": json.dumps(body), "content_type": "application/json"}
        answer = self.app.test_client().open(f"/api/v1{path}", method=method, headers=sent, **more)
        found = json.loads(answer.data) if answer.data and answer.is_json else answer.data
        return answer.status_code, found, answer.headers


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A main database with all tables, to be copied."""
    folder = tmp_path_factory.mktemp("template")
    database = Database.in_directory(folder)
    upgrade.upgrade(database)
    database.close()
    return folder / "sendback.sqlite"


@pytest.fixture
def node(tmp_path, template):
    shutil.copy(template, tmp_path)
    log = EventLog(tmp_path / "events.sqlite")
    common = {"event_time": 1, "event_time_ms": 1000, "sendid": "s1", "listid": "news"}
    log.append(
        [
            Open(event_unique_id=str(uuid.UUID(int=i)), email="ann@a.example", **common)
            for i in range(3)
        ]
        + [
            Click(
                event_unique_id=str(uuid.UUID(int=9)),
                email="bob@b.example",
                click_url="x",
                **common,
            )
        ]
    )
    node = Node(tmp_path, log)
    yield node
    node.database.close()
    log.close()
