"""Where the self-test sees events: a node's log, an NDJSON file of a destination, a REST API.

Each is asked again and again; none ever changes anything.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlencode

import msgspec

from sendback.checks.asking import Asking
from sendback.errors import Malformed, SendbackError, Unavailable

Event = dict[str, Any]
_DECODE = msgspec.json.Decoder(dict[str, Any]).decode


class EventSource(Protocol):
    """Events of one address."""

    @property
    def name(self) -> str:
        """What an operator calls it."""

    def events(self, email: str) -> Iterable[Event]:
        """Those there are by now, at least each that is new since the last call. Unavailable."""

    def close(self) -> None:
        """Let go of what is open; idempotent."""


class LogSource:
    """The event log of a node on this machine."""

    def __init__(
        self, name: str, read: Callable[[str], Iterable[bytes]], close: Callable[[], None]
    ) -> None:
        """`read`: the events of an address as JSON."""
        self.name = name
        self._read = read
        self.close = close

    def events(self, email: str) -> Iterator[Event]:
        """See `EventSource`."""
        return map(_DECODE, self._read(email))


class NdjsonSource:
    """A file that an ndjson destination writes; what stood there before is not read."""

    def __init__(self, path: Path) -> None:
        """Unavailable for what can't be read; a file that is not there yet may come."""
        self.name = str(path)
        self._path = path
        self._rest = b""
        self._file = self._opened()
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def events(self, email: str) -> Iterator[Event]:
        """See `EventSource`. A file that was rotated is read to its end, then the new one."""
        if self._file is None:
            self._file = self._opened()
        for line in self._lines():
            with contextlib.suppress(msgspec.MsgspecError):  # not ours to judge
                event = _DECODE(line)
                if str(event.get("email", "")).lower() == email.lower():
                    yield event

    def close(self) -> None:
        """See `EventSource`."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> IO[bytes] | None:
        try:
            return self._path.open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror}") from error

    def _lines(self) -> Iterator[bytes]:
        while self._file is not None:
            *whole, self._rest = (self._rest + self._file.read()).split(b"\n")
            yield from whole
            if not self._was_rotated(self._file):
                return
            self._file.close()
            self._rest = b""
            self._file = self._opened()

    def _was_rotated(self, file: IO[bytes]) -> bool:
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(file.fileno()))
        except OSError:
            return False  # gone for the moment, between two names


class RestSource:
    """The REST API of a node."""

    def __init__(self, asking: Asking, url: str, api_key: str, *, since_ms: int) -> None:
        """`url`: the admin port, with or without /api/v1."""
        self.name = url
        self._asking = asking
        self._base = url.rstrip("/").removesuffix("/api/v1")
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._since_ms = since_ms

    def events(self, email: str) -> list[Event]:
        """See `EventSource`. Malformed when we are not let in, or it is no such API."""
        query = urlencode({"email": email, "limit": 1000, "since": self._since_ms})
        answer = self._asking.ask(f"{self._base}/api/v1/events?{query}", headers=self._headers)
        if answer.status in (401, 403):
            raise Malformed(f"{self.name} refuses the API key ({answer.status})")
        if answer.status >= 500:
            raise Unavailable(f"{self.name} answers with {answer.status}")
        try:
            items = msgspec.json.decode(answer.body)["items"] if answer.status == 200 else None
        except (msgspec.MsgspecError, TypeError, KeyError):
            items = None
        if not isinstance(items, list):
            raise Malformed(f"{self.name} is no REST API of a node ({answer.status})")
        return items

    def close(self) -> None:
        """Nothing is held."""


def first_error(sources: Iterable[EventSource], email: str) -> SendbackError | None:
    """Why one of them can't be read; None when all can."""
    for source in sources:
        try:
            for _ in source.events(email):
                pass
        except SendbackError as error:
            return error
    return None
