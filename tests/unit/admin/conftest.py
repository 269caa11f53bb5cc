"""A node's admin application for each test."""

import shutil
import uuid

import pytest
from argon2 import PasswordHasher

from fixtures.api import AdminNode
from sendback.database import accounts, upgrade
from sendback.database.engine import Database
from sendback.eventlog import EventLog
from sendback.model import Click, Open


@pytest.fixture
def real_hashes():
    """Passwords are hashed as in a running node."""


@pytest.fixture
def quick_hashes(request, monkeypatch):
    """Passwords cost nothing, but in tests that ask for `real_hashes`; argon2id all the same."""
    if "real_hashes" not in request.fixturenames:
        quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        monkeypatch.setattr(accounts, "_hasher", quick)


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A main database with all tables, to be copied."""
    folder = tmp_path_factory.mktemp("template")
    database = Database.in_directory(folder)
    upgrade.upgrade(database)
    database.close()
    return folder / "sendback.sqlite"


@pytest.fixture
def node(tmp_path, template, quick_hashes):
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
    node = AdminNode(tmp_path, log)
    yield node
    node.database.close()
    log.close()
