"""One question over HTTP, as checks ask it: bounded in time and size, no redirect followed."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, SSLError

from sendback.errors import Unavailable

#: Seconds for one question, from the connection to the answer's last octet.
SECONDS = 5.0
#: A well-known file has up to 128 KB, a page of events is larger.
MAX_BODY = 16 * 1024 * 1024
_CHUNK = 65_536
_AGENT = "sendback-check (+https://sendback.readthedocs.io/)"


class Unreachable(Unavailable):
    """Nobody answered over HTTP; the text says how it failed."""


class Answered(msgspec.Struct, frozen=True):
    """An answer as it came; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def location(self) -> str:
        """Where a redirect leads, or ""."""
        return self.headers.get("location", "")

    @property
    def media_type(self) -> str:
        """Content-Type without parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Asking:
    """Asks over HTTP and HTTPS; one for a command, safe for threads."""

    def __init__(
        self,
        context: ssl.SSLContext | None = None,
        *,
        host: str = "",
        address: str = "",
        seconds: float = SECONDS,
    ) -> None:
        """`context`: whom https trusts; the system's authorities unless given.

        With `address`, questions to `host` go there, whatever the system's name servers say.
        """
        self._seconds = seconds
        self._host = host
        self._address = f"[{address}]" if ":" in address else address
        self._pool = urllib3.PoolManager(
            ssl_context=context or ssl.create_default_context(),
            timeout=urllib3.Timeout(connect=seconds, read=seconds),
            retries=False,
            headers={"User-Agent": _AGENT, "Accept-Encoding": "identity"},
            server_hostname=host if address else None,
        )

    def ask(
        self,
        url: str,
        method: str = "GET",
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answered:
        """The answer, whatever its status; `form` becomes the body. Unreachable."""
        deadline = time.monotonic() + self._seconds
        sent = {**self._pool.headers, **(headers or {})}
        if form is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        parts = urlsplit(url)
        if self._address and parts.hostname == self._host:
            sent["Host"] = parts.netloc
            port = f":{parts.port}" if parts.port else ""
            url = parts._replace(netloc=self._address + port).geturl()
        try:
            answer = self._pool.request(
                method,
                url,
                body=urlencode(form) if form is not None else None,
                headers=sent,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                body = b""
                while chunk := answer.read1(_CHUNK):
                    body += chunk
                    if len(body) > MAX_BODY or time.monotonic() > deadline:
                        raise Unreachable("the answer is too long, or comes too slowly")
            finally:
                answer.close()
        except (HTTPError, OSError, ValueError) as error:
            raise Unreachable(_reason(error)) from error
        headers_found = {name.lower(): value for name, value in answer.headers.items()}
        return Answered(answer.status, headers_found, body)


def _reason(error: BaseException) -> str:
    """What went wrong, in the words of the lowest error that has any."""
    if isinstance(error, MaxRetryError) and error.reason is not None:
        return _reason(error.reason)
    if isinstance(error, NewConnectionError) and error.__cause__ is not None:
        return _reason(error.__cause__)
    if isinstance(error, SSLError) and error.args and isinstance(error.args[0], OSError):
        return _reason(error.args[0])
    if isinstance(error, ssl.SSLError):
        return f"TLS: {getattr(error, 'verify_message', '') or error.reason or error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"{type(error).__name__}: {error}"
