"""Events by HTTP POST, signed after the Standard Webhooks specification."""

import base64
import email.utils
import gzip
import hashlib
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

from standardwebhooks import Webhook as Signer

from sendback.model.endpoint import check_headers, secret_base64
from sendback.sinks.base import Format, Outcome, Result, StoredEvent
from sendback.sinks.guard import Guard
from sendback.sinks.http_connection import Answer, HttpConnection, NoAnswer

_THROTTLES = frozenset((429, 502, 503, 504))
#: 4xx that say nothing about the events: key, address, time or order of the request is wrong.
_NOT_ABOUT_THE_EVENTS = frozenset((401, 402, 403, 405, 407, 408, 421, 423, 425, 426))
_MAX_RETRY_AFTER = 24 * 3600.0


class WebhookSink:
    """One URL; safe for as many threads as there are, each with its own connection."""

    max_parallel = 64

    def __init__(
        self,
        url: str,
        wire_format: Format,
        guard: Guard,
        *,
        secrets: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        use_gzip: bool = False,
        seconds: float = 15.0,
        clock: Callable[[], float] = time.time,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Malformed for a secret or header that can't be used."""
        check_headers(headers or {})
        self._url, self._format, self._guard = url, wire_format, guard
        self._signers = [Signer(secret_base64(secret)) for secret in secrets if secret]
        ours = {
            "Content-Type": wire_format.content_type,
            "User-Agent": "sendback (+https://sendback.readthedocs.io/)",
            "Accept-Encoding": "identity",
            **_basic(url),
        }
        given = {name.lower() for name in headers or {}}
        self._headers = {n: v for n, v in ours.items() if n.lower() not in given}
        self._headers.update(headers or {})
        if use_gzip:
            self._headers["Content-Encoding"] = "gzip"
        self._use_gzip, self._seconds, self._clock, self._tls = use_gzip, seconds, clock, tls
        self._local = threading.local()
        self._open: list[HttpConnection] = []

    @property
    def max_batch(self) -> int:
        """1 when the format sends each event alone."""
        return self._format.max_batch

    def deliver(self, batch: Sequence[StoredEvent]) -> Outcome:
        """One POST. At least once; `webhook-id` is the same for the same events."""
        try:
            body = self._format.encode(batch)
        except Exception as error:  # noqa: BLE001 - a package's format met an event it can't write
            text = f"the format can't write it: {type(error).__name__}: {error}"
            return Outcome(Result.REFUSED, None, text[:500])
        headers = {**self._headers, "webhook-id": batch_id(batch)}
        if self._signers:
            self._sign(headers, body)
        if self._use_gzip:
            body = gzip.compress(body, 4)
        try:
            answer = self._connection().post(body, headers)
        except NoAnswer as error:
            return Outcome(Result.FAILED, None, str(error)[:500])
        return self._judge(answer)

    def _sign(self, headers: dict[str, str], body: bytes) -> None:
        """The signature is over the body before compression, as receivers see it."""
        message_id = headers["webhook-id"]
        now = datetime.fromtimestamp(int(self._clock()), UTC)
        text = body.decode()
        headers["webhook-timestamp"] = str(int(now.timestamp()))
        headers["webhook-signature"] = " ".join(
            signer.sign(message_id, now, text) for signer in self._signers
        )

    def _judge(self, answer: Answer) -> Outcome:
        status = answer.status
        text = answer.body[:500].decode("utf-8", "replace")
        if self._format.is_success(status, answer.body):
            return Outcome(Result.DELIVERED, status, text)
        if status == 410:
            return Outcome(Result.GONE, status, text)
        if status in _THROTTLES:
            after = _retry_after(answer.headers.get("Retry-After", ""), self._clock())
            return Outcome(Result.THROTTLED, status, text, after)
        if 300 <= status < 400:
            return Outcome(Result.FAILED, status, "redirects are not followed; " + text)
        if 400 <= status < 500 and status not in _NOT_ABOUT_THE_EVENTS:
            return Outcome(Result.REFUSED, status, text)
        return Outcome(Result.FAILED, status, text)

    def _connection(self) -> HttpConnection:
        made: HttpConnection | None = getattr(self._local, "connection", None)
        if made is None:
            made = HttpConnection(self._url, self._guard, seconds=self._seconds, tls=self._tls)
            self._local.connection = made
            self._open.append(made)
        return made

    def close(self) -> None:
        """Hang up."""
        for connection in self._open:
            connection.close()


def batch_id(batch: Sequence[StoredEvent]) -> str:
    """The event's id for one event; for several one id made of theirs, stable over retries."""
    if len(batch) == 1:
        return batch[0].event_id
    digest = hashlib.blake2b(digest_size=16, person=b"webhook-id")
    for event in batch:
        digest.update(event.event_id.encode())
    return f"batch_{digest.hexdigest()}"


def _basic(url: str) -> dict[str, str]:
    """User and password of the url as a header (RFC 7617); nothing when it names no user."""
    parts = urlsplit(url)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _retry_after(text: str, now: float) -> float | None:
    """Seconds to wait: a number, or an HTTP date (RFC 9110 section 10.2.3); at most a day."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _MAX_RETRY_AFTER)
    try:
        then = email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(0.0, then - now), _MAX_RETRY_AFTER)
