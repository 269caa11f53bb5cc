"""A node's admin application for each test."""

import shutil
import uuid

import pytest

from fixtures.api import AdminNode
from sendback.database import upgrade
from sendback.database.engine import Database
from sendback.eventlog import EventLog
from sendback.model import Click, Open


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
    node = AdminNode(tmp_path, log)
    yield node
    node.database.close()
    log.close()
