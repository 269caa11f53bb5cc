"""The catalog file: whole or old, never half; and cheap to ask for."""

import os
import stat
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sendback.database.snapshot import SnapshotFile, read_snapshot, write_snapshot
from sendback.model import Catalog, MailClass, Storage, UrlDomain
from sendback.model.catalog import built_in


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def path(tmp_path):
    return tmp_path / "catalog.snapshot"


def test_a_change_is_seen_after_a_second(path):
    clock = Clock()
    write_snapshot(path, built_in(8080))
    file = SnapshotFile(path, clock=clock)
    assert file.current() == built_in(8080)

    changed = Catalog(version=3, url_domains=(UrlDomain(domain="a.example", tls=True),))
    write_snapshot(path, changed)
    clock.now = 0.9
    assert file.current() == built_in(8080)
    clock.now = 1.0
    assert file.current() == changed


def test_unchanged_files_are_not_read_again(path):
    clock = Clock()
    write_snapshot(path, built_in(8080))
    file = SnapshotFile(path, clock=clock)
    first = file.current()
    clock.now = 5.0

    assert file.current() is first


@pytest.mark.parametrize(
    "broken", [b"", b"\xc1", b"{}", b"\x81\xa7version\x01\x00", os.urandom(500)]
)
def test_a_broken_file_leaves_the_old_catalog_and_one_line(path, caplog, broken):
    clock = Clock()
    write_snapshot(path, built_in(8080))
    file = SnapshotFile(path, clock=clock)
    before = file.current()
    path.write_bytes(broken)
    for clock.now in (1.0, 2.0, 3.0):
        assert file.current() is before
    path.unlink()
    clock.now = 4.0

    assert file.current() is before
    assert len(caplog.records) == 1


def test_without_a_file_there_is_the_fallback(path):
    assert SnapshotFile(path).current() == Catalog()
    assert SnapshotFile(path, fallback=built_in(1)).current() == built_in(1)


def test_nobody_else_may_read_it(path):
    write_snapshot(path, built_in(8080))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


@given(
    st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=5),
    st.lists(st.sampled_from(list(Storage)), max_size=3),
)
@settings(max_examples=50)
def test_what_was_written_is_read(tmp_path_factory, overrides, storages):
    path = tmp_path_factory.getbasetemp() / "property.snapshot"
    classes = tuple(
        MailClass(name="c" * (i + 2), event_tracking_metadata_storage=storage)
        for i, storage in enumerate(storages)
    )
    catalog = Catalog(version=7, mail_classes=classes, overrides=overrides)
    write_snapshot(path, catalog)

    assert read_snapshot(path) == catalog


def test_reading_it_imports_no_database():
    code = (
        "import sys, sendback.database.snapshot, sendback.database.kinds;"
        "print([m for m in sys.modules if m.split('.')[0] in"
        " ('sqlalchemy', 'psycopg', 'pydantic', 'alembic', 'sqlite3')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
