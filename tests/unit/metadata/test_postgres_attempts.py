"""Connection strings: one attempt a host, in order, and nothing of them in an error."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from sendback.errors import Misconfigured
from sendback.metadata.postgres import attempts, conninfo_of
from sendback.model import DatabaseConnection


def tried(dsn: str, **options: bool) -> list[tuple[str, ...]]:
    found = [conninfo_to_dict(conninfo) for conninfo in attempts(dsn, **options)]
    assert {one["application_name"] for one in found} == {"sendback"}
    return [
        tuple(str(one[k]) for k in ("host", "port", "target_session_attrs") if k in one)
        for one in found
    ]


def test_one_host():
    assert tried("host=a port=5433 dbname=x") == [("a", "5433", "any")]
    assert tried("dbname=x", writes=True) == [("any",)]
    assert tried("postgresql://u:p%40ss@a:1/x") == [("a", "1", "any")]


def test_several_hosts():  # G8
    assert tried("host=a,b port=1,2") == [("a", "1", "any"), ("b", "2", "any")]
    assert tried("host=a,b port=1", writes=True) == [
        ("a", "1", "read-write"), ("b", "1", "read-write"),
    ]  # fmt: skip
    assert tried("host=a,b target_session_attrs=prefer-standby") == [
        ("a", "standby"), ("b", "standby"), ("a", "any"), ("b", "any"),
    ]  # fmt: skip
    assert tried("host=a,b target_session_attrs=primary", writes=True)[0] == ("a", "primary")


@pytest.mark.parametrize(
    "dsn", ["host=a,b port=1,2,3", "nonsense=1", "host='open", "postgresql://["]
)
def test_what_is_none_is_misconfigured_and_not_shown(dsn):
    with pytest.raises(Misconfigured):
        attempts(dsn + " password=SECRET")
    with pytest.raises(Misconfigured) as caught:
        attempts(f"{dsn} password=SECRET")
    assert "SECRET" not in str(caught.value)


def test_a_catalog_object():
    plain = DatabaseConnection(
        name="m", hostname="h", port=1, database="d", username="u", password="p' w", ssl=True
    )
    assert conninfo_to_dict(conninfo_of(plain)) == {
        "host": "h", "port": "1", "dbname": "d", "user": "u", "password": "p' w",
        "sslmode": "require",
    }  # fmt: skip
    assert conninfo_of(DatabaseConnection(name="m", dsn="host=h dbname=d")) == "host=h dbname=d"
