"""What a visitor is told when the databases know a part of what the token stands for.

The databases are played here: what they hold, and whether they answer. Real ones, and how long all
of it may take, stand in tests/contract/test_metadata_external.py.
"""

import queue

import msgspec
import pytest

from sendback.errors import NotFound, Unavailable
from sendback.metadata.cache import RowCache
from sendback.metadata.external_reading import ExternalFetch, ExternalReader
from sendback.metadata.external_rows import (
    as_uuid4,
    link_row,
    message_row,
    number_of_row,
    row_id_of,
)
from sendback.model import LinkFacts, MessageFacts
from sendback.secret_constants import Keyring
from sendback.tokens import Opened, Version

KEY = Keyring.from_constants(bytes(range(32)), bytes(range(32, 64))).signing
LINK = LinkFacts(url="https://example.com/", pos=1)
MESSAGE = MessageFacts(email="anna@example.org", sendid="s20261124", tagged_at=1_795_514_400)
LINK_ROW = link_row(LINK, "", "", "2026-11-24")
NUMBER = number_of_row(KEY, LINK_ROW, LINK)
LINK_ID, MESSAGE_ID = row_id_of(KEY, NUMBER), as_uuid4(bytes(16))
TOKEN = Opened(Version.EXTERNAL, KEY, MESSAGE_ID + NUMBER)
ROWS = {
    LINK_ID: msgspec.json.encode(LINK_ROW),
    MESSAGE_ID: msgspec.json.encode(message_row(MESSAGE)),
}


class Played:
    """A database that holds these rows, or is down."""

    def __init__(self, *held: bytes, is_down: bool = False) -> None:
        self.held = held
        self.is_down = is_down

    def run(self, _statement, parameter, _deadline, **_options):
        if self.is_down:
            raise Unavailable("down")
        asked = [bytes.fromhex(text) for text in parameter.decode().strip("{}").split(",")]
        return [(row_id, b"\1" + ROWS[row_id]) for row_id in asked if row_id in self.held]


def reader_of(primary: Played, failover: Played | None = None) -> ExternalReader:
    return ExternalReader(
        primary,  # type: ignore[arg-type]
        failover,  # type: ignore[arg-type]
        connections=1,
        cached_rows=100,
        deadline=60.0,
    )


def told(reader: ExternalReader, *, with_message: bool) -> object:
    answers: queue.SimpleQueue[object] = queue.SimpleQueue()
    found = reader.find(TOKEN)
    assert isinstance(found, ExternalFetch)
    try:
        found.start(lambda *known: answers.put(known), answers.put, with_message=with_message)
        return answers.get(timeout=20)
    finally:
        reader.close()


def test_the_message_comes_along_when_it_is_asked_for():
    assert told(reader_of(Played(LINK_ID, MESSAGE_ID)), with_message=True) == (LINK, MESSAGE)
    assert told(reader_of(Played(LINK_ID, MESSAGE_ID)), with_message=False) == (LINK, None)


@pytest.mark.parametrize(
    ("primary", "failover"),
    [
        (Played(is_down=True), Played(LINK_ID)),  # a failover that lags
        (Played(LINK_ID), Played(is_down=True)),
        (Played(LINK_ID), None),  # pruned, or erased
    ],
)
def test_a_link_that_is_known_leads_on_whatever_became_of_its_message(primary, failover):
    for _ in range(2):
        assert told(reader_of(primary, failover), with_message=True) == (LINK, None)


def test_a_message_that_was_unknown_a_moment_ago_costs_nobody_the_link():
    reader = reader_of(Played(LINK_ID))
    with pytest.raises(NotFound):
        reader.resolve(TOKEN)
    reader.links = RowCache(100)

    assert told(reader, with_message=True) == (LINK, None)


def test_without_the_link_s_row_there_is_nowhere_to_go():
    assert isinstance(told(reader_of(Played(MESSAGE_ID)), with_message=True), NotFound)
    down = told(reader_of(Played(is_down=True)), with_message=True)
    assert isinstance(down, Unavailable)
