"""What the REST API works with, from the parts of a node: plain callables and stores."""

from __future__ import annotations

import os
import re
import smtplib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from sendback.bootstrap.core import Core
from sendback.errors import NotFound, SendbackError, Unavailable

if TYPE_CHECKING:
    from sendback.bootstrap.readings import ConsumerReading
    from sendback.database.accounts import Accounts
    from sendback.database.catalog import CatalogStore
    from sendback.eventlog import DeadLetter, EventLog
    from sendback.model import Destination

_SUBMISSION_SECONDS = 120.0


def api_parts(
    core: Core,
    *,
    status: Callable[[], dict[str, Any]],
    readings: Callable[[], Sequence[ConsumerReading]],
) -> dict[str, Any]:
    """The arguments of `sendback.admin.api.Services`; nothing is opened before it is used."""
    from sendback.database.catalog import CatalogStore
    from sendback.sinks.build import ndjson_path

    address = os.environ.get("SENDBACK_CHILD_SUBMISSION", "")
    settings = core.settings
    # Not `core.catalog_store`: the admin port starts while the main database is down. Whether its
    # schema fits was asked when the node started.
    store = CatalogStore(
        core.database,
        file_catalog=settings.file_catalog,
        web_port=core.web_port,
        validate_bounce_address=settings.simplemh_validate_bounce_address,
        named_connections=settings.named_connections,
    )
    return {
        "database": core.database,
        "store": store,
        "server_id": core.settings.server_id,
        "status": status,
        "parse_bounce": parsed_bounce,
        "check_path": lambda url: ndjson_path(url, core.path, is_from_file=False),
        "decode_link": lambda url: decoded_link(core, url),
        "events": core.event_log(),
        "deliveries": NodeDeliveries(core, store, readings),
        "rewrite": core.tagging_by(core.snapshot).tag,
        "submit": submitting(address) if address else None,
        "checks": lambda: checked(core),
    }


def accounts_of(core: Core) -> Accounts:
    """Users, sessions, API keys. The database is asked at the first use, not now."""
    from sendback.database.accounts import Accounts

    return Accounts(core.database)


def first_invitation(core: Core) -> str | None:
    """The path of the link that makes the first administrator; None once there is a user.

    None too while the main database is down: the next start prints it.
    """
    try:
        secret = accounts_of(core).first_invitation()
    except SendbackError:
        return None
    finally:
        core.database.close()
    return None if secret is None else f"/welcome?invitation={secret}"


def checked(core: Core) -> list[dict[str, Any]]:
    """What the node finds when it looks at itself and its peers."""
    from sendback.bootstrap.checking import check_node

    found: list[dict[str, Any]] = msgspec.to_builtins(check_node(core))
    return found


def parsed_bounce(raw: bytes) -> dict[str, Any]:
    """What a returned message is, and every step of the verdict."""
    from sendback.reports import as_prediction, parse

    report = parse(raw)
    return {**as_prediction(report), "explain": list(report.explain)}


def decoded_link(core: Core, url: str) -> dict[str, Any]:
    """What a tracking URL or bounce address holds; Forged, Malformed."""
    from sendback.metadata.description import describe

    found = describe(core.metadata(writes=False, include_retired=True), url)
    values: dict[str, Any] = msgspec.to_builtins(found)
    return values


def submitting(address: str) -> Callable[[bytes, str, str], tuple[int, str]]:
    """Hands a message to the submission port for one recipient, and returns its answer."""
    host, _, port = address.rpartition(":")

    def submit(message: bytes, mail_from: str, rcpt: str) -> tuple[int, str]:
        text = re.sub(rb"\r?\n", b"\r\n", message)
        is_ascii = mail_from.isascii() and rcpt.isascii()
        options = ["BODY=8BITMIME", *([] if is_ascii else ["SMTPUTF8"])]
        try:
            with smtplib.SMTP(host.strip("[]"), int(port), timeout=_SUBMISSION_SECONDS) as client:
                client.ehlo()
                code, answer = client.mail(mail_from, options)
                if code < 400:
                    code, answer = client.rcpt(rcpt)
                if code < 400:
                    code, answer = client.data(text)
        except smtplib.SMTPDataError as error:
            return error.smtp_code, _text(error.smtp_error)
        except (OSError, smtplib.SMTPException) as error:
            raise Unavailable("submission does not answer") from error
        return code, _text(answer)

    return submit


def _text(answer: bytes | str) -> str:
    return answer if isinstance(answer, str) else answer.decode("utf-8", "replace")


class NodeDeliveries:
    """The run-time side of destinations, as `sendback.admin.api.services.Deliveries` asks."""

    def __init__(
        self,
        core: Core,
        store: CatalogStore,
        readings: Callable[[], Sequence[ConsumerReading]],
    ) -> None:
        self._core = core
        self._store = store
        self._readings = readings
        self._opened: EventLog | None = None

    @property
    def _log(self) -> EventLog:
        if self._opened is None:
            self._opened = self._core.event_log(readonly=False)
        return self._opened

    def statuses(self) -> Sequence[dict[str, Any]]:
        """Every consumer of the event log."""
        return [
            {name: getattr(one, name) for name in one.__dataclass_fields__}
            for one in self._readings()
        ]

    def attempts(
        self, name: str, limit: int, *, failed_only: bool = False
    ) -> Sequence[dict[str, Any]]:
        """The newest attempts."""
        found = self._log.deliveries.attempts(name, limit, failed_only=failed_only)
        return [one._asdict() for one in found]

    def test(self, name: str) -> dict[str, Any]:
        """Deliver one made-up event now."""
        from sendback.bootstrap.working import delivery_of
        from sendback.delivery import made_up_event

        found = self._destination(name)
        is_from_file = found in self._core.settings.file_catalog.destinations
        delivery = delivery_of(found, self._log, self._core.path, is_from_file=is_from_file)
        began = time.monotonic()
        try:
            outcome = delivery.test(made_up_event(self._core.settings.server_id, time.time()))
        finally:
            delivery.close()
        return {
            "ok": outcome.result.value == "delivered",
            "result": outcome.result.value,
            "status": outcome.status,
            "answer": outcome.answer,
            "duration_ms": round((time.monotonic() - began) * 1000),
        }

    def set_state(self, name: str, state: str) -> None:
        """Pause or resume."""
        reason = "paused by an operator" if state == "paused" else ""
        self._log.deliveries.set_state(self._destination(name).name, state, reason)

    def replay(self, name: str, *, since_ms: int | None, after: int | None) -> int:
        """Move the cursor back to that time or seq; how many events that is."""
        before, seq = self._log.replay(self._destination(name).name, since_ms=since_ms, after=after)
        return before - seq

    def dead_letters(self, name: str | None, after: int, limit: int) -> Sequence[dict[str, Any]]:
        """Dead letters, the oldest first."""
        found = self._log.deliveries.dead_letters(name, after=after, limit=limit)
        return [_shown(letter) for letter in found]

    def retry(self, ids: Sequence[int]) -> int:
        """Try these again now; NotFound when one is not there, or its destination."""
        letters = [self._letter(one) for one in ids]
        for name in {letter.consumer for letter in letters} - {"finishing"}:
            self._destination(name)
        return self._log.deliveries.retry_dead_letters(letters)

    def drop(self, ids: Sequence[int]) -> int:
        """Delete these for good."""
        return self._log.deliveries.drop_dead_letters(ids)

    def _letter(self, number: int) -> DeadLetter:
        found = self._log.deliveries.dead_letters(after=number - 1, limit=1)
        if not found or found[0].id != number:
            raise NotFound(f"there is no dead letter {number}")
        return found[0]

    def _destination(self, name: str) -> Destination:
        for found in self._store.load().destinations:
            if found.name == name:
                return found
        raise NotFound(f"there is no destination {name!r}")


def _shown(letter: DeadLetter) -> dict[str, Any]:
    row = {name: value for name, value in letter._asdict().items() if name != "body"}
    if letter.consumer != "finishing":  # those hold raw records, not events
        row["event"] = msgspec.Raw(letter.body)
    return row
