"""What the REST API works with: plain callables and stores, handed in by whoever builds it.

Parts that are None are not on this node: their endpoints answer 503.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sendback.database.catalog import CatalogStore
from sendback.database.consumer import StoredEvent
from sendback.database.engine import Database


class TaggedLink(Protocol):
    """A URL that was replaced."""

    @property
    def url(self) -> str: ...  # noqa: D102
    @property
    def tracked(self) -> str: ...  # noqa: D102
    @property
    def link_id(self) -> str | None: ...  # noqa: D102
    @property
    def universal(self) -> bool: ...  # noqa: D102


class TaggedMessage(Protocol):
    """A message as it would be sent."""

    @property
    def message(self) -> bytes: ...  # noqa: D102
    @property
    def mail_from(self) -> str: ...  # noqa: D102
    @property
    def links(self) -> Sequence[TaggedLink]: ...  # noqa: D102
    @property
    def skipped(self) -> str | None: ...  # noqa: D102


class Rewrite(Protocol):
    """`Tagging.tag`: Malformed for a mail class that does not exist."""

    def __call__(  # noqa: D102
        self, message: bytes, rcpt: str, *, mail_from: str | None, mail_class: str | None
    ) -> TaggedMessage: ...


class Submit(Protocol):
    """Hands a message to submission for one recipient; its SMTP answer. Unavailable."""

    def __call__(  # noqa: D102
        self, message: bytes, mail_from: str, rcpt: str
    ) -> tuple[int, str]: ...


class EventLog(Protocol):
    """`sendback.eventlog.EventLog`, read only, as far as it is needed here."""

    def read(  # noqa: D102
        self,
        after_seq: int,
        limit: int,
        *,
        types: Sequence[str] | None = None,
        since_ms: int | None = None,
        email: str | None = None,
    ) -> Sequence[StoredEvent]: ...
    def last_seq(self) -> int: ...  # noqa: D102
    def seq_at(self, time_ms: int) -> int: ...  # noqa: D102


class Deliveries(Protocol):
    """The run-time side of destinations. Each: NotFound for a destination that is not there."""

    def statuses(self) -> Sequence[dict[str, Any]]:
        """Every consumer: name, state, backlog, attempts, dead letters."""

    def attempts(
        self, name: str, limit: int, *, failed_only: bool = False
    ) -> Sequence[dict[str, Any]]:
        """The newest attempts with their answers; `failed_only`: those that did not deliver."""

    def test(self, name: str) -> dict[str, Any]:
        """Deliver one made-up event now: {"ok", "status", "answer", "duration_ms"}."""

    def set_state(self, name: str, state: str) -> None:
        """`paused` or `active`."""

    def replay(self, name: str, *, since_ms: int | None, after: int | None) -> int:
        """Deliver what happened since then, or is after that seq, again; how many events.

        Neither: everything that is kept.
        """

    def dead_letters(self, name: str | None, after: int, limit: int) -> Sequence[dict[str, Any]]:
        """Dead letters by id, oldest first."""

    def retry(self, ids: Sequence[int]) -> int:
        """Try these again now; how many. NotFound for a letter or destination not there."""

    def drop(self, ids: Sequence[int]) -> int:
        """Delete these for good; how many."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything the endpoints call."""

    database: Database
    store: CatalogStore
    server_id: str
    status: Callable[[], dict[str, Any]]
    parse_bounce: Callable[[bytes], dict[str, Any]]
    decode_link: Callable[[str], dict[str, Any]]
    check_path: Callable[[str], object] | None = None
    """Malformed for an ndjson path that the API may not name."""
    events: EventLog | None = None
    deliveries: Deliveries | None = None
    rewrite: Rewrite | None = None
    submit: Submit | None = None
    checks: Callable[[], Sequence[dict[str, Any]]] | None = None
    stopping: Callable[[], bool] = lambda: False
    """True once this process was told to end: followers are let go."""
