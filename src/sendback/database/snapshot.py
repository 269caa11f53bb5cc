"""The catalog as a file, for the processes that answer recipients.

The worker writes it whenever the main database or the configuration file changed; web, smtp and
submission read it. So they start and go on while the main database is down. msgpack of
`model.Catalog`, replaced by rename, mode 0600 since it holds passwords. No SQLAlchemy here.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from sendback.errors import SendbackError
from sendback.model.catalog import Catalog

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_LOOKS = 1.0
_decoder = msgspec.msgpack.Decoder(Catalog)


class SnapshotFile:
    """The newest readable catalog; asking costs a clock reading, and one `stat` a second."""

    def __init__(
        self,
        path: Path,
        *,
        fallback: Catalog | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = Path(path)
        self._catalog = fallback if fallback is not None else Catalog()
        self._clock = clock
        self._next_look = float("-inf")
        self._seen: tuple[int, int, int] | None = None
        self._looking = threading.Lock()

    def current(self) -> Catalog:
        """The catalog. Never raises: a missing or broken file leaves the one from before.

        While one thread reads a new file the others go on with the old catalog.
        """
        now = self._clock()
        if now >= self._next_look and self._looking.acquire(blocking=False):
            try:
                self._next_look = now + _SECONDS_BETWEEN_LOOKS
                self._look()
            finally:
                self._looking.release()
        return self._catalog

    def _look(self) -> None:
        try:
            found = self._path.stat()
            signature = (found.st_mtime_ns, found.st_size, found.st_ino)
            if signature == self._seen:
                return
            self._seen = signature
            self._catalog = read_snapshot(self._path)
        except FileNotFoundError:
            self._seen = None
        except (OSError, ValueError, msgspec.MsgspecError, SendbackError) as error:
            _log.error("catalog.snapshot can't be read, the old one stays in use: %s", error)


def read_snapshot(path: Path) -> Catalog:
    """The catalog in this file; OSError or msgspec.DecodeError (ValidationError) otherwise."""
    return _decoder.decode(Path(path).read_bytes())


def write_snapshot(path: Path, catalog: Catalog) -> None:
    """Replace the file in one step: a reader sees the old catalog or the new one, whole."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.msgpack.encode(catalog))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
