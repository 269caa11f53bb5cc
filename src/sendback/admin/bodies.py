"""Bodies whose length nobody said: read up to the limit, and 413 for what is longer.

Werkzeug cuts such a body (chunked, no Content-Length) at the limit when it is read in one go, and
says nothing: a message would be taken in half, a form would read as another one.
"""

from __future__ import annotations

from typing import IO

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.utils import cached_property
from werkzeug.wsgi import LimitedStream


class BoundedRequest(Request):
    """A request whose body is whole or refused, however it was sent."""

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body, at most `max_content_length` octets of it."""
        limit = self.max_content_length
        is_unsaid = self.content_length is None and "wsgi.input_terminated" in self.environ
        if limit is None or not is_unsaid:
            return super().stream
        return _Whole(self.environ["wsgi.input"], limit)  # type: ignore[return-value]


class _Whole(LimitedStream):
    """Reading it all means all of it: 413 instead of the first `limit` octets."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        super().__init__(stream, limit, is_max=True)
        self._beyond = stream

    def readall(self) -> bytes:
        """The whole body."""
        found = super().readall()
        if self.is_exhausted and self._beyond.read(1):
            raise RequestEntityTooLarge
        return found
