"""The API does what its OpenAPI document says, whatever is sent (schemathesis, all checks).

Over HTTP, against a real node. Its worker does not run: nothing is delivered to the destinations
that are made up here.
"""

import itertools
import json
import urllib.request
import uuid

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck
from schemathesis.specs.openapi.checks import positive_data_acceptance
from urllib3.util import connection

from fixtures.node import running_node
from sendback.eventlog import EventLog
from sendback.model import Open


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    data = tmp_path_factory.mktemp("api") / "data"
    data.mkdir()
    log = EventLog(data / "events.sqlite")
    log.append([Open(event_unique_id=str(uuid.UUID(int=1)), event_time=1, event_time_ms=1000)])
    log.close()
    with running_node(data, arguments=["--only", "admin,submission"]) as running:
        yield running


# Rules over several fields, or over other objects, that a schema can't tell.
BEYOND_SCHEMA = (
    "is not valid JSON",
    "link_base is http",
    "this is no tracking URL",
    "name the URL or the link id",
    "name a host or a SendID",
    "there is no mail class",
    "no mail class is called",
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
    "only a webhook takes several batches",
    "is no usable HTTP header",
    "is set by sendback itself",
    "goes on in base64",
    "a secret needs a key",
    "give the password of the new url",
    "give either since or after",
)


@pytest.fixture
def many_clients(monkeypatch):
    """Each connection comes from an address of its own: wrong keys are counted by address."""
    plain, numbers = connection.create_connection, itertools.count(1)

    def create(address, *arguments, **options):
        number = next(numbers)
        options["source_address"] = (f"127.1.{number >> 8}.{number & 255}", 0)
        return plain(address, *arguments, **options)

    monkeypatch.setattr(connection, "create_connection", create)


def operations(node):
    schema = schemathesis.openapi.from_url(f"{node.admin}/api/v1/openapi.json")
    # Following does not end by itself; its own tests are in tests/unit/admin.
    for result in schema.exclude(path="/events/follow").get_all_operations():
        yield result.ok()


def test_every_operation_keeps_to_its_document(node, many_clients):
    made = json.loads(node.cli("api-key", "create", "t", "--scope", "admin", "--json").stdout)
    headers = {"Authorization": f"Bearer {made['key']}"}
    problems, tried = [], 0
    for operation in operations(node):

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(
            max_examples=8,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        def keeps(case):
            nonlocal tried
            tried += 1
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

    assert problems == [], "\n".join(problems)
    assert tried > 350
    assert "the API failed" not in node.log()
    again = urllib.request.Request(f"{node.admin}/api/v1/status", headers=headers)
    with urllib.request.urlopen(again, timeout=10) as answer:
        assert answer.status == 200
