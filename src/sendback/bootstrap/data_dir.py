"""The data directory: made, checked and locked before anything starts (CONTRACT section 2)."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

from sendback.errors import Unavailable

_FOLDERS = ("journal", "outbox", "deferred", "unparsed", "events", "control", "control/status")
#: A node that can't keep this much more is refused at start.
_ROOM_BYTES = 4 * 1024 * 1024
LOCK_SECONDS = 5.0


def prepare(path: Path) -> None:
    """Make the directory and its folders, private to us; Unavailable says why it can't serve."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in _FOLDERS:
            (path / name).mkdir(mode=0o700, exist_ok=True)
        _check_writes(path)
    except OSError as error:
        raise Unavailable(f"data directory {path}: {_reason(error)}") from None


def _check_writes(path: Path) -> None:
    """Prove that a record can be written and synced here."""
    probe = path / "control" / f".probe-{os.getpid()}"
    try:
        with probe.open("wb") as file:
            file.write(b"\0" * _ROOM_BYTES)
            file.flush()
            os.fsync(file.fileno())
    finally:
        probe.unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    return {
        errno.ENOSPC: "the disk is full; free some space, or name another with --data-dir",
        errno.EDQUOT: "the disk quota is used up",
        errno.EROFS: "the file system is read-only",
        errno.EACCES: "no right to write there; check its owner",
        errno.ENOTDIR: "a file stands in the way",
        errno.EEXIST: "a file stands in the way",
    }.get(error.errno or 0, error.strerror or str(error))


class DataDirLock:
    """The one node that may use a data directory; held for the life of the process."""

    def __init__(self, path: Path) -> None:
        """Take the lock, waiting up to five seconds for another node to end; else Unavailable."""
        self._file = (path / "lock").open("a+b")
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    holder = self._holder()
                    self._file.close()
                    raise Unavailable(
                        f"data directory {path}: another sendback node uses it{holder}"
                    ) from None
                time.sleep(0.05)
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n".encode())
        self._file.flush()

    def _holder(self) -> str:
        self._file.seek(0)
        text = self._file.read(32).strip()
        return f" (pid {text.decode()})" if text.isdigit() else ""

    def release(self) -> None:
        """Let another node have it."""
        self._file.close()
