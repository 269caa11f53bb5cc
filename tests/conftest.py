"""What every test stands on: a clean environment, and honest skips.

A test marked with an outside program is skipped where that program is missing, and the run says so
in one line at its end; where CI is set such a skip is a failure, because CI installs everything.
"""

import os
import shutil
from pathlib import Path

import pytest

from fixtures.postgres import postgres_dsn, postgres_server  # noqa: F401 - fixtures for every test

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"


def _missing_postgres() -> str | None:
    packaged = list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = packaged or shutil.which("initdb")
    return None if found else "PostgreSQL's server programs"


def _missing_program(*names: str):
    def missing() -> str | None:
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        return None if any(shutil.which(name, path=path) for name in names) else names[0]

    return missing


def _missing_postfix() -> str | None:
    if os.geteuid() != 0:
        return "root (for Postfix)"
    return None if Path("/usr/sbin/postfix").exists() else "Postfix"


MISSING = {
    "postgres": _missing_postgres,
    "mta": _missing_postfix,
    "nginx": _missing_program("nginx"),
    "nats": _missing_program("nats-server"),
    "browser": _missing_program("chromium", "chromium-browser", "google-chrome"),
    "strace": _missing_program("strace"),
}


def pytest_configure(config: pytest.Config) -> None:
    for name in list(os.environ):
        if name.startswith("SENDBACK_"):
            del os.environ[name]
    config.stash[_LACKS] = {}


_LACKS = pytest.StashKey[dict[str, int]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    lacks = config.stash[_LACKS]
    missing = {marker: probe() for marker, probe in MISSING.items()}
    for item in items:
        for marker, what in missing.items():
            if what and item.get_closest_marker(marker):
                lacks[what] = lacks.get(what, 0) + 1
                item.add_marker(pytest.mark.skip(reason=f"needs {what}"))
        if item.get_closest_marker("corpus") and not CORPUS.is_dir():
            item.add_marker(pytest.mark.skip(reason="the shared corpus is not beside the checkout"))


def pytest_terminal_summary(terminalreporter, exitstatus, config: pytest.Config) -> None:
    lacks = config.stash[_LACKS]
    if lacks:
        told = ", ".join(f"{what} ({count} tests)" for what, count in sorted(lacks.items()))
        terminalreporter.write_line(f"Skipped for want of: {told}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if os.environ.get("CI") and session.config.stash[_LACKS] and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The shared corpus; a test that uses it carries the marker `corpus`."""
    return CORPUS
