"""The API does what its OpenAPI document says, whatever is sent (schemathesis, all checks).

In process and on a real SQLite database and event log; what hands mail or events over is played.
"""

import shutil
import uuid

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck
from schemathesis.specs.openapi.checks import positive_data_acceptance

from fixtures.api import AdminNode
from sendback.database import upgrade
from sendback.database.engine import Database
from sendback.eventlog import EventLog
from sendback.model import Open


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A node whose clock stands still, so that keys and throttles do not tire."""
    folder = tmp_path_factory.mktemp("node")
    database = Database.in_directory(folder)
    upgrade.upgrade(database)
    database.close()
    log = EventLog(folder / "events.sqlite")
    log.append([Open(event_unique_id=str(uuid.UUID(int=1)), event_time=1, event_time_ms=1000)])
    node = AdminNode(folder, log)
    yield node
    node.database.close()
    log.close()
    shutil.rmtree(folder)


# Rules over several fields, or over other objects, that a schema can't tell.
BEYOND_SCHEMA = (
    "is not valid JSON",
    "there is no mail class",
    "there is no URL domain",
    "there is no bounce mailbox",
    "needs a database, or a dsn",
    "give either dsn or hostname",
    "a dsn may set",
    "'fixed' needs a sendid",
    "expire in the past",
    "can't be renamed",
    "a webhook's url begins with",
    "is not a host name",
    "may allow private networks",
    "a file written by the node lies under",
)


def operations(app):
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)
    # Following does not end by itself; its own tests are in tests/unit/admin.
    for result in schema.exclude(path="/events/follow").get_all_operations():
        yield result.ok()


def test_every_operation_keeps_to_its_document(played):
    headers = {"Authorization": f"Bearer {played.keys['admin']}"}
    problems, tried = [], 0
    for operation in operations(played.app):

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(
            max_examples=12,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        def keeps(case):
            nonlocal tried
            tried += 1
            played.access._keys._failures.clear()  # no check is to be answered 429
            response = case.call(headers=headers)
            is_beyond = response.status_code == 412 or (
                response.status_code == 422
                and any(text in response.json()["detail"] for text in BEYOND_SCHEMA)
            )
            case.validate_response(
                response,
                headers=headers,
                excluded_checks=[positive_data_acceptance] if is_beyond else [],
            )

        try:
            keeps()
        except (AssertionError, BaseExceptionGroup) as error:
            problems.append(f"{operation.label}: {error}")

    assert problems == []
    assert tried > 500
