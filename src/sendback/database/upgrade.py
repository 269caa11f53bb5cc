"""Bringing the main database to the tables this program needs, and refusing one it can't use.

Forward only. Any number of processes may upgrade at once: one does the work, the others wait
(advisory lock on Postgres, a lock file beside an SQLite file) and find it done.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from sendback.database.engine import Database
from sendback.database.schema import REVISIONS
from sendback.errors import Misconfigured

#: Names our advisory lock among those of other programs in the same database.
_LOCK = 0x73656E646261636B


def current(database: Database) -> str:
    """The revision the database is at; "" for an empty one, or a file that is not there yet."""
    if database.is_sqlite and not Path(database.url.database or "").exists():
        return ""
    exists = (
        "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
        if database.is_sqlite
        else "SELECT to_regclass('alembic_version')"
    )
    with database.read() as connection:
        if connection.execute(sa.text(exists)).scalar() is None:
            return ""
        found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return found or ""


def check(database: Database) -> None:
    """Return when the tables are those this program needs; else Misconfigured says what to do."""
    at = current(database)
    if at == REVISIONS[-1]:
        return
    if at and at not in REVISIONS:
        raise _newer(at)
    raise Misconfigured(
        f"the main database is {f'at revision {at}' if at else 'empty'}, {REVISIONS[-1]} is needed",
        place="database_url",
        hint="run `sendback db upgrade`",
    )


def upgrade(database: Database) -> str:
    """Bring the tables up to date and return the revision; a database that is so is untouched.

    Misconfigured when the database was upgraded by a newer program; Unavailable when it is down.
    """
    at = current(database)
    if at == REVISIONS[-1]:
        return at
    if at and at not in REVISIONS:
        raise _newer(at)
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    with _alone(database), database.write() as connection:
        if not database.is_sqlite:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return current(database)


def scripts() -> Path:
    """The folder with Alembic's scripts: inside an installed package, else of the checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "migrations", here.parents[2] / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise Misconfigured("the migration scripts are missing", hint="install sendback again")


@contextmanager
def _alone(database: Database) -> Iterator[None]:
    path = database.url.database
    if not database.is_sqlite or not path or path == ":memory:":
        yield
        return
    with Path(f"{path}.upgrade-lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Path(path).touch(mode=0o600)  # it holds addresses and password hashes
        yield


def _newer(at: str) -> Misconfigured:
    return Misconfigured(
        f"the main database is at revision {at}, which this sendback ({REVISIONS[-1]}) is too old"
        " for",
        place="database_url",
        hint="upgrade sendback on this server",
    )
